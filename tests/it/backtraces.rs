//! The debug information of a release stands in a file of its own; a backtrace has its lines from there.

use std::path::Path;
use std::process::Command;

/// A program that panics in its line 5, in a function that is called in line 1.
const PROGRAM: &str =
    "fn main() { fails() }\n\n#[inline(never)]\nfn fails() {\n    panic!(\"on purpose\");\n}\n";

fn run(command: &mut Command) {
    let status = command.status().expect("it starts");
    assert!(status.success(), "{command:?}: {status}");
}

fn backtrace(binary: &Path) -> String {
    let output = Command::new(binary)
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("it starts");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("fails"), "{text}");
    text
}

#[test]
fn a_backtrace_has_its_lines_from_the_file_beside_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("main.rs");
    std::fs::write(&source, PROGRAM).unwrap();
    let binary = folder.path().join("main");
    let mut compile = Command::new("rustc");
    compile.args(["-O", "-C", "debuginfo=line-tables-only", "-o"]);
    run(compile.arg(&binary).arg(&source));
    let size = || binary.metadata().unwrap().len();
    let whole = size();
    for _ in 0..2 {
        run(Command::new("scripts/split-debug").arg(&binary));
        assert!(size() < whole / 2, "{} of {whole}", size());
        let text = backtrace(&binary);
        assert!(text.contains("main.rs:1:"), "{text}");
    }
    std::fs::remove_file(folder.path().join("main.debug")).unwrap();
    let text = backtrace(&binary);
    assert!(!text.contains("main.rs:1:"), "{text}");
}
