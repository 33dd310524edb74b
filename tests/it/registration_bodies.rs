//! How the body of a registration may come, and what becomes of one that does not.

use std::time::{Duration, Instant};

use crate::support::{Origin, TestProxy, get, problem, request};

const BODY: &str = r#"{"prefix": "/a", "port": 1234}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_at_most_64_kib() {
    let proxy = TestProxy::plain().await;
    for (padding, status) in [(65_536 - BODY.len(), 200), (65_537 - BODY.len(), 413)] {
        let body = format!("{BODY}{}", " ".repeat(padding));
        let response = proxy.register_json(&body).await;
        assert_eq!(response.status, status, "{} bytes", body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_is_refused_with_an_answer_that_arrives() {
    let proxy = TestProxy::plain().await;
    let body = " ".repeat(1 << 20);
    for _ in 0..5 {
        let response = proxy.register_json(&body).await;
        assert_eq!(response.verdict(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
        assert!(
            response.message().contains("65536"),
            "{}",
            response.message()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_the_body_can_be_set() {
    let proxy = TestProxy::start("registration:\n  body_limit: 1KiB").await;
    let response = proxy
        .register_json(format!("{BODY}{}", " ".repeat(1024)))
        .await;
    assert_eq!(response.verdict(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    assert_eq!(proxy.register_json(BODY).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_registers_nothing() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    // What has come is a whole registration; what was announced is not.
    let text = format!("POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{BODY}");
    client.send(text).await;
    client.end().await;
    if let Some(response) = client.read(false).await {
        assert_eq!(response.verdict(), (400, "BAD_REQUEST".to_owned()));
    }
    assert_eq!(get(proxy.address(), "/a").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_slow_is_given_up() {
    let proxy = TestProxy::start("registration:\n  body_timeout: 300ms").await;
    let mut client = proxy.client().await;
    let begin = Instant::now();
    let head = "POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
    client.send(format!("{head}{{")).await;
    let response = client.response().await;
    assert_eq!(response.verdict(), (408, "BODY_TIMEOUT".to_owned()));
    assert!(begin.elapsed() >= Duration::from_millis(300));
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_does_not_extend_the_deadline() {
    let proxy = TestProxy::start("registration:\n  body_timeout: 300ms").await;
    let mut client = proxy.client().await;
    client
        .send("POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        .await;
    let begin = Instant::now();
    while client.offer(" ").await.is_ok() && begin.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        client.response().await.verdict(),
        (408, "BODY_TIMEOUT".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_pieces_within_the_deadline_is_taken() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    let length = BODY.len();
    client
        .send(format!(
            "POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    for byte in BODY.as_bytes() {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_taken_and_the_connection_goes_on() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    let body = format!(r#"{{"prefix": "/a", "port": {}}}"#, origin.port());
    let (first, second) = body.split_at(7);
    client
        .send("POST /register HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send(format!("7;name=value\r\n{first}\r\n")).await;
    client
        .send(format!(
            "{:X}\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n",
            second.len()
        ))
        .await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.get("/a").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_has_the_same_limit() {
    let proxy = TestProxy::plain().await;
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let text = format!(
        "POST /register HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(8)
    );
    let response = request(proxy.address(), text).await;
    assert_eq!(response.verdict(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_word_gets_it() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    client.send(head).await;
    let interim = client.head().await.expect("an interim answer");
    assert!(interim.line.starts_with("HTTP/1.1 100"), "{interim:?}");
    client.send(BODY).await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(client.get("/").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_word_is_refused_without_one() {
    let proxy = TestProxy::plain().await;
    let cases = [("POST", "Via: 1.1 a\r\n", 403), ("PUT", "", 405)];
    for (method, fields, status) in cases {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "{method} /register HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{fields}\
                 Content-Length: 10\r\n\r\n"
            ))
            .await;
        let response = client.response().await;
        assert_eq!(
            (response.status, response.interim.len()),
            (status, 0),
            "{method}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_stands_once_in_a_body() {
    let proxy = TestProxy::plain().await;
    for fields in [
        r#""port": 1, "port": 2"#,
        r#""port": 1, "port": 1"#,
        r#""port": 1, "tls": "optional", "tls": "require""#,
        r#""port": 1, "https": {"profile": "a", "profile": "b"}"#,
        r#""port": 1, "timeouts": {"connect": "1s", "connect": "2s"}"#,
    ] {
        let response = proxy
            .register_json(format!(r#"{{"prefix": "/a", {fields}}}"#))
            .await;
        let refused = (400, "BAD_REQUEST".to_owned());
        assert_eq!(response.verdict(), refused, "{fields}");
        let message = response.message();
        assert!(message.contains("twice; keep one"), "{fields}: {message}");
        let body = format!("{{{fields}}}");
        let length = body.len();
        let put = format!(
            "PUT /v1/routes/*/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let response = request(proxy.control().await, put).await;
        let document = problem(&response, (400, "INVALID_BODY"));
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains("duplicate field"), "{fields}: {detail}");
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}
