//! Authorities that misbehave: nothing they say ends ACME, floods them, or is believed too much.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::authority::{Authority, Fault};
use crate::support::{TestProxy, eventually};

async fn start(authority: &Authority, state: &Path, more: &str) -> TestProxy {
    TestProxy::start(&authority.configuration(state, more)).await
}

/// A certificate as the control API shows it.
async fn listed(proxy: &TestProxy, name: &str) -> Value {
    let certificates = proxy.api("GET", "/v1/certificates", None).await.json();
    let list = certificates["certificates"].as_array().unwrap();
    let found = list.iter().find(|entry| entry["name"] == name);
    found.cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_long_ago_does_not_end_acme() {
    let (authority, state) = (
        Authority::start(Fault::OldWindow).await,
        tempfile::tempdir(),
    );
    let state = state.unwrap();
    let more = "  hosts: [a.example]\n  registered_hosts: [b.example]\n";
    let proxy = start(&authority, state.path(), more).await;
    let line = proxy
        .logged(&["a.example", "as the authority suggests"])
        .await;
    assert!(line.contains("renewed at 20"), "{line}");
    // It goes on.
    let body = json!({"prefix": "/", "port": 1, "reqHostNames": ["b.example"]});
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    proxy.logged(&["b.example: there is a certificate"]).await;
    // At once, but not again and again.
    assert_eq!(authority.asked("order a.example").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_forgets_accounts_is_not_given_new_ones_all_the_time() {
    let authority = Authority::start(Fault::NoAccount).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    eventually("it is tried three times", async || {
        authority.asked("order").len() >= 3
    })
    .await;
    assert_eq!(authority.asked("account").len(), 1, "{}", proxy.log());
    // What is wrong is over: the account is still there.
    authority.set(Fault::None);
    let long = Instant::now() + Duration::from_secs(40);
    while !proxy.log().contains("a.example: there is a certificate") {
        assert!(Instant::now() < long, "{}", proxy.log());
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(authority.asked("account").len(), 1, "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_fails_at_orders_is_asked_later_and_later() {
    let authority = Authority::start(Fault::Orders).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    let end = Instant::now() + Duration::from_mins(1);
    while authority.asked("order").len() < 4 {
        assert!(Instant::now() < end, "{}", proxy.log());
        sleep(Duration::from_millis(50)).await;
    }
    let asked = authority.asked("order");
    // After about 4, 8 and 16 s; what does not grow is never over 7.
    assert!(asked[3] - asked[2] > Duration::from_secs(10), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_has_had_enough_is_left_alone() {
    let authority = Authority::start(Fault::Limited).await;
    let state = tempfile::tempdir().unwrap();
    let hosts: Vec<String> = (0..20).map(|number| format!("h{number}.example")).collect();
    let more = format!("  hosts: [{}]\n", hosts.join(", "));
    let proxy = start(&authority, state.path(), &more).await;
    proxy.logged(&["rateLimited", "next try at"]).await;
    // Those that were on their way, and nobody after them.
    sleep(Duration::from_secs(3)).await;
    assert!(authority.asked("order").len() <= 4, "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_of_no_use_are_failures_and_not_shown() {
    tokio::join!(
        is_a_failure(Fault::Backwards, "ends before it begins"),
        is_a_failure(Fault::Expired, "has expired"),
        is_a_failure(Fault::MoreNames, "bank.example"),
    );
}

/// A certificate with this fault is refused for this reason, not shown, and not ordered again at once.
async fn is_a_failure(fault: Fault, expected: &str) {
    let (authority, state) = (Authority::start(fault).await, tempfile::tempdir());
    let state = state.unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    let words = ["no new certificate for a.example", expected, "next try at"];
    proxy.logged(&words).await;
    let shown = listed(&proxy, "acme-a.example").await;
    assert_eq!(shown["details"], Value::Null, "{fault:?}: {shown}");
    let error = shown["last_error"].as_str().unwrap_or_default();
    assert!(error.contains(expected), "{fault:?}: {shown}");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(authority.asked("order").len(), 1, "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_a_moment_are_not_ordered_without_end() {
    let authority = Authority::start(Fault::Short).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    proxy.logged(&["a.example: there is a certificate"]).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(authority.asked("order").len(), 1, "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_authority_says_is_one_short_line() {
    let authority = Authority::start(Fault::Lines).await;
    let state = tempfile::tempdir().unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    let line = proxy
        .logged(&["no new certificate for a.example", "next try at"])
        .await;
    assert!(line.len() < 2000, "{line}");
    assert!(line.contains("[forged]"), "{line}");
    let shown = listed(&proxy, "acme-a.example").await;
    let error = shown["last_error"].as_str().unwrap_or_default();
    assert!(!error.contains('\n') && error.len() < 2000, "{error}");
}

/// A certificate that cannot be written is in use, and is written once that is possible.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_could_not_be_written_is_written_later() {
    let authority = Authority::start(Fault::None).await;
    let state = tempfile::tempdir().unwrap();
    // A folder where the file is to be.
    let file = state.path().join("acme/certificates/a.example.json");
    std::fs::create_dir_all(&file).unwrap();
    let proxy = start(&authority, state.path(), "  hosts: [a.example]\n").await;
    proxy.logged(&["a.example: there is a certificate"]).await;
    proxy.logged(&["a.example.json", "write the file"]).await;
    std::fs::remove_dir(&file).unwrap();
    eventually("it is written", async || file.is_file()).await;
    let kept = std::fs::read_to_string(&file).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["directory"], authority.directory());
    assert_eq!(authority.asked("order").len(), 1, "{}", proxy.log());
}

/// What was ordered is on disk again soon after its folder was removed, and is not ordered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_removed_is_made_anew_with_all_that_was_in_it() {
    let authority = Authority::start(Fault::None).await;
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("acme");
    let hosts = "  hosts: [a.example]\n";
    let proxy = start(&authority, state.path(), hosts).await;
    let file = folder.join("certificates/a.example.json");
    eventually("it is written", async || file.is_file()).await;
    let before = std::fs::read(&file).unwrap();
    // The proxy may be writing another file into it.
    eventually("it is removed", async || {
        std::fs::remove_dir_all(&folder).is_ok()
    })
    .await;
    eventually("it is written anew", async || file.is_file()).await;
    proxy.logged(&["acme/certificates had been removed"]).await;
    assert_eq!(std::fs::read(&file).unwrap(), before);
    let names = std::fs::read_dir(&folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|name| name.starts_with("account-")));
    drop(proxy);
    let proxy = start(&authority, state.path(), hosts).await;
    assert_eq!(
        listed(&proxy, "acme-a.example").await["last_error"],
        Value::Null
    );
    let accounts = authority.asked("account").len();
    assert_eq!((authority.asked("order").len(), accounts), (1, 1));
}
