//! Memory comes back, and errors about a large body are short.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Api, Client, Response, TestProxy};

/// How much more than before may be resident afterwards, in KiB, and after how long.
const MOST_MORE: u64 = 16 * 1024;
const AFTER: Duration = Duration::from_secs(30);

/// A set of so many routes.
fn set(count: usize) -> String {
    let mut text = String::from(r#"{"routes":["#);
    for number in 0..count {
        let comma = if number > 0 { "," } else { "" };
        write!(
            text,
            r#"{comma}{{"host":"app-{number}.example.com","prefix":"/app","instances":[{{"port":4001}}]}}"#
        )
        .expect("a string grows");
    }
    text.push_str("]}");
    text
}

async fn put(proxy: &TestProxy, target: &str, body: &str) -> Response {
    let length = body.len();
    let head =
        format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let mut client = Client::connect(proxy.control().await).await;
    client
        .exchange([head.as_bytes(), body.as_bytes()].concat())
        .await
}

/// Waits until no more is resident than before; a minute at most, and it should be half of that.
async fn comes_back(proxy: &TestProxy, before: u64) {
    let begin = Instant::now();
    loop {
        let now = proxy.resident_kib();
        if now <= before + MOST_MORE {
            return;
        }
        assert!(
            begin.elapsed() < AFTER,
            "{before} KiB before, {now} KiB after {AFTER:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_comes_back_after_a_large_dry_run() {
    let proxy = TestProxy::start(
        "limits:\n  routes: 400000\n  routes_per_owner: 400000\n  hosts: 400000\n  \
         hosts_per_owner: 400000\n  instances: 400000\n  \
         instances_per_owner: 400000\n  route_memory: 4GiB\n",
    )
    .await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/stays", json!({ "port": 4001 })).await;
    let before = proxy.resident_kib();
    let response = put(&proxy, "/v1/routes?dry_run=true", &set(300_000)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["created"], 300_000);
    let peak = proxy.resident_kib();
    eprintln!("{before} KiB before, {peak} KiB at the end of the call");
    comes_back(&proxy, before).await;
    assert_eq!(api.get("/v1/routes").await.expect("a list")["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_comes_back_after_large_bodies_that_are_refused() {
    let proxy = TestProxy::plain().await;
    let before = proxy.resident_kib();
    let mut broken = set(300_000);
    broken.truncate(broken.len() - 2);
    let too_many = set(300_000);
    for (body, code) in [(broken, "NOT_JSON"), (too_many, "LIMIT_ROUTES")] {
        let response = put(&proxy, "/v1/routes", &body).await;
        assert_eq!(response.json()["code"], code, "{}", response.text());
    }
    comes_back(&proxy, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_a_large_body_is_short() {
    let proxy = TestProxy::plain().await;
    let long = "x".repeat(11 * 1024 * 1024);
    let bodies = [
        json!({ long.clone(): 1 }),
        json!({ "routes": [{ long.clone(): 1 }] }),
        json!({ "routes": long.clone() }),
        json!({ "routes": [{ "host": long.clone(), "prefix": "/a", "instances": [{ "port": 1 }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": long.clone() }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": 1, long.clone(): 1 }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": 1, "protocol": long }] }] }),
    ];
    for body in bodies {
        let response = put(&proxy, "/v1/routes", &body.to_string()).await;
        assert_eq!(response.status, 400);
        let length = response.body.len();
        assert!(
            length < 4096,
            "{length} bytes: {:?}",
            &response.text()[..200]
        );
    }
    let registration = json!({ "prefix": "/a", "port": 1, "https": { "x".repeat(60_000): 1 } });
    let response = proxy.register_json(registration.to_string()).await;
    assert_eq!(response.status, 400);
    assert!(response.body.len() < 4096, "{}", response.body.len());
    let longest = proxy.log().lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 8192, "a line of the log has {longest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_paths_stay_neither_in_events_nor_in_the_log() {
    let proxy = TestProxy::plain().await;
    let before = proxy.resident_kib();
    let mut client = proxy.client().await;
    let path = format!("/{}", "x".repeat(15_000));
    for _ in 0..3000 {
        let response = client.get(&path).await;
        assert_eq!(response.status, 501);
    }
    let longest = proxy.log().lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 8192, "a line of the log has {longest} bytes");
    comes_back(&proxy, before).await;
}
