//! SECURITY.md and FAULTS.md name tests that exist.

use std::fs;
use std::path::Path;
use std::process::Command;

/// How FAULTS.md runs a test of this binary, and a unit test.
const COMMAND: &str = "cargo test --test it -- ";
const UNIT: &str = "cargo test --lib -- ";

/// The tests of this binary.
fn tests() -> Vec<String> {
    let binary = std::env::current_exe().expect("the tests' own binary");
    let listed = Command::new(binary).arg("--list").output();
    let listed = String::from_utf8(listed.expect("the list").stdout).expect("text");
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

fn is_there(name: &str, tests: &[String]) -> bool {
    let module = format!("{name}::");
    let mut tests = tests.iter();
    tests.any(|test| test == name || test.starts_with(&module))
}

/// What is in backticks in the last cells of a document's tables.
fn named(document: &str) -> Vec<&str> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let (tests, cases) = (tests(), crate::matrix::names());
    let names = named(include_str!("../../SECURITY.md"));
    for name in &names {
        assert!(cases.contains(name) || is_there(name, &tests), "{name}");
    }
    assert!(names.len() > 30, "{}", names.len());
}

#[test]
fn every_command_of_the_table_of_faults_runs_a_test() {
    let tests = tests();
    let commands = named(include_str!("../../FAULTS.md"));
    for command in &commands {
        if let Some(name) = command.strip_prefix(UNIT) {
            assert!(is_unit_test(name), "{command}");
            continue;
        }
        let arguments = command.strip_prefix(COMMAND).expect(command).split(' ');
        let mut names = arguments.filter(|argument| !argument.starts_with("--"));
        let name = names.next().expect(command);
        assert!(
            names.next().is_none() && is_there(name, &tests),
            "{command}"
        );
    }
    assert!(commands.len() > 30, "{}", commands.len());
}

/// Whether `a::b::tests::name` is a function of `src/a/b/tests.rs`.
fn is_unit_test(name: &str) -> bool {
    let (module, function) = name.rsplit_once("::").expect("a path");
    let file = Path::new("src")
        .join(module.replace("::", "/"))
        .with_extension("rs");
    let text = fs::read_to_string(&file).expect("a file of tests");
    text.contains(&format!("fn {function}("))
}
