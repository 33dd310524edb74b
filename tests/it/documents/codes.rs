//! The codes of errors are in the manual, and those that it has are in the code.

use std::collections::BTreeSet;
use std::path::Path;

use super::markdown::Document;
use super::{manual, root};

/// Texts in capitals that are names of something else.
const OTHERS: &[&str] = &["CARGO_PKG_VERSION", "NO_COLOR"];

#[test]
fn every_code_of_an_error_is_in_the_manual() {
    let documented: BTreeSet<_> = manual().iter().flat_map(Document::code).collect();
    let codes = codes();
    assert!(codes.len() > 50, "{codes:?}");
    let is_missing = |code: &&String| code.contains('_') && !documented.contains(*code);
    let missing: Vec<_> = codes.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "not in docs/: {missing:?}");
}

/// In the tables that begin with a status.
#[test]
fn every_code_of_the_manual_is_that_of_an_error() {
    let codes = codes();
    let mut count = 0;
    for page in manual() {
        for row in page.text.lines() {
            let mut cells = row.trim_start_matches('|').split('|');
            let (Some(status), Some(cell)) = (cells.next(), cells.next()) else {
                continue;
            };
            let first = status.split(',').next().unwrap_or(status).trim();
            if first.len() != 3 || first.parse::<u16>().is_err() {
                continue;
            }
            for code in cell.split('`').skip(1).step_by(2) {
                assert!(codes.contains(code), "{}: {code}", page.path);
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count}");
}

/// Texts in capitals alone, outside of tests.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    collect(&root().join("src"), &mut codes);
    codes
}

fn collect(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests.rs") || path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let text = text.split("\nmod tests {").next().unwrap_or_default();
        let quoted = text.split('"').filter(|text| is_code(text));
        codes.extend(quoted.map(str::to_owned));
    }
}

fn is_code(text: &str) -> bool {
    let is_of_a_code = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    text.len() > 3 && text.chars().all(is_of_a_code) && !OTHERS.contains(&text)
}
