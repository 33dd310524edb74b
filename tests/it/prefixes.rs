//! How a prefix is written: with any character of a path, in any spelling, and shown as it was typed.

use serde_json::{Value, json};

use crate::support::cli::Edge;
use crate::support::{Home, Origin, TestProxy, eventually, request};

/// Prefixes as apps type them, as they are shown, and paths of requests for them.
const TYPED: [(&str, &str, &[&str]); 6] = [
    ("/t x", "/t%20x", &["/t%20x", "/t%20x/a?b"]),
    (
        "/\u{e9}",
        "/%C3%A9",
        &["/%C3%A9", "/%c3%a9/x", "/%C3%a9", "/\u{e9}/x"],
    ),
    ("/%c3%b6", "/%c3%b6", &["/%C3%B6/a", "/%c3%b6", "/\u{f6}"]),
    (
        "/\u{1f600}/a",
        "/%F0%9F%98%80/a",
        &["/\u{1f600}/a", "/%f0%9f%98%80/a/b"],
    ),
    (
        "/{id}|",
        "/%7Bid%7D%7C",
        &["/{id}|", "/%7bid%7D|/x", "/%7Bid%7D%7c"],
    ),
    ("/a\\b\"c^", "/a%5Cb%22c%5E", &["/a%5cb%22c%5e/x"]),
];

fn paths_beside() -> [&'static str; 5] {
    ["/t", "/t%2520x", "/%C3", "/{id}", "/a/b"]
}

