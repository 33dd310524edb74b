//! The registration contract, row by row, and where it deviates from the original.

use serde_json::json;

use crate::support::{Client, Origin, TestProxy, get, registration, request};

/// A request to the registration path with a body and more fields.
fn posting(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_answered_in_the_originals_words() {
    let proxy = TestProxy::plain().await;
    let cases = [
        (r#"{"prefix": "/", "port": 1234}"#, "localhost", 1234, "/"),
        (
            r#"{"prefix": "/test", "port": 4321}"#,
            "localhost",
            4321,
            "/test",
        ),
        (
            r#"{"port": "3005", "prefix": "test/"}"#,
            "localhost",
            3005,
            "/test",
        ),
        (
            r#"{"prefix": "/a/b///", "port": 65535}"#,
            "localhost",
            65535,
            "/a/b",
        ),
        (
            r#"{"prefix": "/a*b/*", "port": 1}"#,
            "localhost",
            1,
            "/a*b/*",
        ),
        (
            r#"{"host": "127.0.0.1", "prefix": "/h", "port": 1}"#,
            "127.0.0.1",
            1,
            "/h",
        ),
        (
            r#"{"host": "[::1]", "prefix": "/h", "port": 1}"#,
            "::1",
            1,
            "/h",
        ),
        (
            r#"{"host": null, "reqHostNames": null, "prefix": "/n", "port": 1}"#,
            "localhost",
            1,
            "/n",
        ),
    ];
    for (body, host, port, prefix) in cases {
        let response = proxy.register_json(body).await;
        let expected = format!(
            r#"{{"message":"Registered.","host":"{host}","port":{port},"prefix":"{prefix}"}}"#
        );
        assert_eq!(
            (response.status, response.text()),
            (200, expected),
            "{body}"
        );
        assert_eq!(
            response.field("content-type"),
            Some("application/json"),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_a_larger_generation() {
    let proxy = TestProxy::plain().await;
    let mut last = 0;
    for port in [1000, 1001, 1001] {
        let response = proxy
            .register_json(json!({"prefix": "/", "port": port}).to_string())
            .await;
        let generation = response.field("x-route-generation").expect("a generation");
        let generation: u64 = generation.parse().expect("a number");
        assert!(generation > last, "{generation} after {last}");
        last = generation;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_registers() {
    let proxy = TestProxy::plain().await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PURGE"] {
        let text = format!("{method} /register HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(response.status, 405, "{method}");
        assert_eq!(response.field("allow"), Some("POST"), "{method}");
        if method != "HEAD" {
            assert_eq!(response.error(), "METHOD_NOT_ALLOWED", "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_a_bad_request() {
    let proxy = TestProxy::plain().await;
    let cases: [&[u8]; 8] = [
        b"",
        b"prefix=/a&port=1",
        b"{\"prefix\": \"/a\", \"port\": 1",
        b"{\"prefix\": \"/a\", \"port\": 1}}",
        b"{'prefix': '/a', 'port': 1}",
        b"\xef\xbb\xbf{\"prefix\": \"/a\", \"port\": 1}",
        b"{\"prefix\": \"/\xff\", \"port\": 1}",
        b"NaN",
    ];
    for body in cases {
        let response = proxy.register_json(body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(
            response.verdict(),
            (400, "BAD_REQUEST".to_owned()),
            "{shown}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_and_port_are_required() {
    let proxy = TestProxy::plain().await;
    let cases = [
        ("{}", "prefix and port"),
        (r#"{"prefix": "/a"}"#, "port"),
        (r#"{"port": 1}"#, "prefix"),
        (r#"{"prefix": "", "port": 1}"#, "prefix"),
        (r#"{"prefix": " \t", "port": 1}"#, "prefix"),
        (r#"{"prefix": null, "port": 1}"#, "prefix"),
        (r#"{"prefix": "/a", "port": null}"#, "port"),
        (r#"{"prefix": "/a", "port": ""}"#, "port"),
        (r#"{"prefx": "/a", "port": 1}"#, "did you mean `prefix`"),
        ("null", "null"),
        ("[]", "a list"),
        (r#""text""#, "a string"),
        ("7", "a number"),
        ("true", "a boolean"),
    ];
    for (body, named) in cases {
        let response = proxy.register_json(body).await;
        assert_eq!(
            response.verdict(),
            (400, "INCOMPLETE_REQUEST".to_owned()),
            "{body}"
        );
        assert!(
            response.message().contains(named),
            "{body}: {}",
            response.message()
        );
    }
}

/// Bodies with a wrong value, the code of the answer, and what its sentence names.
const WRONG: [(&str, &str, &str); 44] = [
    (r#"{"prefix": "/a", "port": 0}"#, "INVALID_PORT", "port: 0"),
    (
        r#"{"prefix": "/a", "port": 65536}"#,
        "INVALID_PORT",
        "port: 65536",
    ),
    (
        r#"{"prefix": "/a", "port": -1}"#,
        "INVALID_PORT",
        "port: -1",
    ),
    (
        r#"{"prefix": "/a", "port": 1.5}"#,
        "INVALID_PORT",
        "port: 1.5",
    ),
    (r#"{"prefix": "/a", "port": "abc"}"#, "INVALID_PORT", "abc"),
    (r#"{"prefix": "/a", "port": "0"}"#, "INVALID_PORT", "port"),
    (r#"{"prefix": "/a", "port": " 80"}"#, "INVALID_PORT", "port"),
    (r#"{"prefix": "/a", "port": "+80"}"#, "INVALID_PORT", "+80"),
    (r#"{"prefix": "/a", "port": "٣"}"#, "INVALID_PORT", "port"),
    (r#"{"prefix": "/a", "port": [80]}"#, "INVALID_PORT", "[80]"),
    (r#"{"prefix": "/a", "port": true}"#, "INVALID_PORT", "true"),
    (r#"{"prefix": 7, "port": 1}"#, "INVALID_PREFIX", "7"),
    (
        r#"{"prefix": ["/a"], "port": 1}"#,
        "INVALID_PREFIX",
        "prefix",
    ),
    (
        r#"{"prefix": "/a\u0000", "port": 1}"#,
        "INVALID_PREFIX",
        "control",
    ),
    (
        r#"{"prefix": "/a%00", "port": 1}"#,
        "INVALID_PREFIX",
        "control",
    ),
    (r#"{"prefix": "/a/..", "port": 1}"#, "INVALID_PREFIX", ".."),
    (
        r#"{"prefix": "/a/%2e%2E/b", "port": 1}"#,
        "INVALID_PREFIX",
        "..",
    ),
    (
        r#"{"prefix": "/./a", "port": 1}"#,
        "INVALID_PREFIX",
        "segment .",
    ),
    (r#"{"prefix": "/a%zz", "port": 1}"#, "INVALID_PREFIX", "%25"),
    (r#"{"prefix": "/a?b", "port": 1}"#, "INVALID_PREFIX", "%3F"),
    (r#"{"prefix": "/a#b", "port": 1}"#, "INVALID_PREFIX", "%23"),
    (
        r#"{"prefix": "/register", "port": 1}"#,
        "RESERVED_PREFIX",
        "/register",
    ),
    (
        r#"{"prefix": "Register/", "port": 1}"#,
        "RESERVED_PREFIX",
        "choose another",
    ),
    (
        r#"{"prefix": "/%72egister", "port": 1}"#,
        "RESERVED_PREFIX",
        "/register",
    ),
    (
        r#"{"prefix": "/register/below", "port": 1}"#,
        "RESERVED_PREFIX",
        "/register/below",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": "a:80"}"#,
        "INVALID_HOST",
        "a:80",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": "*.a"}"#,
        "INVALID_HOST",
        "*.a",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": "http://a"}"#,
        "INVALID_HOST",
        "http",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": ""}"#,
        "INVALID_HOST",
        "host",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": 5}"#,
        "INVALID_HOST",
        "5",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": "a.b"}"#,
        "INVALID_REQ_HOST_NAMES",
        "a.b",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": []}"#,
        "INVALID_REQ_HOST_NAMES",
        "leave",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": [1]}"#,
        "INVALID_REQ_HOST_NAMES",
        "[1]",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": [""]}"#,
        "INVALID_REQ_HOST_NAMES",
        "empty",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["*"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "*",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["a.*.b"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "*",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["a.b:80"]}"#,
        "INVALID_REQ_HOST_NAMES",
        ":80",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["a..b"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "label",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["::1"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "[::1]",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["é.b"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "punycode",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["localhost", "*"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "*",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostName": ["a.b"]}"#,
        "UNKNOWN_FIELD",
        "`reqHostNames`",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "Prefix": "/b"}"#,
        "UNKNOWN_FIELD",
        "`prefix`",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "pid": 7}"#,
        "UNKNOWN_FIELD",
        "`pid`",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_with_their_field_and_change_nothing() {
    let proxy = TestProxy::plain().await;
    let long = format!(r#"{{"prefix": "/{}", "port": 1}}"#, "a".repeat(10 * 1024));
    let cases = [(long.as_str(), "INVALID_PREFIX", "2048")];
    for (body, code, named) in WRONG.into_iter().chain(cases) {
        let response = proxy.register_json(body).await;
        assert_eq!(response.verdict(), (400, code.to_owned()), "{body}");
        let message = response.message();
        let lower = message.to_lowercase();
        assert!(lower.contains(&named.to_lowercase()), "{body}: {message}");
        assert!(message.len() < 400, "{body}: {message}");
    }
    for path in ["/a", "/", "/b", "/register/below"] {
        let status = get(proxy.address(), path).await.status;
        assert!(matches!(status, 501 | 404), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_elsewhere_are_not_allowed() {
    let proxy = TestProxy::plain().await;
    for host in [
        "10.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "[::]",
        "[fe80::1]",
        "::ffff:10.0.0.1",
    ] {
        let body = json!({"prefix": "/a", "port": 1, "host": host}).to_string();
        let response = proxy.register_json(&body).await;
        assert_eq!(
            response.verdict(),
            (403, "TARGET_NOT_ALLOWED".to_owned()),
            "{body}"
        );
        assert!(
            response.message().contains("targets.allow"),
            "{}",
            response.message()
        );
    }
    assert_eq!(get(proxy.address(), "/a").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_elsewhere_can_be_allowed() {
    let proxy = TestProxy::start("targets:\n  allow: [10.0.0.0/8]").await;
    for (host, status) in [
        ("10.1.2.3", 200),
        ("11.1.2.3", 403),
        ("::ffff:10.1.2.3", 200),
    ] {
        let body = json!({"prefix": "/a", "port": 1, "host": host}).to_string();
        assert_eq!(proxy.register_json(&body).await.status, status, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_resolve_is_refused() {
    let proxy = TestProxy::plain().await;
    let body = json!({"prefix": "/a", "port": 1, "host": "no-such-host.invalid"}).to_string();
    let response = proxy.register_json(body).await;
    assert_eq!(response.verdict(), (400, "TARGET_UNRESOLVED".to_owned()));
    assert!(
        response.message().contains("no-such-host.invalid"),
        "{}",
        response.message()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_is_no_target_of_its_own() {
    let proxy = TestProxy::plain().await;
    for host in ["localhost", "127.0.0.1", "127.0.0.9", "::ffff:127.0.0.1"] {
        let body = json!({"prefix": "/a", "port": proxy.port(), "host": host}).to_string();
        let response = proxy.register_json(&body).await;
        assert_eq!(
            response.verdict(),
            (400, "TARGET_IS_PROXY".to_owned()),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_again_replaces_the_target() {
    let (first, second) = (
        Origin::saying("first").await,
        Origin::saying("second").await,
    );
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    for prefix in ["/a", "a/", "/A", "/%61"] {
        proxy.register("/a", first.port()).await;
        assert_eq!(client.get("/a").await.text(), "first", "{prefix}");
        proxy.register(prefix, second.port()).await;
        assert_eq!(client.get("/a").await.text(), "second", "{prefix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_request_hosts_make_three_keys() {
    let (first, second) = (
        Origin::saying("first").await,
        Origin::saying("second").await,
    );
    let proxy = TestProxy::plain().await;
    let names = ["One.example", "*.two.example", "192.0.2.7"];
    let body = json!({"prefix": "/", "port": first.port(), "reqHostNames": names}).to_string();
    assert_eq!(proxy.register_json(body).await.status, 200);
    let body = json!({"prefix": "/", "port": second.port(), "reqHostNames": ["a.two.example", "192.0.2.7"]});
    assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    let cases = [
        ("one.example", "first"),
        ("ONE.EXAMPLE.:3000", "first"),
        ("b.two.example", "first"),
        ("c.b.two.example", "first"),
        ("a.two.example", "second"),
        ("192.0.2.7:80", "second"),
    ];
    for (host, expected) in cases {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(
            request(proxy.address(), text).await.text(),
            expected,
            "{host}"
        );
    }
    for host in ["two.example", "localhost", "192.0.2.8", ""] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(request(proxy.address(), text).await.status, 501, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_whichever_family_the_app_listens_on() {
    let origin = Origin::start_at("[::1]:0", |mut visit| async move {
        while visit.request().await.is_some() {
            visit.answer(200, "six").await;
        }
    })
    .await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "six");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registration_path_is_whole_segments_in_any_spelling() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let body = json!({"prefix": "/", "port": origin.port()}).to_string();
    let length = body.len();
    let spellings = [
        "/register",
        "/register/",
        "/REGISTER",
        "/Register/",
        "/%72egister",
        "/./register",
        "/a/../register",
        "/register?a=b",
        "http://localhost/register",
    ];
    for path in spellings {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let response = request(proxy.address(), text).await;
        assert!(
            response.text().contains("Registered."),
            "{path}: {}",
            response.text()
        );
    }
    for path in [
        "/registered-users",
        "/registe",
        "/a/register",
        "//register",
        "/register%2f",
    ] {
        assert_eq!(get(proxy.address(), path).await.text(), "app", "{path}");
    }
    let below = get(proxy.address(), "/register/below").await;
    assert_eq!(below.verdict(), (404, "NO_SUCH_PATH".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_off() {
    let origin = Origin::saying("app").await;
    let port = origin.port();
    let proxy = TestProxy::start(&format!(
        "registration:\n  enabled: false\nroutes:\n  - prefix: /register\n    port: {port}\n"
    ))
    .await;
    let response = proxy.register_json(r#"{"prefix": "/a", "port": 1}"#).await;
    assert_eq!(response.text(), "app");
    assert_eq!(get(proxy.address(), "/a").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_can_be_at_another_path() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("registration:\n  path: /_proxy/apps").await;
    let body = json!({"prefix": "/register", "port": origin.port()}).to_string();
    let text = |path: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    assert_eq!(
        request(proxy.address(), text("/register")).await.status,
        501
    );
    assert_eq!(request(proxy.address(), text("/_proxy")).await.status, 501);
    assert_eq!(
        request(proxy.address(), text("/_PROXY/apps/")).await.status,
        200
    );
    assert_eq!(get(proxy.address(), "/register").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_can_be_ignored() {
    let proxy = TestProxy::start("registration:\n  unknown_fields: ignore").await;
    let response = proxy
        .register_json(r#"{"prefix": "/a", "port": 1, "pid": 7}"#)
        .await;
    assert_eq!(response.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_registers_twice_and_then_is_a_client() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    for prefix in ["/a", "/b"] {
        let body = json!({"prefix": prefix, "port": origin.port()}).to_string();
        assert_eq!(client.exchange(registration(body)).await.status, 200);
    }
    let refused = client.exchange(registration("{}")).await;
    assert_eq!(refused.error(), "INCOMPLETE_REQUEST");
    assert_eq!(client.get("/a").await.text(), "app");
    assert_eq!(client.get("/b").await.text(), "app");
    assert_eq!(client.get("/c").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_made_in_the_contracts_order() {
    let proxy = TestProxy::plain().await;
    let relayed = "Via: 1.1 other\r\n";
    let get = |fields: &str, body: &str| posting(fields, body).replace("POST", "GET");
    let cases = [
        (get(relayed, ""), 403, "FORBIDDEN"),
        (get(relayed, "not json"), 403, "FORBIDDEN"),
        (posting(relayed, "not json"), 403, "FORBIDDEN"),
        (
            posting(relayed, r#"{"prefix": "/a", "port": 1}"#),
            403,
            "FORBIDDEN",
        ),
        (get("", "not json"), 405, "METHOD_NOT_ALLOWED"),
        (
            get("", r#"{"prefix": "/a", "port": 1}"#),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (posting("", "{"), 400, "BAD_REQUEST"),
        (
            posting("", r#"{"port": 0, "x": 1}"#),
            400,
            "INCOMPLETE_REQUEST",
        ),
        (
            posting("", r#"{"port": 0, "prefix": "/a", "x": 1}"#),
            400,
            "UNKNOWN_FIELD",
        ),
        (
            posting("", r#"{"port": 1, "prefix": "/a?", "host": "10.0.0.1"}"#),
            400,
            "INVALID_PREFIX",
        ),
    ];
    for (text, status, code) in cases {
        let response = request(proxy.address(), &text).await;
        assert_eq!(response.verdict(), (status, code.to_owned()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_html_for_a_browser() {
    let proxy = TestProxy::plain().await;
    let response = request(proxy.address(), posting("Accept: text/html\r\n", "<b>")).await;
    assert_eq!(response.status, 400);
    assert_eq!(
        response.field("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        response.text().contains("BAD_REQUEST"),
        "{}",
        response.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_registration_is_one_line_of_the_log() {
    let proxy = TestProxy::plain().await;
    proxy.register_json(r#"{"prefix": "/a"}"#).await;
    proxy.logged(&["INCOMPLETE_REQUEST"]).await;
    let lines = proxy
        .log()
        .lines()
        .filter(|line| line.contains("registration refused"))
        .count();
    assert_eq!(lines, 1);
    let mut client: Client = proxy.client().await;
    assert_eq!(client.get("/").await.status, 501);
}
