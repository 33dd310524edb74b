//! Links lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::{documents, root};

/// Links to files and to headings; those to other sites are not followed.
#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let documents = documents();
    let mut wrong = Vec::new();
    for document in &documents {
        for link in document.links() {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => document.path.clone(),
                file => resolve(&document.path, file),
            };
            if !root().join(&target).exists() {
                wrong.push(format!("{}: ({link}): there is no {target}", document.path));
                continue;
            }
            let page = documents.iter().find(|page| page.path == target);
            let found = page.is_some_and(|page| page.anchors().iter().any(|found| found == anchor));
            if !anchor.is_empty() && !found {
                wrong.push(format!("{}: ({link}): no such heading", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A relative link's file, from the root of the repository.
fn resolve(from: &str, link: &str) -> String {
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();
    for part in folder.join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{from}: ({link}) leads out"),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_str().expect("UTF-8").to_owned()
}
