//! `dry_run`: every write can be tried, and changes nothing then: no route, no generation, no file,
//! no event, no line of the audit.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::{Client, TestProxy, answer, api_request, eventually, generation, problem};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_come_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("routes.redb");
    let configuration = format!("store:\n  embedded:\n    path: {}", store.display());
    let proxy = TestProxy::start(&configuration).await;
    let mut events = Client::connect(proxy.control().await).await;
    events
        .send(api_request("GET", "/v1/events", &[], None))
        .await;
    assert_eq!(events.response_head().await.unwrap().status, 200);
    let set = json!({"routes": [
        {"host": "*", "prefix": "/a", "instances": [{"id": "a", "port": 1}, {"id": "b", "port": 2}]},
        {"host": "*", "prefix": "/b", "instances": [{"port": 1}]},
    ]});
    proxy.write("PUT", "/v1/routes", Some(set), 200).await;
    eventually("the events of the set", async || {
        String::from_utf8_lossy(&events.piece().await).contains("\"/b\"")
    })
    .await;
    let before = (proxy.table().await, stamp(&store), audit(&proxy));

    let one = |port: u16| Some(json!({ "port": port }));
    let put = |prefix: &str| json!({"host": "*", "prefix": prefix, "instances": [{"port": 9}]});
    let change = |op: &str, prefix: &str| json!({"op": op, "host": "*", "prefix": prefix});
    let changes = json!({"changes": [change("remove", "/a"), change("remove", "/b")]});
    for (method, target, body, expected) in [
        (
            "PUT",
            "/v1/routes/*/c",
            one(3),
            json!({"result": "created"}),
        ),
        (
            "PUT",
            "/v1/routes/*/b",
            one(3),
            json!({"result": "replaced"}),
        ),
        (
            "PUT",
            "/v1/routes/*/b",
            one(1),
            json!({"result": "unchanged"}),
        ),
        (
            "PUT",
            "/v1/routes/*/a/instances/c",
            one(3),
            json!({"result": "joined"}),
        ),
        (
            "PUT",
            "/v1/routes/*/a/instances/a",
            one(3),
            json!({"result": "replaced"}),
        ),
        (
            "DELETE",
            "/v1/routes/*/a",
            None,
            json!({"result": "removed"}),
        ),
        (
            "DELETE",
            "/v1/routes/*/a?drain=30s",
            None,
            json!({"result": "draining"}),
        ),
        (
            "DELETE",
            "/v1/routes/*/a/instances/a?drain=30s",
            None,
            json!({"result": "draining"}),
        ),
        (
            "DELETE",
            "/v1/routes/*/a/instances/a",
            None,
            json!({"result": "removed"}),
        ),
        (
            "PUT",
            "/v1/routes",
            Some(json!({"routes": [put("/c"), put("/b")]})),
            json!({"created": 1, "replaced": 1, "unchanged": 0, "removed": 1}),
        ),
        (
            "PUT",
            "/v1/routes",
            Some(json!({"routes": []})),
            json!({"removed": 2}),
        ),
        ("PATCH", "/v1/routes", Some(changes), json!({"removed": 2})),
    ] {
        let mark = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{mark}dry_run=true");
        let response = proxy.api(method, &target, body).await;
        let document = answer(&response, 200);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(document[name], *value, "{method} {target}: {document}");
        }
        assert_eq!(document["dry_run"], true, "{method} {target}");
        assert_eq!(
            (response.field("etag"), response.field("location")),
            (None, None)
        );
        assert_eq!(generation(&response), 1, "{method} {target}");
    }
    // What would be refused is refused.
    for (method, target, body, verdict) in [
        (
            "PUT",
            "/v1/routes/*/c",
            Some(json!({"port": 0})),
            (400, "INVALID_PORT"),
        ),
        ("DELETE", "/v1/routes/*/c", None, (404, "NO_SUCH_ROUTE")),
    ] {
        let target = format!("{target}?dry_run=true");
        problem(&proxy.api(method, &target, body).await, verdict);
    }
    let stale = [("If-Match", "\"x\"")];
    let tried = proxy
        .call(
            "PUT",
            "/v1/routes/*/a?dry_run=true",
            &stale,
            one(1).as_ref(),
        )
        .await;
    problem(&tried, (412, "PRECONDITION_FAILED"));
    assert_eq!((proxy.table().await, stamp(&store), audit(&proxy)), before);
    // The next event is that of the next real change.
    proxy
        .write("DELETE", "/v1/routes/*/b?dry_run=false", None, 200)
        .await;
    let mut text = String::new();
    eventually("the event of a removal", async || {
        text.push_str(&String::from_utf8_lossy(&events.piece().await));
        text.contains("route_removed")
    })
    .await;
    assert_eq!(text.matches("event:").count(), 1, "{text}");
    assert_eq!(text.matches("\"generation\":2").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_renews_no_lease() {
    let proxy = TestProxy::plain().await;
    let leased = json!({"port": 1, "ttl": "1s"});
    proxy
        .write("PUT", "/v1/routes/*/a", Some(leased.clone()), 201)
        .await;
    let tried = async |leased: Value| {
        let response = proxy
            .api("PUT", "/v1/routes/*/a?dry_run=true", Some(leased))
            .await;
        answer(&response, 200)["result"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(tried(leased.clone()).await, "renewed");
    eventually("the lease ends", async || {
        tried(leased.clone()).await == "created"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_true_or_false() {
    let proxy = TestProxy::plain().await;
    for value in ["", "1", "yes", "TRUE", "tru%65", "true&dry_run=false"] {
        for (method, target) in [
            ("PUT", "/v1/routes"),
            ("PATCH", "/v1/routes"),
            ("PUT", "/v1/routes/*/a"),
            ("DELETE", "/v1/routes/*/a"),
        ] {
            let body = (method != "DELETE").then(|| json!({"port": 1, "routes": []}));
            let target = format!("{target}?dry_run={value}");
            if value == "tru%65" {
                // An escape is as good as what it stands for; the rest is wrong in its own way.
                assert_ne!(
                    proxy.api(method, &target, body).await.json()["code"],
                    "INVALID_QUERY"
                );
                continue;
            }
            let document = proxy
                .refused(method, &target, body, (400, "INVALID_QUERY"))
                .await;
            if !value.contains('&') {
                assert_eq!(document["parameter"], "dry_run", "{document}");
            }
        }
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}

fn stamp(path: &std::path::Path) -> (Vec<u8>, SystemTime) {
    let changed = std::fs::metadata(path).unwrap().modified().unwrap();
    (std::fs::read(path).unwrap(), changed)
}

fn audit(proxy: &TestProxy) -> Vec<Value> {
    let log = proxy.log();
    let lines = log.lines().filter_map(|line| line.split_once("audit] "));
    lines
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .collect()
}
