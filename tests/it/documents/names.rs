//! The tests, files and keys that documents name exist.

use std::collections::BTreeSet;

use super::{documents, manual, root, table};

/// Files that a document names before they are there, each with its reason.
const EXPECTED: &[(&str, &str)] = &[(
    "src/route/settings/",
    "The settings of a route move there, one file each.",
)];

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
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in manual() {
        for name in document.code() {
            let is_a_name = name.contains("::") && name.chars().all(is_of_a_name);
            if !is_a_name || name.starts_with("::") {
                continue;
            }
            count += 1;
            let below = format!("{name}::");
            if !tests
                .iter()
                .any(|test| *test == name || test.starts_with(&below))
            {
                wrong.push(format!("{}: no test {name}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count > 0, "no test is named");
}

#[test]
fn every_file_that_is_named_exists() {
    let folders = [
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
    let mut wrong = Vec::new();
    for document in documents() {
        // What changed once may be gone by now.
        if document.path == "CHANGELOG.md" {
            continue;
        }
        for name in document.code() {
            let is_expected = EXPECTED.iter().any(|(path, _)| *path == name);
            let is_a_path = folders.iter().any(|folder| name.starts_with(folder))
                && !name.contains([' ', '*', '{', '<'])
                && !name.contains("TARGET");
            if is_a_path && !is_expected && !root().join(&name).exists() {
                wrong.push(format!("{}: no file {name}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
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
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        if document.path == "CHANGELOG.md" {
            continue;
        }
        for span in document.code() {
            let name = span.split_once(": ").map_or(&*span, |(name, _)| name);
            let is_a_key = name.contains('.')
                && name
                    .chars()
                    .all(|letter| is_of_a_name(letter) || "[].".contains(letter))
                && !name.ends_with(".rs");
            let section = name.split(['.', '[']).next().unwrap_or(name);
            if !is_a_key || name.contains(':') || !sections.contains(section) {
                continue;
            }
            count += 1;
            if !keys.iter().any(|key| key == name) {
                wrong.push(format!("{}: no key {name}", document.path));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count > 100, "{count}");
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_:".contains(letter)
}
