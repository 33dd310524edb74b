//! Bodies that the API cannot use: not JSON, of another shape, too large, too slow.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Response, TestProxy, answer, problem};

/// Everything that takes a body.
const WRITES: [(&str, &str); 4] = [
    ("PUT", "/v1/routes"),
    ("PATCH", "/v1/routes"),
    ("PUT", "/v1/routes/*/a"),
    ("PUT", "/v1/routes/*/a/instances/b"),
];

async fn send(proxy: &TestProxy, write: (&str, &str), kind: Option<&str>, body: &[u8]) -> Response {
    let (method, target) = write;
    let kind = kind
        .map(|kind| format!("Content-Type: {kind}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = Client::connect(proxy.control().await).await;
    client.exchange([head.as_bytes(), body].concat()).await
}

async fn nothing_changed(proxy: &TestProxy) {
    let status = proxy.look("/v1/status").await;
    assert_eq!(
        (&status["generation"], &status["routes"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_refused() {
    let proxy = TestProxy::plain().await;
    let deep = |open: &str| open.repeat(100_000);
    let bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "{\"port\": 1",
        "port=1",
        "\u{feff}{}",
        "{} {}",
        "{},",
        "{\"port\": 1} x",
        "{'port': 1}",
        "{port: 1}",
        "{\"port\": 01}",
        "{\"a\": \"\u{1}\"}",
        "{\"a\": \"\\ud800\"}",
        "NaN",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        b"\xff\xfe{}".to_vec(),
        b"{\"port\": \"\xff\"}".to_vec(),
        vec![0; 1000],
    ])
    .collect();
    for write in WRITES {
        for body in &bodies {
            let response = send(&proxy, write, Some("application/json"), body).await;
            let code = response.json()["code"].as_str().unwrap().to_owned();
            let shown = String::from_utf8_lossy(body).into_owned();
            assert!(
                ["NOT_JSON", "INVALID_BODY"].contains(&&*code),
                "{shown:?}: {code}"
            );
            problem(&response, (400, &code));
        }
        for body in [
            deep("["),
            deep("{\"a\":"),
            deep("{\"routes\":["),
            deep("{\"changes\":["),
        ] {
            let response = send(&proxy, write, None, body.as_bytes()).await;
            let code = response.json()["code"].as_str().unwrap().to_owned();
            problem(&response, (400, &code));
        }
    }
    nothing_changed(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_shape_is_refused_at_its_place() {
    let proxy = TestProxy::plain().await;
    let mut cases = Vec::new();
    for write in WRITES {
        for (body, pointer) in [
            ("null", ""),
            ("1", ""),
            ("true", ""),
            ("\"x\"", ""),
            ("[]", ""),
            ("[null, null, 1, null, null]", ""),
            ("[[]]", ""),
            ("{\"x/y~z\": 1}", "/x~1y~0z"),
        ] {
            cases.push((write, body.to_owned(), pointer.to_owned()));
        }
    }
    for (body, pointer) in [
        (r#"{"port": 1, "prot": 1}"#, "/prot"),
        (r#"{"port": 1, "port": 2}"#, ""),
        (r#"{"port": 1, "host": "a", "host": "a"}"#, ""),
        (r#"{"port": 1, "op": "put"}"#, "/op"),
    ] {
        for write in [WRITES[2], WRITES[3]] {
            cases.push((write, body.to_owned(), pointer.to_owned()));
        }
    }
    cases.push((WRITES[2], r#"{"id": "a", "port": 1}"#.into(), "/id".into()));
    cases.push((WRITES[3], "{}".into(), "/port".into()));
    // An instance has no settings: what is wrong is not their value.
    let setting = r#"{"port": 1, "tls": "on"}"#;
    cases.push((WRITES[3], setting.into(), "/tls".into()));
    cases.push((
        WRITES[3],
        r#"{"instances": []}"#.into(),
        "/instances".into(),
    ));
    for (write, name) in [(WRITES[0], "routes"), (WRITES[1], "changes")] {
        for (body, pointer) in [
            ("{}".to_owned(), String::new()),
            (format!("{{\"{name}\": null}}"), format!("/{name}")),
            (format!("{{\"{name}\": {{}}}}"), format!("/{name}")),
            (format!("{{\"{name}\": [null]}}"), format!("/{name}/0")),
            (format!("{{\"{name}\": [[]]}}"), format!("/{name}/0")),
            (format!("{{\"{name}\": [{{}}]}}"), format!("/{name}/0")),
            (format!("{{\"{name}\": [], \"{name}\": []}}"), String::new()),
            (
                format!("{{\"{name}\": [], \"more\": 1}}"),
                "/more".to_owned(),
            ),
        ] {
            cases.push((write, body, pointer));
        }
    }
    for (write, body, pointer) in cases {
        let response = send(
            &proxy,
            write,
            Some("application/json; charset=utf-8"),
            body.as_bytes(),
        )
        .await;
        let document = problem(&response, (400, "INVALID_BODY"));
        let found = document["pointer"].as_str().unwrap_or_default();
        assert_eq!(found, pointer, "{write:?} {body}: {document}");
    }
    nothing_changed(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_is_json_or_not_said() {
    let proxy = TestProxy::plain().await;
    let body = br#"{"port": 1, "routes": [], "changes": []}"#;
    for write in WRITES {
        for kind in [
            "application/xml",
            "application/jsonx",
            "json",
            "",
            "application/problem+json",
            "text/json",
        ] {
            let response = send(&proxy, write, Some(kind), body).await;
            problem(&response, (415, "NOT_JSON"));
        }
        // What a web page's form can send.
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            problem(
                &send(&proxy, write, Some(kind), body).await,
                (403, "FORBIDDEN"),
            );
        }
    }
    // Every one of several counts, and a coding would have to be undone.
    for field in [
        ("Content-Type", "application/xml"),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "identity, br"),
    ] {
        let body = json!({"port": 1});
        let response = proxy.call("PUT", WRITES[2].1, &[field], Some(&body)).await;
        problem(&response, (415, "NOT_JSON"));
    }
    let body = br#"{"port": 1}"#;
    for kind in [
        None,
        Some("application/json"),
        Some("Application/JSON ; charset=utf-8"),
    ] {
        let response = send(&proxy, WRITES[2], kind, body).await;
        answer(&response, response.status);
        assert!(response.status < 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_largest_size() {
    let proxy = TestProxy::start("control:\n  listen: 127.0.0.1:0\n  body_limit: 10KiB").await;
    let padded = |length: usize| {
        let body = r#"{"port": 1}"#;
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    let fits = send(&proxy, WRITES[2], None, padded(10 * 1024).as_bytes()).await;
    answer(&fits, 201);
    for write in WRITES {
        for length in [10 * 1024 + 1, 20 * 1024, 8 << 20] {
            let response = send(&proxy, write, None, padded(length).as_bytes()).await;
            let document = problem(&response, (413, "PAYLOAD_TOO_LARGE"));
            assert!(
                document["detail"].as_str().unwrap().contains("10240"),
                "{document}"
            );
        }
    }
    // Also if nobody said how long it would be.
    let mut client = Client::connect(proxy.control().await).await;
    client
        .send(
            "PUT /v1/routes/*/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    for _ in 0..3 {
        client
            .send(format!("1000\r\n{}\r\n", " ".repeat(0x1000)))
            .await;
    }
    problem(&client.response().await, (413, "PAYLOAD_TOO_LARGE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_do_not_pile_up() {
    // The default is 64 MiB.
    let proxy = TestProxy::plain().await;
    let before = proxy.resident_kib();
    let mut body = br#"{"port": 1}"#.to_vec();
    body.resize((64 << 20) + 1, b' ');
    for _ in 0..4 {
        let response = send(&proxy, WRITES[2], None, &body).await;
        problem(&response, (413, "PAYLOAD_TOO_LARGE"));
    }
    body.pop();
    answer(&send(&proxy, WRITES[2], None, &body).await, 201);
    // The allocator keeps some of it; one body takes twice its size.
    let more = proxy.resident_kib() - before;
    assert!(more < 200 << 10, "{more} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_not_waited_for() {
    let proxy = TestProxy::start("control:\n  listen: 127.0.0.1:0\n  body_timeout: 300ms").await;
    for (method, target) in WRITES {
        let mut client = Client::connect(proxy.control().await).await;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
        );
        let begin = Instant::now();
        client.send(head).await;
        problem(&client.response().await, (408, "BODY_TIMEOUT"));
        assert!(
            begin.elapsed() >= Duration::from_millis(250),
            "{:?}",
            begin.elapsed()
        );
        client.is_closed().await;
    }
    // One that ends before its time is no change either.
    let mut client = Client::connect(proxy.control().await).await;
    client
        .send("PUT /v1/routes/*/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"port\": 1}")
        .await;
    client.end().await;
    if let Some(response) = client.read(false).await {
        problem(&response, (400, "BAD_REQUEST"));
    }
    nothing_changed(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_wait_for_a_word() {
    let proxy = TestProxy::plain().await;
    let mut client = Client::connect(proxy.control().await).await;
    let body = r#"{"port": 1}"#;
    let head = |target: &str, length: usize| {
        format!(
            "PUT {target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    client.send(head("/v1/routes/*/a", body.len())).await;
    let interim = client.until(b"\r\n\r\n").await.unwrap();
    assert!(
        interim.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&interim)
    );
    client.send(body).await;
    answer(&client.response().await, 201);
    // Who is refused in any case need not send it.
    let mut other = Client::connect(proxy.control().await).await;
    other.send(head("/v1/routes/*/a", 1 << 30)).await;
    let refused = other.response().await;
    problem(&refused, (413, "PAYLOAD_TOO_LARGE"));
    assert!(refused.interim.is_empty());
    client.send(head("/v1/routes/*/a?x=1", 1 << 30)).await;
    let refused = client.response().await;
    problem(&refused, (400, "INVALID_QUERY"));
    assert!(refused.interim.is_empty());
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_where_none_is_needed_is_left() {
    let proxy = TestProxy::plain().await;
    let mut client = Client::connect(proxy.control().await).await;
    for (method, status) in [("GET", 404), ("DELETE", 404)] {
        let request = format!(
            "{method} /v1/routes/*/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde"
        );
        let response = client.exchange(request).await;
        assert_eq!(response.status, status);
        problem(&response, (404, "NO_SUCH_ROUTE"));
        client = Client::connect(proxy.control().await).await;
    }
}
