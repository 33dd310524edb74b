//! What a client is told when its request cannot be proxied, or breaks off.

use std::time::{Duration, Instant};

use http::Method;

use crate::support::http2::{self, Http2};
use crate::support::{ClosedPort, DeafPort, Origin, Response, TestProxy, Visitors, get, request};

/// Checks what every answer of the proxy's own has in common.
fn check_own(response: &Response, status: u16, code: &str) {
    assert_eq!(
        response.verdict(),
        (status, code.to_owned()),
        "{response:?}"
    );
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
    assert!(response.field("x-request-id").is_some(), "{response:?}");
    assert!(response.message().ends_with('.'), "{}", response.message());
}

/// Checks that an answer tells nothing about the inside.
fn check_discreet(response: &Response, port: u16) {
    let port = port.to_string();
    let all = format!("{:?} {}", response.head, response.text());
    for secret in [
        "127.0.0.1",
        "localhost",
        "::1",
        port.as_str(),
        "ingora",
        "os error",
    ] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

/// The answer that a client gets from an origin that sends `bytes` and closes.
async fn answer_to(bytes: &'static [u8]) -> (Option<Response>, TestProxy, Origin) {
    let origin = Origin::sending(bytes).await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    (client.read(false).await, proxy, origin)
}

/// A proxy and, behind every path, an origin whose part the test plays.
async fn by_hand(configuration: &str) -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin, visitors)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_501_and_the_connection_goes_on() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/app", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        let response = client.get("/none").await;
        check_own(&response, 501, "NOT_FOUND");
        check_discreet(&response, origin.port());
        assert_eq!(client.get("/app").await.text(), "app");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_html_and_a_program_json() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    proxy.register("/closed", closed.port()).await;
    let cases = [
        ("text/html,application/xhtml+xml,*/*;q=0.8", true),
        ("application/json", false),
        ("*/*", false),
        ("text/html;q=0.1, application/json", false),
        ("", false),
    ];
    for (path, status) in [("/none", 501), ("/closed", 500)] {
        for (accept, is_html) in cases {
            let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
            let response = request(proxy.address(), text).await;
            assert_eq!(response.status, status);
            check_discreet(&response, closed.port());
            if is_html {
                let content_type = response.field("content-type");
                assert_eq!(content_type, Some("text/html; charset=utf-8"), "{accept}");
                assert!(
                    response.text().contains(&format!("<h1>{status} ")),
                    "{}",
                    response.text()
                );
            } else {
                assert!(!response.error().is_empty(), "{accept}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_is_500() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    proxy.register("/", closed.port()).await;
    for method in ["GET", "POST", "DELETE"] {
        let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let response = request(proxy.address(), text).await;
        check_own(&response, 500, "UNREACHABLE");
        check_discreet(&response, closed.port());
    }
    let log = proxy.log();
    assert!(
        log.contains(&closed.port().to_string()),
        "the log names the target: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_comes_back_is_reached_again() {
    let mut origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    for _ in 0..3 {
        assert_eq!(get(proxy.address(), "/").await.text(), "app");
        origin.stop().await;
        assert_eq!(get(proxy.address(), "/").await.status, 500);
        origin.restart().await;
    }
    assert_eq!(get(proxy.address(), "/").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_closes_without_an_answer_is_500() {
    let (response, _proxy, origin) = answer_to(b"").await;
    let response = response.expect("an answer");
    check_own(&response, 500, "UPSTREAM_CLOSED");
    check_discreet(&response, origin.port());
    assert_eq!(
        origin.requests().len(),
        1,
        "a new connection is not tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_500() {
    for bytes in [&b"HTTP/1.1 200 OK\r\nContent-Le"[..], b"HTTP/1.1 2", b"HTT"] {
        let (response, _proxy, origin) = answer_to(bytes).await;
        let response = response.expect("an answer");
        check_own(&response, 500, "UPSTREAM_CLOSED");
        check_discreet(&response, origin.port());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_http_is_500() {
    let cases: [&[u8]; 6] = [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"220 mail.example.com ESMTP\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad field\r\n\r\n",
        b"<html>\r\n\r\n",
    ];
    for bytes in cases {
        let (response, _proxy, origin) = answer_to(bytes).await;
        let response = response.expect("an answer");
        check_own(&response, 500, "INVALID_RESPONSE");
        check_discreet(&response, origin.port());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_cut_and_not_completed() {
    let cases: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ];
    for bytes in cases {
        let (response, _proxy, _origin) = answer_to(bytes).await;
        let response = response.expect("an answer");
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(response.status, 200, "{shown}");
        assert!(!response.is_whole, "{shown}: {response:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let (response, _proxy, _origin) = answer_to(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
    let response = response.expect("an answer");
    assert_eq!(
        (response.text().as_str(), response.is_whole),
        ("all of it", true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_byte_is_504_whichever_limit_is_longer() {
    for limits in [
        "first_byte: 300ms\n  between_bytes: 10s",
        "first_byte: 700ms\n  between_bytes: 300ms",
    ] {
        let origin = Origin::silent().await;
        let proxy = TestProxy::start(&format!("timeouts:\n  {limits}")).await;
        proxy.register("/", origin.port()).await;
        let least = if limits.starts_with("first_byte: 700") {
            650
        } else {
            250
        };
        let begin = Instant::now();
        let response = get(proxy.address(), "/").await;
        check_own(&response, 504, "TIMEOUT");
        check_discreet(&response, origin.port());
        assert!(
            begin.elapsed() > Duration::from_millis(least),
            "{limits}: {:?}",
            begin.elapsed()
        );
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{limits}: {:?}",
            begin.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_byte_is_504_after_an_upload_as_well() {
    after_uploads_of(40_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_byte_is_504_after_a_large_upload_as_well() {
    after_uploads_of(100_000).await;
}

/// The first byte is waited for as long as it should be, after a body of this size.
async fn after_uploads_of(size: usize) {
    let body = "x".repeat(size);
    let uploads = [
        format!("Content-Length: {size}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"),
    ];
    for limits in [
        "first_byte: 300ms\n  between_bytes: 10s",
        "first_byte: 700ms\n  between_bytes: 300ms",
    ] {
        let origin = Origin::silent().await;
        let proxy = TestProxy::start(&format!("timeouts:\n  {limits}")).await;
        proxy.register("/", origin.port()).await;
        for upload in &uploads {
            let begin = Instant::now();
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{upload}");
            check_own(&request(proxy.address(), text).await, 504, "TIMEOUT");
            let after = begin.elapsed();
            assert!(
                after < Duration::from_secs(5),
                "{limits}: {} {after:?}",
                &upload[..20]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_count_as_waiting() {
    let (proxy, _origin, mut visitors) = by_hand("timeouts:\n  first_byte: 400ms").await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    // Together longer than the limit, which runs from the end of the request.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        client.send("x").await;
    }
    visit.serve("done").await;
    assert_eq!(client.response().await.text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_within_the_answer_cuts_it() {
    for limits in [
        "first_byte: 10s\n  between_bytes: 300ms",
        "first_byte: 200ms\n  between_bytes: 500ms",
    ] {
        let (proxy, _origin, mut visitors) = by_hand(&format!("timeouts:\n  {limits}")).await;
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await;
        visit.begin_chunks().await;
        visit.send_chunk("one").await;
        let head = client.response_head().await.expect("an answer").head;
        assert_eq!(client.chunk().await.expect("a chunk"), b"one", "{limits}");
        let begin = Instant::now();
        let (_, is_whole) = client.framed(&head).await;
        assert!(!is_whole, "{limits}");
        assert!(
            begin.elapsed() > Duration::from_millis(250),
            "{limits}: {:?}",
            begin.elapsed()
        );
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{limits}: {:?}",
            begin.elapsed()
        );
        assert!(visit.rest().await.is_empty(), "the origin is told, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_but_steady_answer_goes_through() {
    let (proxy, _origin, mut visitors) =
        by_hand("timeouts:\n  first_byte: 400ms\n  between_bytes: 400ms").await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    visit.begin_chunks().await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        visit.send_chunk("piece").await;
    }
    visit.send_chunk("").await;
    let response = client.response().await;
    assert_eq!((response.body.len(), response.is_whole), (50, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_accept_is_500_after_the_connect_timeout() {
    let deaf = DeafPort::new().await;
    let proxy = TestProxy::start("timeouts:\n  connect: 300ms").await;
    let body = serde_json::json!({"prefix": "/", "port": deaf.port(), "host": "127.0.0.1"});
    assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    let begin = Instant::now();
    let response = get(proxy.address(), "/").await;
    check_own(&response, 500, "UNREACHABLE");
    check_discreet(&response, deaf.port());
    assert!(
        begin.elapsed() > Duration::from_millis(250),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statuses_can_be_set() {
    let (closed, silent) = (ClosedPort::new(), Origin::silent().await);
    let proxy = TestProxy::start(
        "errors:\n  no_route: 404\n  unreachable: 502\n  timeout: 503\ntimeouts:\n  first_byte: 200ms",
    )
    .await;
    proxy.register("/closed", closed.port()).await;
    proxy.register("/silent", silent.port()).await;
    let cases = [
        ("/", 404, "NOT_FOUND"),
        ("/closed", 502, "UNREACHABLE"),
        ("/silent", 503, "TIMEOUT"),
    ];
    for (path, status, code) in cases {
        check_own(&get(proxy.address(), path).await, status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_answer_names_the_request() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    proxy.register("/closed", closed.port()).await;
    for path in ["/none", "/closed", "/a/../.."] {
        let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc-123\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(response.field("x-request-id"), Some("abc-123"), "{path}");
        let first = get(proxy.address(), path).await;
        let second = get(proxy.address(), path).await;
        assert_ne!(
            first.field("x-request-id"),
            second.field("x-request-id"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_same_id_on_both_sides() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let response = get(proxy.address(), "/").await;
    let id = response.field("x-request-id").expect("an id").to_owned();
    assert_eq!(
        origin.requests()[0].field("x-request-id"),
        Some(id.as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_without_a_body() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    proxy.register("/closed", closed.port()).await;
    let mut client = proxy.client().await;
    let response = client
        .exchange("HEAD /none HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(response.status, 501);
    assert_eq!(client.get("/none").await.status, 501);
    let response = client
        .exchange("HEAD /closed HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(response.status, 500);
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_to_nobody_gets_its_answer() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    proxy.register("/closed", closed.port()).await;
    let body = "x".repeat(2 << 20);
    for (path, status, code) in [("/none", 501, "NOT_FOUND"), ("/closed", 500, "UNREACHABLE")] {
        for _ in 0..3 {
            let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n");
            let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            check_own(&request(proxy.address(), text).await, status, code);
            let text = format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
            check_own(&request(proxy.address(), text).await, status, code);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_to_an_upload_arrives() {
    // The origin answers on the head alone and reads no further.
    let origin = Origin::start(|mut visit| async move {
        visit.head().await;
        visit.answer(413, "too much").await;
        visit.end().await;
        visit.rest().await;
    })
    .await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let body = "x".repeat(2 << 20);
    for _ in 0..5 {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let response = request(proxy.address(), head + &body).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (413, "too much")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_a_word_hears_the_failure() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        .await;
    let response = client.response().await;
    check_own(&response, 501, "NOT_FOUND");
    assert!(response.interim.is_empty(), "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_idle_is_not_the_clients_problem() {
    // It answers one request on each connection, and closes when the next arrives.
    let origin = Origin::start(|mut visit| async move {
        visit.request().await;
        visit.answer(200, "app").await;
        visit.head().await;
    })
    .await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "app");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_not_sent_twice() {
    let (proxy, origin, mut visitors) = by_hand("").await;
    let mut client = proxy.client().await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send(post).await;
    let mut visit = visitors.next().await;
    visit.serve("once").await;
    assert_eq!(client.response().await.text(), "once");
    client.send(post).await;
    visit.request().await;
    drop(visit);
    check_own(&client.response().await, 500, "UPSTREAM_CLOSED");
    assert!(visitors.try_next().is_none());
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_the_request_at_the_origin() {
    let (proxy, origin, mut visitors) = by_hand("").await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    assert_eq!(origin.open(), 1);
    drop(client);
    assert!(visit.rest().await.is_empty());
}

/// RFC 9110, 9.3.2: a reply like that to a GET, without its body.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_fails_over_http2_has_its_reply() {
    let origin = Origin::start(|mut visit| async move {
        let request = visit.request().await.expect("a request");
        match request.target() {
            "/app/bad" => visit.send("junk\r\n\r\n").await,
            "/app/slow" => drop(visit.request().await),
            _ => {}
        }
    })
    .await;
    let dead = ClosedPort::new();
    let more = "http2: {cleartext: true}\ntimeouts: {first_byte: 500ms}";
    let proxy = TestProxy::start(more).await;
    proxy.register("/app", origin.port()).await;
    proxy.register("/dead", dead.port()).await;
    let h2c = serde_json::json!({ "prefix": "/dead2", "port": dead.port(), "protocol": "h2c" });
    assert_eq!(proxy.register_json(h2c.to_string()).await.status, 200);
    let mut client = Http2::connect(proxy.address()).await;
    for (path, status) in [
        ("/none", 501),
        ("/dead", 500),
        ("/dead2", 500),
        ("/app/closed", 500),
        ("/app/bad", 500),
        ("/app/slow", 504),
    ] {
        let pending = client
            .begin(http2::request(Method::HEAD, path), false)
            .await;
        let answer = pending.answer().await;
        assert_eq!(answer.broken.map(|error| error.to_string()), None, "{path}");
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
    }
}
