//! Failures, which strangers can cause as often as they like: they push out no change, and few are kept.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Client, ClosedPort, Reader, TestProxy, Told};

/// How many failures are kept.
const KEPT: u64 = 1024;

async fn fail(client: &mut Client, count: u64, path: &str) {
    for _ in 0..count {
        assert_eq!(client.get(path).await.status, 501);
    }
}

/// The id before the first event of a process.
fn first_id(told: &Told) -> String {
    let (epoch, _) = told.id.split_once('-').expect("an id");
    format!("{epoch}-0")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_push_out_no_change() {
    let proxy = TestProxy::start(
        "log: off,dynamic_reverse_proxy::server=info\nevents: {failures_per_second: off}\n",
    )
    .await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    let mut client = proxy.client().await;
    api.put("/v1/routes/*/a", json!({ "port": 4001 })).await;
    let first = reader.expect("route_created").await;
    drop(reader);
    fail(&mut client, KEPT + 100, "/nowhere").await;
    api.put("/v1/routes/*/b", json!({ "port": 4001 })).await;
    fail(&mut client, KEPT + 7, "/nowhere").await;
    let mut reader = Reader::after(&proxy, Some(&first_id(&first))).await;
    assert_eq!(reader.expect("route_created").await.id, first.id);
    // What is missed stands in the order of the ids, with the id of the last of it.
    let missed = reader.expect("missed").await;
    assert_eq!(
        missed.data,
        json!({ "missed": KEPT + 100, "changes": false })
    );
    assert_eq!(missed.number(), 1 + KEPT + 100);
    let second = reader.expect("route_created").await;
    assert_eq!(second.data["prefix"], "/b");
    assert_eq!(second.number(), missed.number() + 1);
    let missed = reader.expect("missed").await;
    assert_eq!(missed.data, json!({ "missed": 7, "changes": false }));
    assert_eq!(missed.number(), second.number() + 7);
    for n in 1..=KEPT {
        assert_eq!(
            reader.expect("proxy_error").await.number(),
            missed.number() + n
        );
    }
    // Whoever comes back in the midst of it gets the rest.
    let mut again = Reader::after(&proxy, Some(&missed.id)).await;
    assert_eq!(
        again.expect("proxy_error").await.number(),
        missed.number() + 1
    );
    // Then those that come.
    api.delete("/v1/routes/*/b").await;
    assert_eq!(
        reader.expect("route_removed").await.number(),
        missed.number() + KEPT + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn few_failures_of_one_code_are_kept_and_the_rest_counted() {
    const COUNT: u64 = 500;
    let closed = ClosedPort::new();
    let proxy = TestProxy::start("log: off,dynamic_reverse_proxy::server=info\n").await;
    let mut api = Api::of(&proxy).await;
    let mut reader = Reader::of(&proxy).await;
    let down = json!({ "host": "127.0.0.1", "port": closed.port() });
    api.put("/v1/routes/*/down", down).await;
    reader.expect("route_created").await;
    let mut client = proxy.client().await;
    let begin = Instant::now();
    fail(&mut client, COUNT, &format!("/{}", "x".repeat(8000))).await;
    let windows = begin.elapsed().as_secs() + 2;
    // Those of another code have a share of their own.
    assert_eq!(client.get("/down").await.status, 500);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fail(&mut proxy.client().await, 1, "/last").await;
    let (mut kept, mut suppressed) = (0, 0);
    loop {
        let told = reader.expect("proxy_error").await;
        let path = told.data["path"].as_str().expect("a path");
        if path == "/down" {
            assert_eq!(told.data["error"], "UNREACHABLE");
            assert_eq!(told.data.get("suppressed"), None);
            continue;
        }
        kept += 1;
        suppressed += told
            .data
            .get("suppressed")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        if path == "/last" {
            assert!(told.data["suppressed"].as_u64() > Some(0), "{told:?}");
            break;
        }
        assert!(
            path.len() < 300 && path.contains("bytes left out"),
            "{path}"
        );
    }
    assert_eq!(kept + suppressed, COUNT + 1);
    assert!(kept <= 10 * windows + 1, "{kept} in {windows} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_registrations_of_strangers_are_failures_too() {
    let proxy = TestProxy::start(
        "log: off,dynamic_reverse_proxy::server=info\nevents: {failures_per_second: 1}\n",
    )
    .await;
    let mut reader = Reader::of(&proxy).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        let relayed = "POST /register HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\
                       Content-Length: 0\r\n\r\n";
        assert_eq!(client.exchange(relayed).await.status, 403);
    }
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/a", json!({ "port": 4001 })).await;
    assert_eq!(
        reader.expect("register_error").await.data["error"],
        "FORBIDDEN"
    );
    reader.expect("route_created").await;
}
