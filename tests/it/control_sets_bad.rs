//! Sets and lists of changes with one bad entry: it is named, and nothing is changed.

use serde_json::{Value, json};

use crate::support::TestProxy;

/// What makes an entry a bad one: its fields, the code, the field at fault.
const ENTRIES: [(&str, &str, &str); 28] = [
    (r#"{"host": "a b"}"#, "INVALID_HOST_PATTERN", "/host"),
    (r#"{"host": ""}"#, "INVALID_HOST_PATTERN", "/host"),
    (r#"{"host": 1}"#, "INVALID_HOST_PATTERN", "/host"),
    (r#"{"host": null}"#, "INVALID_HOST_PATTERN", "/host"),
    (r#"{"prefix": ""}"#, "INVALID_PREFIX", "/prefix"),
    (r#"{"prefix": "/a?b"}"#, "INVALID_PREFIX", "/prefix"),
    (r#"{"prefix": "/register"}"#, "RESERVED_PREFIX", "/prefix"),
    (r#"{"prefix": 1}"#, "INVALID_PREFIX", "/prefix"),
    (r#"{"instances": []}"#, "INSTANCE_COUNT", ""),
    (r#"{"instances": {}}"#, "INVALID_BODY", "/instances"),
    (
        r#"{"instances": [[null, null, 1, null, null]]}"#,
        "INVALID_BODY",
        "/instances/0",
    ),
    (
        r#"{"instances": [{"port": 1}, {"port": 0}]}"#,
        "INVALID_PORT",
        "/instances/1/port",
    ),
    (
        r#"{"instances": [{"port": 65536}]}"#,
        "INVALID_PORT",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{"port": "1"}]}"#,
        "INVALID_PORT",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{"port": 1.5}]}"#,
        "INVALID_PORT",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{}]}"#,
        "INVALID_BODY",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{"port": 1, "id": "a b"}]}"#,
        "INVALID_INSTANCE",
        "/instances/0/id",
    ),
    (
        r#"{"instances": [{"port": 1}, {"port": 2}]}"#,
        "DUPLICATE_INSTANCE",
        "",
    ),
    (
        r#"{"instances": [{"port": 1, "host": "a b"}]}"#,
        "INVALID_HOST",
        "/instances/0/host",
    ),
    (
        r#"{"instances": [{"port": 1, "host": "x.invalid"}]}"#,
        "TARGET_UNRESOLVED",
        "/instances/0/host",
    ),
    (
        r#"{"instances": [{"port": 1, "host": "10.0.0.1"}]}"#,
        "TARGET_NOT_ALLOWED",
        "/instances/0/host",
    ),
    (
        r#"{"instances": [{"port": CONTROL}]}"#,
        "TARGET_IS_PROXY",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{"port": TRAFFIC}]}"#,
        "TARGET_IS_PROXY",
        "/instances/0/port",
    ),
    (
        r#"{"instances": [{"port": 1, "owner": ""}]}"#,
        "INVALID_OWNER",
        "/instances/0/owner",
    ),
    (
        r#"{"instances": [{"port": 1, "ttl": "soon"}]}"#,
        "INVALID_TTL",
        "/instances/0/ttl",
    ),
    (
        r#"{"instances": [{"port": 1, "ttl": 30}]}"#,
        "INVALID_TTL",
        "/instances/0/ttl",
    ),
    (
        r#"{"instances": [{"port": 1, "tll": "30s"}]}"#,
        "INVALID_BODY",
        "/instances/0/tll",
    ),
    (r#"{"port": 1}"#, "INVALID_BODY", "/port"),
];

/// What makes a change of the route `/kept` a bad one.
const CHANGES: [(&str, u16, &str, &str); 20] = [
    (
        r#"{"op": "remove", "prefix": "/none"}"#,
        404,
        "NO_SUCH_ROUTE",
        "",
    ),
    (
        r#"{"op": "leave", "prefix": "/none", "id": "a"}"#,
        404,
        "NO_SUCH_ROUTE",
        "",
    ),
    (r#"{"op": "leave", "id": "a"}"#, 404, "NO_SUCH_INSTANCE", ""),
    (
        r#"{"op": "leave", "id": "a b"}"#,
        400,
        "INVALID_INSTANCE",
        "/id",
    ),
    (r#"{"op": "leave"}"#, 400, "INVALID_BODY", "/id"),
    (r#"{"op": "put"}"#, 400, "INVALID_BODY", "/instances"),
    (r#"{"op": "join"}"#, 400, "INVALID_BODY", "/instance"),
    (
        r#"{"op": "join", "instance": [1]}"#,
        400,
        "INVALID_BODY",
        "/instance",
    ),
    (
        r#"{"op": "join", "instance": {"id": "a"}}"#,
        400,
        "INVALID_BODY",
        "/instance/port",
    ),
    (
        r#"{"op": "join", "instance": {"port": 1, "ttl": "1y"}}"#,
        400,
        "INVALID_TTL",
        "/instance/ttl",
    ),
    (
        r#"{"op": "put", "instance": {"port": 1}}"#,
        400,
        "INVALID_BODY",
        "/instance",
    ),
    (
        r#"{"op": "join", "instance": {"port": 1}, "drain": "1s"}"#,
        400,
        "INVALID_BODY",
        "/drain",
    ),
    (r#"{"op": "remove", "id": "a"}"#, 400, "INVALID_BODY", "/id"),
    (
        r#"{"op": "remove", "drain": "soon"}"#,
        400,
        "INVALID_TTL",
        "/drain",
    ),
    (
        r#"{"op": "remove", "drain": 30}"#,
        400,
        "INVALID_TTL",
        "/drain",
    ),
    (
        r#"{"op": "remove", "drain": "25h"}"#,
        400,
        "INVALID_TTL",
        "/drain",
    ),
    (r#"{"op": "REMOVE"}"#, 400, "INVALID_BODY", "/op"),
    (r#"{"op": null}"#, 400, "INVALID_BODY", "/op"),
    (r#"{"op": {"put": null}}"#, 400, "INVALID_BODY", "/op"),
    (r#"{"prefix": "/kept"}"#, 400, "INVALID_BODY", ""),
];

/// An object with the fields of another.
fn with(mut object: Value, fields: &Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(fields);
    object
}

fn kept() -> Value {
    json!({"routes": [{"host": "*", "prefix": "/kept", "instances": [{"port": 1}]}]})
}

/// The changes are refused for what is wrong at this place.
async fn are_refused(proxy: &TestProxy, changes: &[Value], problem: (u16, &str), pointer: &str) {
    let body = json!({ "changes": changes });
    let document = proxy
        .refused("PATCH", "/v1/routes", Some(body), problem)
        .await;
    assert_eq!(document["pointer"], pointer, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_entry_is_named_and_nothing_is_changed() {
    let proxy = TestProxy::plain().await;
    let control = proxy.control().await.port().to_string();
    let traffic = proxy.port().to_string();
    proxy.write("PUT", "/v1/routes", Some(kept()), 200).await;
    let before = proxy.table().await;
    for (wrong, code, field) in ENTRIES {
        let wrong = wrong
            .replace("CONTROL", &control)
            .replace("TRAFFIC", &traffic);
        let wrong: Value = serde_json::from_str(&wrong).unwrap();
        let good = json!({"host": "*", "prefix": "/a", "instances": [{"port": 2}]});
        let entry = with(
            json!({"host": "*", "prefix": "/b", "instances": [{"port": 2}]}),
            &wrong,
        );
        let status = if code == "TARGET_NOT_ALLOWED" {
            403
        } else {
            400
        };
        let body = json!({"routes": [good, entry, good]});
        let document = proxy
            .refused("PUT", "/v1/routes", Some(body), (status, code))
            .await;
        assert_eq!(
            document["pointer"],
            format!("/routes/1{field}"),
            "{document}"
        );
        let put = json!({"op": "put"});
        for (changes, index) in [
            (vec![with(good.clone(), &put), with(entry.clone(), &put)], 1),
            (vec![with(entry.clone(), &put)], 0),
        ] {
            let pointer = format!("/changes/{index}{field}");
            are_refused(&proxy, &changes, (status, code), &pointer).await;
        }
    }
    assert_eq!(proxy.table().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_in_a_set_once() {
    let proxy = TestProxy::plain().await;
    let entry = |prefix: &str| json!({"host": "*", "prefix": prefix, "instances": [{"port": 1}]});
    let twice = json!({"routes": [entry("/a"), entry("/b"), entry("/A/")]});
    let document = proxy
        .refused("PUT", "/v1/routes", Some(twice), (400, "DUPLICATE_ROUTE"))
        .await;
    assert_eq!(document["pointer"], "/routes/2");
    assert!(
        document["detail"].as_str().unwrap().contains("entry 0"),
        "{document}"
    );
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_put_once_by_a_list() {
    let proxy = TestProxy::plain().await;
    let put = |prefix: &str, port: u16| json!({"op": "put", "host": "*", "prefix": prefix, "instances": [{"port": port}]});
    let remove = json!({"op": "remove", "host": "*", "prefix": "/a"});
    let twice = json!({"changes": [put("/a", 1), put("/b", 1), put("/A/", 2)]});
    let document = proxy
        .refused("PATCH", "/v1/routes", Some(twice), (400, "DUPLICATE_ROUTE"))
        .await;
    assert_eq!(document["pointer"], "/changes/2");
    let detail = document["detail"].as_str().unwrap();
    let names_both = detail.contains("*/A is here twice, first in entry 0");
    assert!(names_both, "{document}");
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
    // Each of these has its effect.
    let again = json!({"changes": [put("/a", 1), remove, put("/a", 2)]});
    proxy.write("PATCH", "/v1/routes", Some(again), 200).await;
    let route = proxy.look("/v1/routes/*/a").await;
    assert_eq!(route["instances"][0]["port"], 2, "{route}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_change_is_named_and_none_is_made() {
    let proxy = TestProxy::plain().await;
    proxy.write("PUT", "/v1/routes", Some(kept()), 200).await;
    let before = proxy.table().await;
    let kept = json!({"host": "*", "prefix": "/kept"});
    let join = json!({"op": "join", "instance": {"id": "b", "port": 1}});
    for (change, status, code, field) in CHANGES {
        let change: Value = serde_json::from_str(change).unwrap();
        for index in [0, 2] {
            let mut changes = vec![with(kept.clone(), &join); index];
            changes.push(with(kept.clone(), &change));
            let pointer = format!("/changes/{index}{field}");
            are_refused(&proxy, &changes, (status, code), &pointer).await;
        }
    }
    assert_eq!(proxy.table().await, before);
}
