//! Every exception that is made for `engine: pingora` names a test, or a case, that exists.

use crate::matrix;
use crate::support::engine::EXCEPTIONS;

#[test]
fn every_exception_names_a_test() {
    let binary = std::env::current_exe().expect("the tests' own binary");
    let listed = std::process::Command::new(binary).arg("--list").output();
    let listed = String::from_utf8(listed.expect("the list").stdout).expect("text");
    let tests: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    assert!(
        tests.contains(&"engine_exceptions::every_exception_names_a_test"),
        "{listed}"
    );
    for exception in EXCEPTIONS {
        assert!(
            tests.contains(&exception.test),
            "there is no test {}",
            exception.test
        );
        assert!(
            exception.reason.ends_with('.'),
            "{}: no reason",
            exception.test
        );
    }
}

#[test]
fn every_exception_of_the_matrix_names_a_case() {
    let cases = matrix::names();
    for exception in matrix::exceptions::EXCEPTIONS {
        assert!(
            cases.contains(&exception.case),
            "there is no case {}",
            exception.case
        );
        assert!(
            exception.reason.ends_with('.'),
            "{}: no reason",
            exception.case
        );
    }
}
