//! What the documents say holds: their examples run, their links lead somewhere, and the tests, keys,
//! files and codes that they name exist.

mod codes;
mod configuration;
mod examples;
mod links;
mod markdown;
mod names;
mod run;
mod table;

use std::path::{Path, PathBuf};

use markdown::Document;

/// The root of the repository.
fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// A file of the repository.
fn read(path: &str) -> String {
    let read = std::fs::read_to_string(root().join(path));
    read.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Markdown file of the repository.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found.sort();
    assert!(found.len() > 15, "{found:?}");
    found
        .into_iter()
        .map(|path| Document::new(&path, read(&path)))
        .collect()
}

/// The pages that tell users how something is done, whose examples are run.
fn manual() -> Vec<Document> {
    let mut pages = documents();
    pages.retain(|page| page.path.starts_with("docs/") || !page.path.contains('/'));
    pages
}

fn collect(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name in UTF-8");
        if path.is_dir() {
            let is_foreign = matches!(name, "target" | "node_modules") || name.starts_with('.');
            if !is_foreign {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let path = path.strip_prefix(root()).expect("below the root");
            found.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
}
