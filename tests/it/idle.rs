//! A proxy that has nothing to do does nothing.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::{Api, Home, Origin, TestProxy, eventually, get};

/// How long the proxy is watched, and how often it may wake in that time: once a second.
const WATCHED: Duration = Duration::from_secs(5);
const MOST: u64 = 5;

/// How often the threads of a process have gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let status = tasks.map(|task| fs::read_to_string(task.expect("a task").path().join("status")));
    let count = |status: String| {
        let field = |line: &str| {
            line.strip_prefix("voluntary_ctxt_switches:")?
                .trim()
                .parse()
                .ok()
        };
        status.lines().find_map(field).unwrap_or(0_u64)
    };
    // A thread that has ended since does not count.
    status.filter_map(Result::ok).map(count).sum()
}

/// Waits until the proxy is as quiet as it has to be.
async fn is_quiet(proxy: &TestProxy) {
    eventually("the proxy sleeps", async || {
        let before = sleeps(proxy.pid());
        // The time is what is measured.
        tokio::time::sleep(WATCHED).await;
        let count = sleeps(proxy.pid()) - before;
        eprintln!("woken {count} times in {WATCHED:?}");
        count <= MOST
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_sleeps_once_it_has_served() {
    let origin = Origin::saying("hello").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(get(proxy.address(), "/").await.status, 200);
    drop(origin);
    // Its task ends when its thread comes to it.
    eventually("the app is gone", async || {
        get(proxy.address(), "/").await.status == 500
    })
    .await;
    // With an idle connection of a client, and one of an operator.
    let mut api = Api::of(&proxy).await;
    assert!(api.get("/v1/routes").await.is_some());
    is_quiet(&proxy).await;
}

/// Idle connections to apps wake nobody, whatever their limit is.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_sleeps_beside_idle_connections_to_its_apps() {
    for limit in ["60s", "off"] {
        let origin = Origin::saying("hello").await;
        let configuration = format!("threads: 2\ntimeouts: {{upstream_idle: {limit}}}");
        let proxy = TestProxy::start(&configuration).await;
        proxy.register("/", origin.port()).await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = proxy.client().await;
            assert_eq!(client.get("/").await.status, 200);
            clients.push(client);
        }
        assert!(origin.open() > 0);
        is_quiet(&proxy).await;
        assert!(origin.open() > 0, "they are still idle: {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_a_store_sleeps() {
    let home = Home::new("");
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    let leased = json!({ "port": 4001, "ttl": "1h" });
    api.put("/v1/routes/*/leased", leased).await;
    is_quiet(&proxy).await;
}
