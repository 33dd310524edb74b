//! Every block of code in the manual is run, checked, or exempt with a reason.

use serde_json::Value;

use super::markdown::{Document, Fence};
use super::run::Stage;
use super::{manual, read};
use crate::support::{command, output_of};

/// A page whose commands are run, and the ports at which apps are when they are.
const PAGES: &[(&str, &[u16])] = &[
    // Its app is started by its own command.
    ("README.md", &[]),
    ("docs/command-line.md", &[4321, 4322]),
    ("docs/configuration.md", &[]),
    ("docs/control-api.md", &[4321, 4322]),
    ("docs/http2-grpc.md", &[]),
    ("docs/operating.md", &[4321]),
    ("docs/registering.md", &[4321, 4322]),
    ("docs/routing.md", &[4321]),
    ("docs/tls.md", &[4321]),
];

/// Blocks that are not run: the page, how the block begins, and why.
const EXEMPT: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "make run",
        "it builds the release; scripts/run, which it calls, starts the proxies of these tests",
    ),
    (
        "docs/operating.md",
        "docker build",
        "it takes Docker, and builds the release",
    ),
    (
        "docs/operating.md",
        "terminationGracePeriodSeconds",
        "a part of a manifest of Kubernetes; its paths are those of conf/examples/kubernetes.yaml",
    ),
    (
        "docs/performance.md",
        "make bench",
        "it measures for hours, on a machine with nothing else to do",
    ),
    (
        "docs/embedding.md",
        "[dependencies]",
        "lines of another crate; `.ci/run` builds the library with these features",
    ),
    (
        "docs/embedding.md",
        "let proxy",
        "a part of the program below it, which cargo test compiles",
    ),
    (
        "docs/embedding.md",
        "cargo run --example",
        "it builds and does not end; cargo test compiles it",
    ),
    ("docs/embedding.md", "cargo doc", ".ci/run does it"),
    ("CONTRIBUTING.md", "make test", "this is what they run"),
    ("CONTRIBUTING.md", "cargo test", "this is what it runs"),
];

/// The entry of [`EXEMPT`] that a block has.
fn exemption(page: &Document, fence: &Fence) -> Option<usize> {
    let text = fence.text.trim_start();
    EXEMPT
        .iter()
        .position(|(path, begin, _)| page.path == *path && text.starts_with(begin))
}

/// Whether a block that is not exempt is run or checked by one of the tests below.
fn is_covered(page: &Document, fence: &Fence) -> bool {
    match fence.language.as_str() {
        "sh" | "python" | "js" | "json" => PAGES.iter().any(|(path, _)| *path == page.path),
        // Lines of the log, usage, drawings.
        "text" => true,
        language => language == "yaml",
    }
}

#[test]
fn every_block_is_run_or_checked_or_exempt() {
    let mut used = vec![false; EXEMPT.len()];
    for page in manual() {
        for fence in page.fences() {
            match exemption(&page, &fence) {
                Some(index) => used[index] = true,
                None => assert!(is_covered(&page, &fence), "{}: {fence:?}", page.path),
            }
        }
    }
    for ((path, begin, reason), used) in EXEMPT.iter().zip(used) {
        assert!(used, "{path} has no block {begin:?} any more ({reason})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_pages_do_what_they_say() {
    for (path, apps) in PAGES {
        let page = Document::new(path, read(path));
        let mut fences = page.fences();
        fences.retain(|fence| exemption(&page, fence).is_none());
        let stage = Stage::start(apps).await;
        let outputs = stage.run(path, &fences).await;
        for (fence, output) in outputs {
            let expected = stage.in_place(&fence.text);
            let expected: Value = serde_json::from_str(&expected)
                .unwrap_or_else(|error| panic!("{path}:{}: {error}", fence.line));
            let found = last_object(&output);
            assert_eq!(found, Some(expected), "{path}:{}: {output}", fence.line);
        }
    }
}

/// The last line that begins with an object; the app may have written behind it.
fn last_object(output: &str) -> Option<Value> {
    let line = output.lines().rev().find(|line| line.starts_with('{'))?;
    let mut values = serde_json::Deserializer::from_str(line).into_iter();
    values.next()?.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_of_the_pages_are_good() {
    let mut count = 0;
    for page in manual() {
        for fence in page.fences() {
            if fence.language != "yaml" || exemption(&page, &fence).is_some() {
                continue;
            }
            count += 1;
            let stage = tempfile::tempdir().expect("a directory");
            let folder = stage.path().to_str().expect("UTF-8");
            let file = super::run::configuration(folder, &fence.text);
            let mut check = command();
            check.args(["check", "--conf", &file]);
            check.env("STATE_DIRECTORY", folder);
            let output = output_of(check).await;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}:{}: {said}",
                page.path,
                fence.line
            );
        }
    }
    assert!(count > 8, "{count}");
}
