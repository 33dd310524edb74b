//! What a token may do, and what it may not: an action, a host, a prefix, a port.

use serde_json::{Value, json};

use crate::support::{Guarded, answer, problem};

fn port(port: u16) -> Value {
    json!({ "port": port })
}

fn entry(host: &str, prefix: &str, port: u16) -> Value {
    json!({"host": host, "prefix": prefix, "instances": [{"port": port}]})
}

const SCOPE: &str = "FORBIDDEN_SCOPE";

#[tokio::test(flavor = "multi_thread")]
async fn each_action_is_a_right_of_its_own() {
    let guarded = Guarded::start(&[
        ("all", ""),
        ("reader", "[{actions: [read]}]"),
        ("writer", "[{actions: [write]}]"),
        ("app", "[{actions: [register]}]"),
        ("listener", "[{actions: [events]}]"),
        ("taker", "[{actions: [take_over]}]"),
    ])
    .await;
    guarded
        .done(
            "all",
            "PUT",
            "/v1/routes/*/a",
            Some(json!({"instances": [{"id": "a", "port": 1}]})),
        )
        .await;
    // Whoever has a token may know that the proxy runs.
    for name in ["all", "reader", "writer", "app", "listener", "taker"] {
        guarded.done(name, "GET", "/v1/status", None).await;
        guarded.done(name, "GET", "/openapi.json", None).await;
    }
    let put = |prefix: &str| {
        json!({"changes": [
            {"op": "put", "host": "*", "prefix": prefix, "instances": [{"port": 1}]}
        ]})
    };
    let calls = [
        ("read", "GET", "/v1/routes", None),
        ("read", "GET", "/v1/routes/*/a", None),
        ("read", "GET", "/v1/routes/*/a/instances/a", None),
        ("read", "GET", "/v1/routes/*/none", None),
        ("read", "GET", "/v1/match?url=/a", None),
        ("events", "GET", "/v1/events", None),
        ("write", "PUT", "/v1/routes/*/new", Some(port(1))),
        (
            "write",
            "PUT",
            "/v1/routes/*/new?dry_run=true",
            Some(port(1)),
        ),
        ("write", "PATCH", "/v1/routes", Some(put("/new"))),
        (
            "write",
            "PUT",
            "/v1/routes",
            Some(json!({"routes": [entry("*", "/new", 1)]})),
        ),
        ("write", "DELETE", "/v1/routes/*/new", None),
        ("write", "DELETE", "/v1/routes/*/none", None),
        (
            "register",
            "PUT",
            "/v1/routes/*/b/instances/x",
            Some(port(1)),
        ),
        ("register", "DELETE", "/v1/routes/*/b/instances/x", None),
        ("register", "DELETE", "/v1/routes/*/none/instances/x", None),
    ];
    for (name, action) in [
        ("reader", "read"),
        ("app", "register"),
        ("listener", "events"),
        ("taker", "take_over"),
        ("writer", "write"),
    ] {
        for (needed, method, target, body) in &calls {
            let may = *needed == action || (action, *needed) == ("write", "register");
            if may {
                if *needed != "events" {
                    let response = guarded.call(name, method, target, body.clone()).await;
                    assert!(
                        response.status < 300
                            || response.status == 404
                            || response.json()["code"] == "OWNED",
                        "{name} {method} {target}: {}",
                        response.text()
                    );
                }
                continue;
            }
            let document = guarded
                .refused(name, method, target, body.clone(), SCOPE)
                .await;
            let detail = document["detail"].as_str().unwrap();
            assert!(
                detail.contains(&format!("allows {needed}")),
                "{name} {method} {target}: {detail}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_has_hosts_prefixes_and_ports() {
    let guarded = Guarded::start(&[(
        "shop",
        "[{actions: [read, write, register], hosts: ['*.example.com'], prefixes: [/shop], ports: [4000-4999]}]",
    )])
    .await;
    let inside = "/v1/routes/www.example.com/shop/cart";
    guarded.done("shop", "PUT", inside, Some(port(4000))).await;
    guarded
        .done(
            "shop",
            "PUT",
            &format!("{inside}/instances/x"),
            Some(port(4999)),
        )
        .await;
    let none = guarded
        .call("shop", "GET", "/v1/routes/*.a.example.com/SHOP", None)
        .await;
    problem(&none, (404, "NO_SUCH_ROUTE"));
    for (target, number, what) in [
        ("/v1/routes/www.example.com/shop", 5000, "port 5000"),
        ("/v1/routes/www.example.com/shopping", 4000, "/shopping"),
        ("/v1/routes/www.example.com/", 4000, "www.example.com/"),
        ("/v1/routes/example.com/shop", 4000, "example.com/shop"),
        ("/v1/routes/*/shop", 4000, "*/shop"),
        ("/v1/routes/other.example/shop", 4000, "other.example/shop"),
    ] {
        for target in [target.to_owned(), format!("{target}/instances/x")] {
            let document = guarded
                .refused("shop", "PUT", &target, Some(port(number)), SCOPE)
                .await;
            let detail = document["detail"].as_str().unwrap();
            assert!(detail.contains(what), "{detail}");
            if number == 4000 {
                for method in ["GET", "DELETE"] {
                    guarded.refused("shop", method, &target, None, SCOPE).await;
                }
            }
        }
        // In a list the entry is named.
        let route = target.strip_prefix("/v1/routes/").unwrap();
        let (host, prefix) = route.split_once('/').unwrap();
        let bad = entry(host, &format!("/{prefix}"), number);
        let good = entry("www.example.com", "/shop/cart", 4001);
        let set = json!({"routes": [good, bad]});
        let document = guarded
            .refused("shop", "PUT", "/v1/routes", Some(set), SCOPE)
            .await;
        assert_eq!(document["pointer"], "/routes/1", "{document}");
        let mut change = bad;
        change["op"] = json!("put");
        let batch = json!({"changes": [change]});
        let document = guarded
            .refused("shop", "PATCH", "/v1/routes", Some(batch), SCOPE)
            .await;
        assert_eq!(document["pointer"], "/changes/0", "{document}");
    }
    assert_eq!(guarded.total().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_may_be_read() {
    let guarded = Guarded::start(&[
        ("shop", "[{actions: [read], prefixes: [/shop]}]"),
        ("host", "[{actions: [read], hosts: [a.example]}]"),
        ("set", "[{actions: [write], prefixes: [/shop]}]"),
    ])
    .await;
    let set = json!({"routes": [
        entry("*", "/", 1), entry("*", "/shop", 1), entry("*", "/shop/a", 1),
        entry("a.example", "/shop", 1), entry("a.example", "/x", 1),
    ]});
    assert_eq!(
        guarded.over_unix("PUT", "/v1/routes", Some(set)).await.0,
        200
    );
    for (name, total) in [("shop", 3), ("host", 2)] {
        let list = guarded.done(name, "GET", "/v1/routes", None).await;
        assert_eq!(
            (&list["total"], list["routes"].as_array().unwrap().len()),
            (&json!(total), total)
        );
        let page = guarded.done(name, "GET", "/v1/routes?limit=1", None).await;
        assert_eq!(
            (&page["total"], page["routes"].as_array().unwrap().len()),
            (&json!(total), 1)
        );
    }
    // What may not be seen is not told by a match either.
    let document = guarded
        .done("host", "GET", "/v1/match?url=http://b.example/shop/a", None)
        .await;
    assert_eq!(
        (&document["route"], &document["considered"]),
        (&Value::Null, &json!([]))
    );
    assert!(
        document["why"].as_str().unwrap().contains("may not see"),
        "{document}"
    );
    assert!(
        !document.to_string().contains("/shop/a\",\"gen"),
        "{document}"
    );
    let document = guarded
        .done("host", "GET", "/v1/match?url=http://a.example/shop/a", None)
        .await;
    assert_eq!(
        document["considered"].as_array().unwrap().len(),
        1,
        "{document}"
    );
    // Who may not remove the other routes may not put the set.
    let set = json!({"routes": [entry("*", "/shop", 2)]});
    let document = guarded
        .refused("set", "PUT", "/v1/routes", Some(set), SCOPE)
        .await;
    assert_eq!(document.get("pointer"), None, "{document}");
    assert_eq!(guarded.total().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_kept_apart() {
    // Each scope by itself: no one of them has it all.
    let guarded = Guarded::start(&[(
        "mixed",
        "[{actions: [write], prefixes: [/a], ports: [1]}, {actions: [write], prefixes: [/b], ports: [2]}]",
    )])
    .await;
    guarded
        .done("mixed", "PUT", "/v1/routes/*/a", Some(port(1)))
        .await;
    guarded
        .done("mixed", "PUT", "/v1/routes/*/b", Some(port(2)))
        .await;
    guarded
        .refused("mixed", "PUT", "/v1/routes/*/a", Some(port(2)), SCOPE)
        .await;
    guarded
        .refused("mixed", "PUT", "/v1/routes/*/b", Some(port(1)), SCOPE)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_only_the_unix_socket() {
    let guarded = Guarded::start(&[("app", "[{actions: [register], prefixes: [/app]}]")]).await;
    for (method, target) in [
        ("GET", "/v1/routes"),
        ("PUT", "/v1/routes/*/a"),
        ("GET", "/v1/none"),
    ] {
        let response = guarded
            .proxy
            .api(method, target, Some(json!({"port": 1})))
            .await;
        problem(&response, (401, "UNAUTHENTICATED"));
        assert_eq!(response.field("www-authenticate"), Some("Bearer"));
    }
    for (method, target, body, expected) in [
        (
            "PUT",
            "/v1/routes/*/a",
            Some(json!({"port": 1, "owner": "x"})),
            201,
        ),
        (
            "PUT",
            "/v1/routes/*/a",
            Some(json!({"port": 2, "owner": "y"})),
            200,
        ),
        ("PUT", "/v1/routes/*/a/instances/z", Some(port(3)), 201),
        ("GET", "/v1/routes/*/a", None, 200),
        ("PUT", "/v1/routes", Some(json!({"routes": []})), 200),
        ("DELETE", "/v1/routes/*/a", None, 404),
    ] {
        let (status, document) = guarded.over_unix(method, target, body).await;
        assert_eq!(status, expected, "{document}");
    }
    // A registration has the rights of its token.
    let allowed = guarded
        .register(Some("app"), &json!({"prefix": "/app/x", "port": 1}))
        .await;
    answer(&allowed, 200);
    let refused = guarded
        .register(Some("app"), &json!({"prefix": "/other", "port": 1}))
        .await;
    assert_eq!(
        refused.verdict(),
        (403, SCOPE.to_owned()),
        "{}",
        refused.text()
    );
    assert_eq!(guarded.total().await, 1);
}