async fn said(proxy: &TestProxy, path: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    request(proxy.address(), text).await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_character_is_taken_and_matches_in_every_spelling() {
    let (root, app) = (Origin::saying("root").await, Origin::saying("app").await);
    for more in [
        "",
        "routing:\n  case_sensitive: true\n",
        "engine: pingora\n",
    ] {
        let proxy = TestProxy::start(more).await;
        proxy.register("/", root.port()).await;
        for (typed, shown, _) in TYPED {
            let body = json!({"prefix": typed, "port": app.port()}).to_string();
            let registered = proxy.register_json(body).await;
            assert_eq!(registered.status, 200, "{typed}: {}", registered.text());
            // Where case counts, digits of escapes have one spelling.
            let is_sensitive = more.contains("case_sensitive");
            let shown = if is_sensitive {
                shown.replace("c3%b6", "C3%B6")
            } else {
                shown.to_owned()
            };
            assert_eq!(registered.json()["prefix"], shown, "{more}");
        }
        for (typed, _, paths) in TYPED {
            for path in paths {
                assert_eq!(said(&proxy, path).await, "app", "{more}{typed}: {path}");
            }
        }
        for path in paths_beside() {
            assert_eq!(said(&proxy, path).await, "root", "{more}{path}");
        }
    }
    // The path that is forwarded is the client's.
    let line = app.requests().pop().expect("a request").head.line;
    assert_eq!(line, "GET /a%5cb%22c%5e/x HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_takes_every_spelling_of_a_prefix() {
    let origin = Origin::saying("app").await;
    for more in ["", "routing:\n  case_sensitive: true\n"] {
        let proxy = TestProxy::start(more).await;
        let route = json!({"port": origin.port()});
        proxy
            .write(
                "PUT",
                "/v1/routes/*/%c3%a9/%7Bid%7D",
                Some(route.clone()),
                201,
            )
            .await;
        proxy
            .write("PUT", "/v1/routes/*/%C3%A9/%7bid%7d", Some(route), 200)
            .await;
        assert_eq!(said(&proxy, "/\u{e9}/{id}").await, "app");
        let list = proxy.look("/v1/routes?prefix=/%C3%A9").await;
        assert_eq!(list["total"], 1, "{list}");
        let found = proxy.look("/v1/match?url=/%25c3%25a9/%257bid%257d/x").await;
        let shown = if more.is_empty() {
            "/%c3%a9/%7Bid%7D"
        } else {
            "/%C3%A9/%7Bid%7D"
        };
        assert_eq!(found["route"]["prefix"], shown, "{found}");
        assert_eq!(found["considered"][0]["taken"], true, "{found}");
        let twice =
            |prefix: &str| json!({"host": "*", "prefix": prefix, "instances": [{"port": 1}]});
        let twice = json!({"routes": [twice("/\u{e9}"), twice("/%c3%a9")]});
        proxy
            .refused("PUT", "/v1/routes", Some(twice), (400, "DUPLICATE_ROUTE"))
            .await;
        proxy
            .write("DELETE", "/v1/routes/*/%c3%A9/%7Bid%7d", None, 200)
            .await;
        assert_eq!(proxy.look("/v1/status").await["routes"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_take_a_prefix_as_it_is_typed() {
    let edge = Edge::start().await;
    for key in ["/t x", "/\u{e9}/{id}", "example.com/a|b"] {
        edge.ok(&["routes", "put", key, "--port", "4321"]).await;
        edge.ok(&["register", "--prefix", "/reg x", "--port", "4321"])
            .await;
        let route = edge.json(&["routes", "get", key, "--json"]).await;
        assert_eq!(route["instances"][0]["port"], 4321, "{key}");
        edge.ok(&["routes", "remove", key]).await;
        edge.run(&["routes", "get", key])
            .await
            .is(3, "NO_SUCH_ROUTE");
    }
    let route = edge.json(&["routes", "get", "/REG x", "--json"]).await;
    assert_eq!(route["prefix"], "/reg%20x");
}

/// What a table says of `/U/A` of several spellings: the prefixes of its routes.
async fn prefixes(proxy: &TestProxy) -> Vec<Value> {
    let list = proxy.look("/v1/routes").await;
    let routes = list["routes"].as_array().expect("routes");
    routes.iter().map(|route| route["prefix"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_shown_as_it_was_typed_and_matches_in_any_case() {
    let origin = Origin::saying("app").await;
    let home = Home::new("");
    let mut proxy = home.start().await;
    let body = |prefix: &str| json!({"prefix": prefix, "port": origin.port()}).to_string();
    let registered = proxy.register_json(body("/U/A")).await;
    assert_eq!(registered.json()["prefix"], "/U/A");
    for path in ["/u/a", "/U/A/x", "/u/A"] {
        assert_eq!(said(&proxy, path).await, "app", "{path}");
        let route = proxy
            .look(&format!("/v1/routes/*{}", path.trim_end_matches("/x")))
            .await;
        assert_eq!(route["prefix"], "/U/A", "{path}");
    }
    for (filter, total) in [("/u", 1), ("/U/a", 1), ("/u/a/x", 0), ("/", 1), ("/u/", 1)] {
        let list = proxy.look(&format!("/v1/routes?prefix={filter}")).await;
        assert_eq!(list["total"], total, "{filter}");
    }
    eventually("the audit says it", async || {
        let log = proxy.log();
        log.contains(r#""prefix":"/U/A""#) && log.contains("registered */U/A")
    })
    .await;
    // It is kept as it was typed, as one route, whatever it is called.
    proxy.register_json(body("/b")).await;
    proxy.stop().await;
    let mut proxy = home.start().await;
    assert_eq!(prefixes(&proxy).await, ["/b", "/U/A"]);
    let page = proxy.look("/v1/routes?limit=1&cursor=*/B").await;
    assert_eq!(page["routes"][0]["prefix"], "/U/A", "{page}");
    proxy.write("DELETE", "/v1/routes/*/u/a", None, 200).await;
    proxy.stop().await;
    let proxy = home.start().await;
    assert_eq!(prefixes(&proxy).await, ["/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_keeps_its_first_spelling() {
    let proxy = TestProxy::plain().await;
    let route = Some(json!({"port": 1}));
    proxy.write("PUT", "/v1/routes/*/U/A", route, 201).await;
    let other = "/v1/routes/*/u/a";
    let change = |op: &str, more: Value| {
        let mut change = json!({"op": op, "host": "*", "prefix": "/u/A"});
        let fields = more.as_object().unwrap().clone();
        change.as_object_mut().unwrap().extend(fields);
        json!({"changes": [change]})
    };
    let whole = json!({"routes": [{"host": "*", "prefix": "/u/a", "instances": [{"port": 2}]}]});
    let set = change("set", json!({"tls": "require"}));
    let join = change("join", json!({"instance": {"id": "c", "port": 4}}));
    let leave = change("leave", json!({"id": "c", "drain": "1h"}));
    for (method, target, body) in [
        ("PUT", other, json!({"port": 1, "ttl": "1h"})),
        ("PUT", "/v1/routes/*/u/a/instances/b", json!({"port": 3})),
        ("PATCH", "/v1/routes", set),
        ("PATCH", "/v1/routes", join),
        ("PATCH", "/v1/routes", leave),
        ("PUT", "/v1/routes", whole),
    ] {
        let shown = body.to_string();
        let response = proxy.api(method, target, Some(body)).await;
        assert!(response.status < 300, "{shown}: {}", response.text());
        let document = response.json();
        for prefix in [
            &document["results"][0]["prefix"],
            &document["route"]["prefix"],
        ] {
            assert!(prefix.is_null() || prefix == "/U/A", "{shown}: {document}");
        }
        assert_eq!(prefixes(&proxy).await, ["/U/A"], "{shown}");
    }
    let body = json!({"prefix": "/u/a", "port": 5}).to_string();
    assert_eq!(proxy.register_json(body).await.json()["prefix"], "/U/A");
    let target = format!("{other}?drain=1h");
    proxy.write("DELETE", &target, None, 200).await;
    let log = proxy.log();
    assert!(!log.contains("\"/u/a\"") && !log.contains("*/u/a"), "{log}");
    // Once it is gone, it has no name that could be kept.
    let route = Some(json!({"port": 1}));
    proxy.write("PUT", other, route, 201).await;
    assert_eq!(prefixes(&proxy).await, ["/u/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slash_in_front_counts() {
    let edge = Edge::start().await;
    for (key, port) in [("//b", "4321"), ("/b", "4322"), ("example.com//b", "4323")] {
        let put = edge.ok(&["routes", "put", key, "--port", port]).await;
        assert!(put.out.starts_with(&format!("{key}: created")), "{put:?}");
    }
    for (key, port) in [("//b", 4321), ("/b", 4322), ("example.com//b", 4323)] {
        let shown = edge.ok(&["routes", "get", key]).await.out;
        let is_shown = shown.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words == ["route", key]
        });
        assert!(is_shown, "{key}: {shown}");
        let route = edge.json(&["routes", "get", key, "--json"]).await;
        assert_eq!(route["instances"][0]["port"], port, "{key}: {route}");
        assert!(key.ends_with(route["prefix"].as_str().unwrap()), "{route}");
    }
    for key in ["/c?l", "/c#l", "/a/../b", "/a%C2%85", "/a\u{85}"] {
        let done = edge.run(&["routes", "put", key, "--port", "1"]).await;
        done.is(2, "the prefix has ");
        let body = json!({"prefix": key, "port": 1}).to_string();
        let refused = edge.proxy.register_json(body).await;
        let verdict = (400, "INVALID_PREFIX".to_owned());
        assert_eq!(refused.verdict(), verdict, "{key}");
    }
    let status = edge.json(&["status", "--json"]).await;
    assert_eq!(status["routes"], 3, "{status}");
}
