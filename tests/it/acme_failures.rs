//! ACME that fails: each failure is said, shown and tried again later, and nothing else notices.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::pebble::{Pebble, is_issued};
use crate::support::{Origin, TestProxy, eventually, get, run};

fn configuration(pebble: &Pebble, state: &Path, more: &str) -> String {
    format!(
        "{}control:\n  listen: 127.0.0.1:0\nstate_directory: {}\n{}",
        pebble.listeners(),
        state.display(),
        pebble.acme(more)
    )
}

async fn start(pebble: &Pebble, state: &Path, more: &str) -> TestProxy {
    TestProxy::start(&configuration(pebble, state, more)).await
}

async fn issued(pebble: &Pebble, name: &str) {
    eventually("there is a certificate", async || {
        pebble
            .shown(name)
            .await
            .is_some_and(|shown| is_issued(&shown))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_refused_is_said_counted_and_shown_and_others_are_served() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::new().await;
    let mut pebble = pebble.set("domainBlocklist", json!(["blocked.example"]));
    pebble.run().await;
    let more = "  hosts: [blocked.example, shop.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    let origin = Origin::saying("app").await;
    proxy.register("/", origin.port()).await;
    proxy
        .logged(&["blocked.example", "rejectedIdentifier", "next try at"])
        .await;
    issued(&pebble, "shop.example").await;
    let shown = proxy.api("GET", "/v1/certificates", None).await.json();
    let list = shown["certificates"].as_array().unwrap();
    let refused = list
        .iter()
        .find(|entry| entry["name"] == "acme-blocked.example");
    let refused = refused.expect("it is shown");
    let reason = refused["last_error"].as_str().unwrap();
    assert!(reason.contains("rejectedIdentifier"), "{reason}");
    assert!(reason.contains("next try at"), "{reason}");
    assert_eq!(refused["details"], Value::Null);
    assert_eq!(refused["failures"], 1);
    assert_eq!(shown["failures"], 1);
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.text(), "app");
    // Not tried again before its time.
    assert_eq!(proxy.log().matches("blocked.example: ordering").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_hurry_what_was_refused() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::new().await;
    let mut pebble = pebble.set("domainBlocklist", json!(["blocked.example"]));
    pebble.run().await;
    let mut proxy = start(&pebble, state.path(), "  hosts: [blocked.example]\n").await;
    proxy
        .logged(&["blocked.example", "rejectedIdentifier"])
        .await;
    assert!(proxy.stop().await.status.success());
    let more = "  hosts: [blocked.example, shop.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "shop.example").await;
    assert!(
        !proxy.log().contains("blocked.example: ordering"),
        "{}",
        proxy.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_fails_says_why_and_an_unreachable_authority_is_asked_again() {
    let state = tempfile::tempdir().unwrap();
    let mut pebble = Pebble::new().await;
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    let line = proxy
        .logged(&["shop.example", "cannot be reached", "next try at"])
        .await;
    assert!(line.contains("localhost"), "{line}");
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.status, 501);
    pebble.run().await;
    issued(&pebble, "shop.example").await;
    let shown = proxy
        .api("GET", "/v1/certificates/acme-shop.example", None)
        .await;
    assert_eq!(shown.json()["last_error"], Value::Null, "{}", shown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_trusted_or_is_none_says_what_to_do() {
    let pebble = Pebble::start().await;
    let whole = |state: &Path| configuration(&pebble, state, "  hosts: [shop.example]\n");
    let without = |text: String, start: &str| -> String {
        let lines = text.lines().filter(|line| !line.starts_with(start));
        lines.flat_map(|line| [line, "\n"]).collect()
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = without(whole(one.path()), "  ca: ");
    let mut proxy = TestProxy::start(&text).await;
    let line = proxy
        .logged(&["shop.example", "acme.ca", "next try at"])
        .await;
    let is_told = line.contains("cannot be trusted") || line.contains("no certificate authorities");
    assert!(is_told, "{line}");
    assert!(proxy.stop().await.status.success());
    // pebble's own, but another page of it: it has no directory.
    let directory = pebble.directory();
    let text = whole(two.path()).replace(&directory, &format!("{directory}x"));
    let proxy = TestProxy::start(&text).await;
    proxy
        .logged(&["shop.example", "/dirx answered 404", "next try at"])
        .await;
    assert_eq!(pebble.orders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_is_looked_for_elsewhere_says_what_was_found() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::start().await;
    // Nothing listens where the authority looks.
    let configuration = format!(
        "listen: [\"127.0.0.1:0\"]\ncontrol:\n  listen: 127.0.0.1:0\ntls:\n  listen: \
         [\"127.0.0.1:0\"]\nstate_directory: {}\n{}",
        state.path().display(),
        pebble.acme("  hosts: [shop.example]\n")
    );
    let proxy = TestProxy::start(&configuration).await;
    let line = proxy
        .logged(&["shop.example", "Http01 failed", "next try at"])
        .await;
    assert!(line.contains("connection refused"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_rejects_many_nonces_is_asked_until_it_does_not() {
    let state = tempfile::tempdir().unwrap();
    let mut pebble = Pebble::new().await.env("PEBBLE_WFE_NONCEREJECT", "30");
    pebble.run().await;
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    issued(&pebble, "shop.example").await;
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let state = tempfile::tempdir().unwrap();
    let mut pebble = Pebble::start().await;
    let mut proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    issued(&pebble, "shop.example").await;
    assert!(proxy.stop().await.status.success());
    pebble.stop().await;
    pebble.run().await;
    let more = "  hosts: [shop.example, other.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "other.example").await;
    proxy.logged(&["a new account is made"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_account_and_a_damaged_certificate_are_said_and_replaced() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::start().await;
    let more = "  hosts: [shop.example]\n";
    let mut proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "shop.example").await;
    assert!(proxy.stop().await.status.success());
    let mut damaged = 0;
    for path in crate::support::pebble::files(state.path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("account-") || name == "shop.example.json" {
            let text = std::fs::read(&path).unwrap();
            std::fs::write(&path, &text[..text.len() / 2]).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 2);
    let proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "shop.example").await;
    let line = proxy
        .logged(&["account-", "is damaged", "a new account is made"])
        .await;
    assert!(!line.contains("key_pkcs8"), "{line}");
    proxy
        .logged(&["shop.example", "is damaged", "a new certificate is ordered"])
        .await;
    assert_eq!(pebble.orders(), 2, "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_used_is_said_and_the_proxy_serves() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    // A file where the folder is to be.
    std::fs::write(&state, "").unwrap();
    let pebble = Pebble::start().await;
    let proxy = start(&pebble, &state, "  hosts: [shop.example]\n").await;
    proxy
        .logged(&["cannot make the folder", "next try at"])
        .await;
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.status, 501);
    assert_eq!(pebble.orders(), 0);
    // Once it can be, there is a certificate.
    std::fs::remove_file(&state).unwrap();
    issued(&pebble, "shop.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_wants_an_account_of_its_own_gets_its_key() {
    let state = tempfile::tempdir().unwrap();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::new().await;
    let pebble = pebble.set("externalAccountBindingRequired", json!(true));
    let mut pebble = pebble.set("externalAccountMACKeys", json!({"kid-1": key}));
    pebble.run().await;
    // Without, and with a wrong one.
    let mut proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    proxy
        .logged(&["externalAccountRequired", "acme.eab", "next try at"])
        .await;
    assert!(proxy.stop().await.status.success());
    let file = state.path().join("eab.key");
    let more = format!(
        "  hosts: [shop.example]\n  eab:\n    key_id: kid-1\n    hmac_key_file: {}\n",
        file.display()
    );
    std::fs::write(&file, "d3Jvbmc").unwrap();
    let mut proxy = start(&pebble, state.path(), &more).await;
    proxy.logged(&["check `acme.eab`", "next try at"]).await;
    assert!(proxy.stop().await.status.success());
    std::fs::write(&file, key).unwrap();
    let _proxy = start(&pebble, state.path(), &more).await;
    issued(&pebble, "shop.example").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_of_no_use_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    std::fs::write(folder.path().join("empty"), "").unwrap();
    let base =
        "tls:\n  listen: [\"127.0.0.1:0\"]\nacme:\n  terms_agreed: true\n  hosts: [a.example]\n";
    for (more, code, expected) in [
        (format!("  ca: {at}/none.pem\n"), 1, "acme.ca: "),
        (format!("  ca: {at}/empty\n"), 1, "acme.ca: "),
        (
            format!("  eab: {{key_id: a, hmac_key_file: {at}/none}}\n"),
            1,
            "acme.eab.hmac_key_file: cannot read",
        ),
        (
            format!("  eab: {{key_id: a, hmac_key_file: {at}/empty}}\n"),
            2,
            "has no key in base64url",
        ),
    ] {
        let output = run(&["check"], &format!("{base}{more}")).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more}{said}");
        assert!(said.contains(expected), "{more}{said}");
    }
}
