//! SECURITY.md names tests that exist.

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let binary = std::env::current_exe().expect("the tests' own binary");
    let listed = std::process::Command::new(binary).arg("--list").output();
    let listed = String::from_utf8(listed.expect("the list").stdout).expect("text");
    let tests: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let cases = crate::matrix::names();
    let text = include_str!("../../SECURITY.md");
    let mut count = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let Some(cell) = row.trim_end_matches('|').rsplit('|').next() else {
            continue;
        };
        for name in cell.split('`').skip(1).step_by(2) {
            let is_case = cases.contains(&name);
            let module = format!("{name}::");
            let is_test = |test: &&str| **test == *name || test.starts_with(&module);
            assert!(is_case || tests.iter().any(is_test), "{name}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}
