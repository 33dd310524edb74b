//! The tests, files and keys that documents name exist.

use std::collections::BTreeSet;

use super::markdown::Document;
use super::{documents, manual, root, table};

/// Files that a document names before they are there, each with its reason.
const EXPECTED: &[(&str, &str)] = &[];

/// The folders whose files are looked for.
const FOLDERS: &[&str] = &[
    "src/",
    "tests/",
    "benches/",
    "conf/",
    "docs/",
    "scripts/",
    ".ci/",
    "fuzz/",
    "examples/",
];

/// A name in small letters with `::` in it is a test's, or that of a module of tests.
#[test]
fn every_test_that_is_named_exists() {
    let binary = std::env::current_exe().expect("the tests' own binary");
    let listed = std::process::Command::new(binary).arg("--list").output();
    let listed = String::from_utf8(listed.expect("the list").stdout).expect("text");
    let tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let count = all_exist("test", &manual(), |name| {
        let is_a_name = name.contains("::") && !name.starts_with(':');
        if !is_a_name || !name.chars().all(is_of_a_name) {
            return None;
        }
        let below = format!("{name}::");
        let is_it = |test: &&str| **test == *name || test.starts_with(&below);
        Some(tests.iter().any(is_it))
    });
    assert!(count > 10, "{count}");
}

#[test]
fn every_file_that_is_named_exists() {
    let count = all_exist("file", &of_today(), |name| {
        let is_below = FOLDERS.iter().any(|folder| name.starts_with(folder));
        let is_pattern = name.contains([' ', '*', '{', '<']) || name.contains("TARGET");
        let is_expected = EXPECTED.iter().any(|(path, _)| *path == name);
        (is_below && !is_pattern).then(|| is_expected || root().join(name).exists())
    });
    assert!(count > 50, "{count}");
}

#[test]
fn a_file_that_is_expected_is_not_there_yet() {
    for (path, reason) in EXPECTED {
        let exists = root().join(path).exists();
        assert!(!exists, "{path} is there, no longer expected: {reason}");
    }
}

/// `SECTION.KEY`, also with a value behind it.
#[test]
fn every_key_of_the_configuration_that_is_named_exists() {
    let keys = table::keys();
    let sections: BTreeSet<_> = keys
        .iter()
        .filter_map(|key| key.split_once('.'))
        .map(|(section, _)| section.trim_end_matches("[]"))
        .collect();
    let count = all_exist("key", &of_today(), |span| {
        let name = span.split_once(": ").map_or(span, |(name, _)| name);
        let (section, rest) = name.split_once(['.', '['])?;
        let is_path = rest.chars().all(|c| is_of_a_name(c) || "[].".contains(c));
        // `limits.rs` is a file.
        let is_key = is_path && rest != "rs" && !name.contains(':') && sections.contains(section);
        is_key.then(|| keys.iter().any(|key| key == name))
    });
    assert!(count > 100, "{count}");
}

/// Asks about everything in code. `exists` says `None` about what is no such name. Returns how many are.
fn all_exist(what: &str, documents: &[Document], exists: impl Fn(&str) -> Option<bool>) -> usize {
    let mut missing = Vec::new();
    let mut count = 0;
    for document in documents {
        for name in document.code() {
            let Some(exists) = exists(&name) else {
                continue;
            };
            count += 1;
            if !exists {
                missing.push(format!("{}: no {what} {name}", document.path));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    count
}

/// All documents but the changelog: what it names may be gone by now.
fn of_today() -> Vec<Document> {
    let mut found = documents();
    found.retain(|document| document.path != "CHANGELOG.md");
    found
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_:".contains(letter)
}
