//! What the API cannot use, in heads, paths and queries: each is refused with its reason, and leaves
//! everything as it was.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Client, TestProxy, answer, api_request, eventually, generation, problem};

const PATHS: [&str; 5] = [
    "/v1/routes",
    "/v1/routes/*/a",
    "/v1/match",
    "/v1/status",
    "/v1/events",
];

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_are_problems() {
    let proxy = TestProxy::plain().await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/route",
        "/v1/routes/",
        "/V1/routes",
        "/v2/routes",
        "//v1/routes",
        "/v1/status/",
        "/v1/status/x",
        "/v1/%72outes/",
        "/openapi",
        "/v1/routes%2Fx",
        "/v1/../v1/none",
        "/register/x",
    ] {
        for method in ["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "BREW"] {
            let response = proxy.api(method, path, None).await;
            let document = problem(&response, (404, "NO_SUCH_PATH"));
            assert!(
                document["detail"]
                    .as_str()
                    .unwrap()
                    .contains("openapi.json"),
                "{document}"
            );
        }
    }
    let long = format!("/{}", "x".repeat(5000));
    problem(&proxy.api("GET", &long, None).await, (404, "NO_SUCH_PATH"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_told_the_right_ones() {
    let proxy = TestProxy::plain().await;
    for (path, methods) in PATHS.iter().zip([
        "GET,HEAD,PATCH,PUT",
        "DELETE,GET,HEAD,PUT",
        "GET,HEAD",
        "GET,HEAD",
        "GET,HEAD",
    ]) {
        for method in [
            "GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "PROPFIND", "get",
        ] {
            if methods.split(',').any(|own| own == method) {
                continue;
            }
            let body = Some(json!({}));
            let response = proxy.api(method, path, body).await;
            problem(&response, (405, "METHOD_NOT_ALLOWED"));
            let mut allow: Vec<&str> = response
                .field("allow")
                .unwrap()
                .split(',')
                .map(str::trim)
                .collect();
            allow.sort_unstable();
            assert_eq!(allow.join(","), methods, "{method} {path}");
        }
    }
    let response = proxy.api("GET", "/register", None).await;
    assert_eq!(
        (response.status, response.field("allow")),
        (405, Some("POST"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_a_get_without_its_body() {
    let proxy = TestProxy::plain().await;
    proxy
        .write("PUT", "/v1/routes/*/a", Some(json!({"port": 1})), 201)
        .await;
    let mut client = Client::connect(proxy.control().await).await;
    for (path, status) in [
        ("/v1/routes", 200),
        ("/v1/routes/*/a", 200),
        ("/v1/routes/*/a/instances/default", 200),
        ("/v1/routes/*/b", 404),
        ("/v1/match?url=/a", 200),
        ("/v1/status", 200),
        ("/openapi.json", 200),
        ("/v1/none", 404),
    ] {
        let got = client.exchange(api_request("GET", path, &[], None)).await;
        let head = client.exchange(api_request("HEAD", path, &[], None)).await;
        assert_eq!((head.status, got.status), (status, status), "{path}");
        assert_eq!(generation(&head), 1);
        for field in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.field(field), got.field(field), "{path}: {field}");
        }
        if let Some(length) = head.field("content-length") {
            let length: usize = length.parse().unwrap();
            // What is running has been so for longer.
            assert!(path == "/v1/status" || length == got.body.len(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_are_refused() {
    let proxy = TestProxy::plain().await;
    let route = || Some(json!({"port": 1}));
    for (method, target, body) in [
        ("GET", "/v1/routes?x=1", None),
        ("PUT", "/v1/routes?x=1", Some(json!({"routes": []}))),
        ("PATCH", "/v1/routes?x=1", Some(json!({"changes": []}))),
        ("GET", "/v1/routes/*/a?x=1", None),
        ("PUT", "/v1/routes/*/a?x=1", route()),
        ("PUT", "/v1/routes/*/a/instances/b?x=1", route()),
        ("PUT", "/v1/routes/*/a?dry_run=true&x", route()),
        ("DELETE", "/v1/routes/*/a?x=1", None),
        ("GET", "/v1/match?url=/&x=1", None),
    ] {
        let document = proxy
            .refused(method, target, body, (400, "INVALID_QUERY"))
            .await;
        assert_eq!(document["parameter"], "x", "{document}");
    }
    // A drain is one of a removal.
    let document = proxy
        .refused(
            "PUT",
            "/v1/routes/*/a?drain=1s",
            route(),
            (400, "INVALID_QUERY"),
        )
        .await;
    assert_eq!(document["parameter"], "drain");
    assert_eq!(proxy.look("/v1/status").await["routes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_a_length_of_time() {
    let proxy = TestProxy::plain().await;
    proxy
        .write("PUT", "/v1/routes/*/a", Some(json!({"port": 1})), 201)
        .await;
    for drain in [
        "",
        "soon",
        "30",
        "-1s",
        "25h",
        "1y",
        "1s;",
        "99999999999999999999s",
        "%FF",
        "1s%00",
        "true",
    ] {
        let target = format!("/v1/routes/*/a?drain={drain}");
        let document = proxy
            .refused("DELETE", &target, None, (400, "INVALID_TTL"))
            .await;
        assert_eq!(document["parameter"], "drain", "{document}");
        assert_eq!(document.get("pointer"), None, "{document}");
    }
    let twice = "/v1/routes/*/a?drain=1s&drain=2s";
    proxy
        .refused("DELETE", twice, None, (400, "INVALID_QUERY"))
        .await;
    assert_eq!(
        proxy.look("/v1/routes/*/a").await["instances"][0]["state"],
        "ready"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_a_length_of_time() {
    let proxy = TestProxy::plain().await;
    let target = "/v1/routes/*/a";
    for ttl in [
        "",
        "0s",
        "0",
        "999ms",
        "-1s",
        "soon",
        "30",
        "31d",
        "1y",
        "year",
        "1s\0",
        "99999999999999999999s",
        "1e3s",
        "∞",
    ] {
        let body = json!({"port": 1, "ttl": ttl});
        let document = proxy
            .refused("PUT", target, Some(body.clone()), (400, "INVALID_TTL"))
            .await;
        assert_eq!(document["pointer"], "/ttl", "{document}");
        let instance = format!("{target}/instances/x");
        let document = proxy
            .refused("PUT", &instance, Some(body), (400, "INVALID_TTL"))
            .await;
        assert_eq!(document["pointer"], "/ttl", "{document}");
    }
    for ttl in [
        json!(30),
        json!(1.5),
        json!(true),
        json!(["30s"]),
        json!({"s": 30}),
    ] {
        let body = json!({"port": 1, "ttl": ttl});
        let document = proxy
            .refused("PUT", target, Some(body), (400, "INVALID_TTL"))
            .await;
        assert_eq!(document["pointer"], "/ttl", "{document}");
    }
    for (ttl, shown) in [
        ("1s", "1s"),
        ("30d", "30days"),
        ("90 min", "1h 30m"),
        ("1h 30m", "1h 30m"),
    ] {
        let body = json!({"port": 1, "ttl": ttl});
        let document = answer_of(&proxy, target, body).await;
        assert_eq!(
            document["route"]["instances"][0]["ttl"], shown,
            "{document}"
        );
    }
}

async fn answer_of(proxy: &TestProxy, target: &str, body: Value) -> Value {
    let response = proxy.api("PUT", target, Some(body)).await;
    answer(&response, response.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_may_not_be() {
    let proxy = TestProxy::start("control:\n  listen: [127.0.0.1:0, '[::1]:0']").await;
    eventually("both are named", async || {
        proxy.control_listeners().count() == 2
    })
    .await;
    let sixth: SocketAddr = proxy.control_listeners().last().unwrap().parse().unwrap();
    let control = proxy.control().await.port();
    let own = [
        ("localhost", control),
        ("127.0.0.1", control),
        ("::ffff:127.0.0.1", control),
        ("[::1]", sixth.port()),
        ("localhost", proxy.port()),
        ("127.0.0.9", proxy.port()),
    ]
    .map(|(host, port)| (host, port, (400, "TARGET_IS_PROXY"), "/port"));
    let others = [
        ("10.0.0.1", 403, "TARGET_NOT_ALLOWED"),
        ("0.0.0.0", 403, "TARGET_NOT_ALLOWED"),
        ("::ffff:8.8.8.8", 403, "TARGET_NOT_ALLOWED"),
        ("169.254.169.254", 403, "TARGET_NOT_ALLOWED"),
        ("no-such-host.invalid", 400, "TARGET_UNRESOLVED"),
        ("", 400, "INVALID_HOST"),
        ("a:80", 400, "INVALID_HOST"),
        ("*.a", 400, "INVALID_HOST"),
        ("http://a", 400, "INVALID_HOST"),
    ]
    .map(|(host, status, code)| (host, 80, (status, code), "/host"));
    for (host, port, verdict, pointer) in own.into_iter().chain(others) {
        let body = json!({"host": host, "port": port});
        for target in ["/v1/routes/*/a", "/v1/routes/*/a/instances/x"] {
            let document = proxy
                .refused("PUT", target, Some(body.clone()), verdict)
                .await;
            assert_eq!(document["pointer"], pointer, "{document}");
        }
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_cannot_be_read_are_problems_too() {
    let proxy = TestProxy::start("limits:\n  target: 200\ntimeouts:\n  head: 300ms").await;
    let address = proxy.control().await;
    let long = format!("/v1/routes/*/{}", "x".repeat(300));
    for (bytes, status) in [
        (
            format!("GET {long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            414,
        ),
        ("GET /v1/status HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nbad field: x\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
            408,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
        ),
    ] {
        let mut client = Client::connect(address).await;
        client.send(&bytes).await;
        let response = client.response().await;
        assert_eq!(response.status, status, "{bytes:?}: {}", response.text());
        assert_eq!(
            response.field("content-type"),
            Some("application/problem+json")
        );
        let document = response.json();
        let code = document["code"].as_str().unwrap();
        assert_eq!(code, code.to_uppercase(), "{document}");
        assert_eq!(document["status"], status, "{document}");
        assert!(
            document["detail"].as_str().unwrap().ends_with('.'),
            "{document}"
        );
    }
}
