//! Owners: what belongs to one token is changed by no other, unless it may take over.

use serde_json::{Value, json};

use crate::support::Guarded;

const RIGHTS: &str = "[{actions: [read, write, register]}]";

async fn two() -> Guarded {
    Guarded::start(&[
        ("alice", RIGHTS),
        ("bob", RIGHTS),
        ("root", "[{actions: [read, write, register, take_over]}]"),
        (
            "shop",
            "[{actions: [read, write]}, {actions: [take_over], prefixes: [/shop]}]",
        ),
    ])
    .await
}

fn one(id: &str, port: u16) -> Value {
    json!({"instances": [{"id": id, "port": port}]})
}

async fn owners(guarded: &Guarded, target: &str) -> Vec<Value> {
    let route = guarded.done("root", "GET", target, None).await;
    let instances = route["instances"].as_array().unwrap().iter();
    instances
        .map(|instance| instance["owner"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebodys_is_left_alone_by_others() {
    let guarded = two().await;
    let target = "/v1/routes/*/a";
    guarded
        .done("alice", "PUT", target, Some(one("x", 1)))
        .await;
    assert_eq!(owners(&guarded, target).await, ["alice"]);
    let route =
        |port: u16| json!({"host": "*", "prefix": "/a", "instances": [{"id": "x", "port": port}]});
    let new = json!({"host": "*", "prefix": "/new", "instances": [{"port": 1}]});
    let change = |op: &str, more: Value| {
        let mut change = json!({"op": op, "host": "*", "prefix": "/a"});
        change
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let mut first = new.clone();
        first["op"] = json!("put");
        Some(json!({"changes": [first, change]}))
    };
    for (method, path, body, pointer) in [
        ("PUT", target, Some(one("x", 2)), None),
        ("PUT", target, Some(one("x", 1)), None),
        ("PUT", target, Some(one("other", 2)), None),
        (
            "PUT",
            "/v1/routes/*/a/instances/x",
            Some(json!({"port": 1})),
            None,
        ),
        (
            "PUT",
            "/v1/routes/*/a/instances/y",
            Some(json!({"port": 2})),
            None,
        ),
        ("DELETE", target, None, None),
        ("DELETE", "/v1/routes/*/a?drain=30s", None, None),
        ("DELETE", "/v1/routes/*/a/instances/x", None, None),
        ("DELETE", "/v1/routes/*/a/instances/x?drain=30s", None, None),
        ("DELETE", "/v1/routes/*/a?dry_run=true", None, None),
        (
            "PUT",
            "/v1/routes",
            Some(json!({"routes": [new, route(2)]})),
            Some("/routes/1"),
        ),
        (
            "PUT",
            "/v1/routes",
            Some(json!({"routes": [new, route(1)]})),
            Some("/routes/1"),
        ),
        ("PUT", "/v1/routes", Some(json!({"routes": [new]})), None),
        (
            "PATCH",
            "/v1/routes",
            change("put", json!({"instances": [{"port": 2}]})),
            Some("/changes/1"),
        ),
        (
            "PATCH",
            "/v1/routes",
            change("remove", json!({})),
            Some("/changes/1"),
        ),
        (
            "PATCH",
            "/v1/routes",
            change("remove", json!({"drain": "1s"})),
            Some("/changes/1"),
        ),
        (
            "PATCH",
            "/v1/routes",
            change("join", json!({"instance": {"port": 2}})),
            Some("/changes/1"),
        ),
        (
            "PATCH",
            "/v1/routes",
            change("leave", json!({"id": "x"})),
            Some("/changes/1"),
        ),
    ] {
        let document = guarded.refused("bob", method, path, body, "OWNED").await;
        assert!(
            document["detail"].as_str().unwrap().contains("\"alice\""),
            "{document}"
        );
        assert_eq!(
            document["pointer"].as_str(),
            pointer,
            "{method} {path}: {document}"
        );
    }
    // Nor by a registration, with a token or without.
    for body in [
        json!({"prefix": "/a", "port": 2}),
        json!({"prefix": "/a", "port": 2, "instance": "y"}),
        json!({"prefix": "/a", "port": 2, "instance": "x"}),
    ] {
        for name in [Some("bob"), None] {
            let refused = guarded.register(name, &body).await;
            assert_eq!(
                refused.verdict(),
                (403, "OWNED".to_owned()),
                "{name:?} {body}"
            );
        }
    }
    let route = guarded.done("bob", "GET", target, None).await;
    assert_eq!(
        (&route["generation"], &route["instances"][0]["state"]),
        (&json!(1), &json!("ready"))
    );
    assert_eq!(guarded.total().await, 1);
    // The owner may, in every way.
    guarded
        .done(
            "alice",
            "PUT",
            "/v1/routes/*/a/instances/y",
            Some(json!({"port": 2})),
        )
        .await;
    let registered = guarded
        .register(Some("alice"), &json!({"prefix": "/a", "port": 3}))
        .await;
    assert_eq!(registered.status, 200, "{}", registered.text());
    assert_eq!(owners(&guarded, target).await, ["alice"]);
    guarded.done("alice", "DELETE", target, None).await;
    guarded.done("bob", "PUT", target, Some(one("x", 1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_in_anothers_name() {
    let guarded = two().await;
    let body = |owner: &str| Some(json!({"port": 1, "owner": owner}));
    for target in ["/v1/routes/*/a", "/v1/routes/*/a/instances/x"] {
        guarded
            .refused("bob", "PUT", target, body("alice"), "FOREIGN_OWNER")
            .await;
    }
    let register = json!({"prefix": "/a", "port": 1, "owner": "alice"});
    for name in [Some("bob"), None] {
        let refused = guarded.register(name, &register).await;
        assert_eq!(refused.verdict(), (403, "FOREIGN_OWNER".to_owned()));
    }
    let set = json!({"routes": [{"host": "*", "prefix": "/a", "instances": [{"port": 1, "owner": "alice"}]}]});
    let document = guarded
        .refused("bob", "PUT", "/v1/routes", Some(set), "FOREIGN_OWNER")
        .await;
    assert_eq!(document["pointer"], "/routes/0");
    guarded
        .done("bob", "PUT", "/v1/routes/*/a", body("bob"))
        .await;
    assert_eq!(owners(&guarded, "/v1/routes/*/a").await, ["bob"]);
    guarded
        .done("root", "PUT", "/v1/routes/*/a", body("alice"))
        .await;
    assert_eq!(owners(&guarded, "/v1/routes/*/a").await, ["alice"]);
    guarded
        .refused("bob", "DELETE", "/v1/routes/*/a", None, "OWNED")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_take_over_does() {
    let guarded = two().await;
    for (method, path, body) in [
        ("PUT", "/v1/routes/*/a", Some(one("x", 2))),
        (
            "PUT",
            "/v1/routes/*/a/instances/y",
            Some(json!({"port": 2})),
        ),
        ("PUT", "/v1/routes", Some(json!({"routes": []}))),
        ("DELETE", "/v1/routes/*/a/instances/x?drain=1s", None),
        ("DELETE", "/v1/routes/*/a", None),
    ] {
        guarded
            .done("alice", "PUT", "/v1/routes/*/a", Some(one("x", 1)))
            .await;
        guarded.done("root", method, path, body).await;
        guarded
            .done("root", "PUT", "/v1/routes", Some(json!({"routes": []})))
            .await;
    }
    guarded
        .done("alice", "PUT", "/v1/routes/*/a", Some(one("x", 1)))
        .await;
    guarded
        .done("root", "PUT", "/v1/routes/*/a", Some(one("x", 2)))
        .await;
    assert_eq!(owners(&guarded, "/v1/routes/*/a").await, ["root"]);
    // It may be a right on some routes alone.
    guarded
        .done("alice", "PUT", "/v1/routes/*/shop/x", Some(one("x", 1)))
        .await;
    guarded
        .refused("shop", "DELETE", "/v1/routes/*/a", None, "OWNED")
        .await;
    guarded
        .done("shop", "DELETE", "/v1/routes/*/shop/x", None)
        .await;
    // Over the Unix socket everything may be done.
    let (status, document) = guarded.over_unix("DELETE", "/v1/routes/*/a", None).await;
    assert_eq!(status, 200, "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_one_route_can_have_one_owner_only() {
    let guarded = two().await;
    guarded
        .done(
            "bob",
            "PUT",
            "/v1/routes/*/a/instances/b",
            Some(json!({"port": 1})),
        )
        .await;
    // To join is to take a share.
    let path = "/v1/routes/*/a/instances/a";
    guarded
        .refused("alice", "PUT", path, Some(json!({"port": 2})), "OWNED")
        .await;
    guarded
        .done(
            "root",
            "PUT",
            path,
            Some(json!({"port": 2, "owner": "alice"})),
        )
        .await;
    assert_eq!(owners(&guarded, "/v1/routes/*/a").await, ["bob", "alice"]);
    // Each renews and takes away its own.
    let renewed = guarded
        .done("alice", "PUT", path, Some(json!({"port": 2})))
        .await;
    assert_eq!(renewed["result"], "unchanged");
    guarded
        .refused(
            "alice",
            "DELETE",
            "/v1/routes/*/a/instances/b",
            None,
            "OWNED",
        )
        .await;
    guarded
        .refused("alice", "DELETE", "/v1/routes/*/a", None, "OWNED")
        .await;
    guarded.done("alice", "DELETE", path, None).await;
    assert_eq!(owners(&guarded, "/v1/routes/*/a").await, ["bob"]);
    // What is draining is still somebody's.
    guarded.done("bob", "DELETE", "/v1/routes/*/a", None).await;
}
