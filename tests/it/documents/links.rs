//! Links lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::markdown::Document;
use super::{documents, root};

/// Links to files and to headings; those to other sites are not followed.
#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let documents = documents();
    let mut wrong = Vec::new();
    for document in &documents {
        for link in document.links() {
            if let Err(reason) = follow(&documents, document, &link) {
                wrong.push(format!("{}: ({link}): {reason}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn follow(documents: &[Document], from: &Document, link: &str) -> Result<(), String> {
    if link.contains("://") {
        return Ok(());
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => from.path.clone(),
        file => resolve(&from.path, file),
    };
    if !root().join(&target).exists() {
        return Err(format!("there is no {target}"));
    }
    let page = documents.iter().find(|page| page.path == target);
    let has_anchor = page.is_some_and(|page| page.anchors().iter().any(|found| found == anchor));
    if anchor.is_empty() || has_anchor {
        return Ok(());
    }
    Err("there is no such heading".to_owned())
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
