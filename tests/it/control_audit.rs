//! The audit: a line of JSON for every route that is changed, and none for what is not.

use serde_json::{Value, json};

use crate::support::{Guarded, TestProxy, answer, eventually};

/// The lines so far, once there are this many.
async fn lines(proxy: &TestProxy, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually("the lines of the audit", async || {
        let log = proxy.log();
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        found = whole
            .lines()
            .filter_map(|line| line.split_once("audit] "))
            .map(|(_, line)| serde_json::from_str(line).expect("JSON"))
            .collect();
        found.len() >= count
    })
    .await;
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

fn one(port: u16) -> Value {
    json!({ "port": port })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_its_line() {
    let guarded = Guarded::start(&[("alice", "")]).await;
    let proxy = &guarded.proxy;
    let target = "/v1/routes/a.example/x";
    guarded
        .done(
            "alice",
            "PUT",
            target,
            Some(json!({"port": 1, "ttl": "1h"})),
        )
        .await;
    let line = lines(proxy, 1).await.remove(0);
    let entry =
        |port: u16| json!({"id": "default", "host": "localhost", "port": port, "owner": "alice"});
    let mut leased = entry(1);
    leased["ttl"] = json!("1h");
    for (field, value) in [
        ("change", json!(1)),
        ("action", json!("put")),
        ("who", json!("alice")),
        ("from", json!("127.0.0.1")),
        ("host", json!("a.example")),
        ("prefix", json!("/x")),
        ("before", Value::Null),
        ("after", json!([leased])),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    guarded.done("alice", "PUT", target, Some(one(2))).await;
    let line = lines(proxy, 2).await.remove(1);
    assert_eq!(
        (&line["before"], &line["after"]),
        (&json!([leased]), &json!([entry(2)]))
    );
    guarded
        .done(
            "alice",
            "PUT",
            &format!("{target}/instances/y"),
            Some(one(3)),
        )
        .await;
    guarded
        .done("alice", "DELETE", &format!("{target}/instances/y"), None)
        .await;
    let (status, _) = guarded.over_unix("DELETE", target, None).await;
    assert_eq!(status, 200);
    answer(
        &guarded
            .register(None, &json!({"prefix": "/r", "port": 1}))
            .await,
        200,
    );
    let found = lines(proxy, 6).await;
    let said: Vec<(&str, &Value, &str, &Value)> = found
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap();
            (text("action"), &line["who"], text("from"), &line["change"])
        })
        .skip(2)
        .collect();
    assert_eq!(
        said,
        [
            ("join", &json!("alice"), "127.0.0.1", &json!(3)),
            ("remove", &json!("alice"), "127.0.0.1", &json!(4)),
            ("remove", &Value::Null, "unix", &json!(5)),
            ("register", &Value::Null, "127.0.0.1", &json!(6)),
        ]
    );
    assert_eq!(found[2]["after"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&found[4]["after"], &found[4]["prefix"]),
        (&Value::Null, &json!("/x"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_has_a_line_for_each_route_that_changes() {
    let proxy = TestProxy::plain().await;
    let set = |entries: &[(&str, u16)]| {
        let routes: Vec<Value> = entries
            .iter()
            .map(|(prefix, port)| json!({"host": "*", "prefix": prefix, "instances": [{"port": port}]}))
            .collect();
        Some(json!({ "routes": routes }))
    };
    proxy
        .write(
            "PUT",
            "/v1/routes",
            set(&[("/a", 1), ("/b", 1), ("/c", 1)]),
            200,
        )
        .await;
    proxy
        .write(
            "PUT",
            "/v1/routes",
            set(&[("/a", 1), ("/b", 2), ("/d", 1)]),
            200,
        )
        .await;
    let found = lines(&proxy, 6).await;
    let mut second: Vec<&str> = found[3..]
        .iter()
        .map(|line| line["prefix"].as_str().unwrap())
        .collect();
    second.sort_unstable();
    assert_eq!(second, ["/b", "/c", "/d"]);
    assert!(found[3..].iter().all(|line| line["change"] == 2));
    let many: Vec<Value> = (0..1000)
        .map(|number| json!({"host": "*", "prefix": format!("/{number}"), "instances": [{"port": 1}]}))
        .collect();
    proxy
        .write("PUT", "/v1/routes", Some(json!({"routes": many})), 200)
        .await;
    lines(&proxy, 6 + 1000 + 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_has_none() {
    let proxy = TestProxy::plain().await;
    let target = "/v1/routes/*/a";
    let leased = Some(json!({"port": 1, "ttl": "1h"}));
    proxy.write("PUT", target, leased.clone(), 201).await;
    proxy.write("PUT", target, leased, 200).await;
    proxy
        .write("PUT", &format!("{target}?dry_run=true"), Some(one(2)), 200)
        .await;
    proxy
        .write("DELETE", &format!("{target}?dry_run=true"), None, 200)
        .await;
    proxy
        .refused("DELETE", "/v1/routes/*/b", None, (404, "NO_SUCH_ROUTE"))
        .await;
    proxy
        .refused("PUT", target, Some(one(0)), (400, "INVALID_PORT"))
        .await;
    let late = [("If-None-Match", "*")];
    assert_eq!(
        proxy.call("PUT", target, &late, Some(&one(2))).await.status,
        412
    );
    let batch = json!({"changes": [
        {"op": "put", "host": "*", "prefix": "/x", "instances": [{"port": 1}]},
        {"op": "remove", "host": "*", "prefix": "/none"},
    ]});
    proxy
        .refused("PATCH", "/v1/routes", Some(batch), (404, "NO_SUCH_ROUTE"))
        .await;
    proxy.write("DELETE", target, None, 200).await;
    let found = lines(&proxy, 2).await;
    assert_eq!(
        (&found[0]["action"], &found[1]["action"]),
        (&json!("put"), &json!("remove"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_silenced_alone() {
    let mut proxy = TestProxy::start("log: info,audit=off").await;
    proxy
        .write("PUT", "/v1/routes/*/a", Some(one(1)), 201)
        .await;
    proxy.register("/b", 1).await;
    proxy.stop().await;
    let log = proxy.log();
    assert!(!log.contains("audit]"), "{log}");
    assert!(log.contains("registered */b"), "{log}");
}
