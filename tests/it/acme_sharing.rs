//! Two proxies with one state directory: one of them asks, both have what comes.

use std::path::Path;

use serde_json::json;

use crate::support::pebble::{Pebble, is_issued, shown_at};
use crate::support::{TestProxy, eventually};

/// A proxy, and the port where it listens for TLS.
async fn start(listeners: &str, pebble: &Pebble, state: &Path) -> (TestProxy, u16) {
    let configuration = format!(
        "{listeners}control:\n  listen: 127.0.0.1:0\nstate_directory: {}\n{}",
        state.display(),
        pebble.acme("  hosts: [shop.example, blocked.example]\n")
    );
    let proxy = TestProxy::start(&configuration).await;
    let port = || {
        let log = proxy.log();
        let line = log
            .lines()
            .find_map(|line| line.split_once("TLS on 127.0.0.1:"));
        line.and_then(|(_, port)| port.trim().parse().ok())
    };
    eventually("TLS is listened on", async || port().is_some()).await;
    let port = port().expect("a port");
    (proxy, port)
}

async fn issued(port: u16) {
    eventually("there is a certificate", async || {
        let shown = shown_at(port, "shop.example").await;
        shown.is_some_and(|shown| is_issued(&shown))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_proxies_with_one_state_directory_order_once() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::new().await;
    let pebble = pebble.set("domainBlocklist", json!(["blocked.example"]));
    // Whoever asks: it looks for challenges at one of them only.
    let mut pebble = pebble.env("PEBBLE_VA_ALWAYS_VALID", "1");
    // Both have failed to reach it, and go on at about the same time.
    let others = "listen: [\"127.0.0.1:0\"]\ntls:\n  listen: [\"127.0.0.1:0\"]\n";
    let (one, first) = start(&pebble.listeners(), &pebble, state.path()).await;
    let (two, second) = start(others, &pebble, state.path()).await;
    pebble.run().await;
    issued(first).await;
    issued(second).await;
    let ordered = |proxy: &TestProxy, host: &str| {
        let line = format!("{host}: ordering");
        proxy.log().matches(&line).count()
    };
    let both = |host: &str| ordered(&one, host) + ordered(&two, host);
    eventually("what is refused is known", async || {
        one.log().contains("rejectedIdentifier") || two.log().contains("rejectedIdentifier")
    })
    .await;
    assert_eq!(both("shop.example"), 1, "{}{}", one.log(), two.log());
    assert_eq!(both("blocked.example"), 1, "{}{}", one.log(), two.log());
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_proxy_takes_what_the_first_has_ordered() {
    let state = tempfile::tempdir().unwrap();
    let pebble = Pebble::new().await;
    let mut pebble = pebble.set("domainBlocklist", json!(["blocked.example"]));
    pebble.run().await;
    let (one, first) = start(&pebble.listeners(), &pebble, state.path()).await;
    one.logged(&["shop.example: ordering"]).await;
    let others = "listen: [\"127.0.0.1:0\"]\ntls:\n  listen: [\"127.0.0.1:0\"]\n";
    let (two, second) = start(others, &pebble, state.path()).await;
    issued(first).await;
    issued(second).await;
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
    assert!(!two.log().contains("ordering"), "{}", two.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_dies_while_it_orders_leaves_no_lock() {
    let state = tempfile::tempdir().unwrap();
    // It takes its time to look at a challenge.
    let pebble = Pebble::new().await.env("PEBBLE_VA_NOSLEEP", "0");
    let mut pebble = pebble.env("PEBBLE_VA_SLEEPTIME", "5");
    pebble.run().await;
    let (mut one, _) = start(&pebble.listeners(), &pebble, state.path()).await;
    one.logged(&["shop.example: ordering"]).await;
    one.signal("KILL");
    one.ended().await;
    let (_two, port) = start(&pebble.listeners(), &pebble, state.path()).await;
    issued(port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_the_new_process_orders() {
    let folder = tempfile::tempdir().unwrap();
    // It takes its time: the old process is still at it when it is to go.
    let pebble = Pebble::new().await.env("PEBBLE_VA_NOSLEEP", "0");
    let mut pebble = pebble.env("PEBBLE_VA_SLEEPTIME", "5");
    pebble.run().await;
    let configuration = |hosts: &str| {
        format!(
            "{}threads: 1\nupgrade_sock: {at}/upgrade.sock\ncontrol:\n  listen: unix:{at}/control\n\
             state_directory: {at}\n{}",
            pebble.listeners(),
            pebble.acme(&format!("  hosts: [{hosts}]\n")),
            at = folder.path().display(),
        )
    };
    let mut old = TestProxy::start(&configuration("shop.example")).await;
    old.logged(&["shop.example: ordering"]).await;
    let new = old
        .upgraded(&configuration("shop.example, other.example"))
        .await;
    assert!(old.ended().await.status.success());
    for name in ["shop.example", "other.example"] {
        eventually("there is a certificate", async || {
            let shown = pebble.shown(name).await;
            shown.is_some_and(|shown| is_issued(&shown))
        })
        .await;
    }
    assert!(!new.log().contains("a new account"), "{}", new.log());
}
