//! `docs/configuration.md` has the table of `conf/pingora.yaml`.

use super::{read, root, table};

const PAGE: &str = "docs/configuration.md";

/// What stands before the table.
const MARK: &str =
    "made from conf/pingora.yaml by `UPDATE=1 cargo test --test it documents`. -->\n";

#[test]
fn the_table_of_the_keys_is_that_of_the_shipped_file() {
    let page = read(PAGE);
    let (head, found) = page.split_once(MARK).expect("the mark of the table");
    let made = table::markdown();
    if std::env::var_os("UPDATE").is_some() {
        let page = format!("{head}{MARK}{made}");
        std::fs::write(root().join(PAGE), page).expect("the page is written");
        return;
    }
    let differ = found
        .lines()
        .zip(made.lines())
        .find(|(found, made)| found != made);
    assert!(
        found == made,
        "{PAGE} is not what conf/pingora.yaml says ({differ:?}): UPDATE=1 cargo test --test it documents"
    );
}

#[test]
fn every_key_says_what_it_is_and_its_default() {
    let rows = table::rows();
    assert!(rows.len() > 100, "{}", rows.len());
    for row in rows {
        let keys = row.keys.join(", ");
        let first = row.meaning.chars().next();
        assert!(
            first.is_some_and(|first| first.is_uppercase() || "`_".contains(first)),
            "{keys}: {}",
            row.meaning
        );
        assert!(row.meaning.ends_with(['.', '`']), "{keys}: {}", row.meaning);
        assert!(!row.default.is_empty(), "{keys} has no default");
    }
}
