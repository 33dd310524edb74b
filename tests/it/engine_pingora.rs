//! What holds for requests that Pingora carries (`engine: pingora`), as for those of the proxy's own exchange.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::http2::{Http2, get, request};
use crate::support::{Origin, TestProxy, Visitors, eventually};

const HTTP2: &str = "engine: pingora\nhttp2: {cleartext: true}\n";

async fn started(configuration: &str) -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start(&format!("{HTTP2}{configuration}")).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin, visitors)
}

/// What an app of HTTP/2 was asked.
type Asked = mpsc::UnboundedReceiver<http::request::Parts>;

/// A proxy before an app of HTTP/2 that answers every request without a length.
async fn before_http2() -> (TestProxy, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    drop(sender.send(request.into_parts().0));
                    let mut body = respond
                        .send_response(Response::new(()), false)
                        .expect("a head is sent");
                    body.send_data(Bytes::from("h2"), true).expect("a body");
                }
            });
        }
    });
    let proxy = TestProxy::start(HTTP2).await;
    let body = json!({ "prefix": "/", "port": port, "protocol": "h2c" });
    let registered = proxy.register_json(body.to_string()).await;
    assert_eq!(registered.status, 200, "{}", registered.text());
    (proxy, asked)
}

/// The response to a GET whose app sends these bytes, and the same over HTTP/2.
async fn passed(response: &'static str) -> (crate::support::Response, (u16, String, HeaderMap)) {
    let origin = Origin::sending(response.as_bytes()).await;
    let proxy = TestProxy::start(HTTP2).await;
    proxy.register("/", origin.port()).await;
    let one = proxy.client().await.get("/").await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let answer = pending.response.await.expect("a response");
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend_from_slice(&piece.expect("no reset"));
    }
    let text = String::from_utf8(text).expect("text");
    (one, (head.status.as_u16(), text, head.headers))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_waited_for_only_so_long_over_http2() {
    let (proxy, _origin, mut visitors) =
        started("timeouts: {client_body: 500ms, first_byte: 30s}").await;
    let mut client = Http2::connect(proxy.address()).await;
    let begin = Instant::now();
    let mut pending = client.begin(request(Method::POST, "/"), true).await;
    pending
        .body
        .send_data(Bytes::from("some"), false)
        .expect("sent");
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    let answer = pending.answer().await;
    assert_eq!(
        (answer.status, answer.code()),
        (408, "BODY_TIMEOUT".to_owned())
    );
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_silent_is_waited_for_only_so_long_over_http2() {
    let (proxy, _origin, mut visitors) = started("timeouts: {first_byte: 500ms}").await;
    let mut client = Http2::connect(proxy.address()).await;
    let begin = Instant::now();
    let pending = client.begin(get("/"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    let answer = pending.answer().await;
    assert_eq!((answer.status, answer.code()), (504, "TIMEOUT".to_owned()));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_over_is_told_over_http2() {
    let (proxy, origin, mut visitors) = started("").await;
    proxy.register("/a", origin.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/a"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    let target = "/v1/routes/*/a?drain=100ms";
    let removed = proxy.api("DELETE", target, None).await;
    assert!(removed.status < 300, "{}", removed.text());
    let answer = pending.answer().await;
    assert_eq!((answer.status, answer.code()), (500, "DRAINED".to_owned()));
    eventually("the app's connection is closed", async || {
        visit.head().await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_said_twice_is_one() {
    let (one, two) = passed("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok").await;
    assert_eq!(one.field("content-length"), Some("2"));
    assert_eq!(one.text(), "ok");
    assert_eq!((two.0, two.1.as_str()), (200, "ok"));
    assert_eq!(two.2["content-length"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_body_announces_none() {
    for response in [
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (one, two) = passed(response).await;
        assert_eq!(one.status, 204);
        assert_eq!(one.field("content-length"), None, "{response}");
        assert_eq!(one.field("transfer-encoding"), None, "{response}");
        assert_eq!(two.0, 204);
        assert!(!two.2.contains_key("content-length"), "{response}");
    }
    let (one, _) = passed("HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert_eq!((one.status, one.field("transfer-encoding")), (304, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn codings_that_nobody_knows_are_refused() {
    for coding in ["chunked, chunked", "gzip, chunked", "cow", "identity"] {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        let (one, two) = passed(String::leak(text)).await;
        assert_eq!(
            one.verdict(),
            (500, "INVALID_RESPONSE".to_owned()),
            "{coding}"
        );
        assert_eq!(two.0, 500, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_is_not_the_next_response() {
    let (proxy, origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    visit
        .send("HTTP/1.1 204 No\r\nContent-Length: 80\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 204);
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut next = visitors.next().await;
    drop(
        visit
            .offer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            .await,
    );
    assert_eq!(next.serve("good").await.target(), "/b");
    assert_eq!(client.response().await.text(), "good");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_own_id_in_a_response_stays() {
    let (one, two) =
        passed("HTTP/1.1 200 OK\r\nX-Request-Id: mine\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(one.field("x-request-id"), Some("mine"));
    assert_eq!(two.2["x-request-id"], "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_shadow_the_proxys_are_dropped() {
    let (proxy, _origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    let evil = [
        "X_Forwarded_For",
        "X_Real_IP",
        "X-Forwarded_Proto",
        "Content_Length",
        "Transfer_Encoding",
        "X-Real-IP",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Original-URL",
        "X-Rewrite-URL",
    ];
    let fields = evil.map(|name| [name, ": evil\r\n"].concat()).concat();
    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nMy_Field: x\r\n{fields}\r\n"
        ))
        .await;
    let asked = visitors.next().await.serve("ok").await;
    for name in evil {
        assert_eq!(asked.head.field(name), None, "{name}");
    }
    assert_eq!(asked.head.field("my_field"), Some("x"));
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_has_to_be_nominated() {
    let (proxy, _origin, mut visitors) = started("").await;
    for connection in ["close", "keep-alive"] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nUpgrade: websocket\r\n\r\n"
            ))
            .await;
        let mut visit = visitors.next().await;
        let head = visit.head().await.expect("a request");
        assert_eq!(head.field("upgrade"), None, "{connection}");
        visit
            .send("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        let answer = client.response().await;
        assert_eq!(answer.verdict(), (500, "INVALID_RESPONSE".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_whose_client_says_close_ends_its_connection() {
    let (proxy, origin, _visitors) = started("").await;
    let body = json!({ "prefix": "/a", "port": origin.port() }).to_string();
    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST /register HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\
             Connection: close, X-Request-Id\r\nX-Request-Id: mine\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let answer = client.response().await;
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("close"))
    );
    assert_ne!(answer.field("x-request-id"), Some("mine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http10_without_host_stays_one() {
    let (proxy, _origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let asked = visitors.next().await.serve("ok").await;
    assert_eq!(asked.head.line, "GET / HTTP/1.0");
    assert_eq!(asked.head.field("host"), None);
    assert_eq!(client.response().await.text(), "ok");
    let mut client = proxy.client().await;
    client.send("GET http://b.test:80/x HTTP/1.0\r\n\r\n").await;
    let asked = visitors.next().await.serve("ok").await;
    assert_eq!(asked.head.line, "GET /x HTTP/1.1");
    assert_eq!(asked.head.field("host"), Some("b.test:80"));
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_http2_hear_who_asked() {
    let (proxy, mut asked) = before_http2().await;
    let mut client = Http2::connect(proxy.address()).await;
    assert_eq!(client.get("/x").await.text(), "h2");
    let head = asked.recv().await.expect("a request");
    assert_eq!(head.headers["x-forwarded-host"], "localhost");
    let forwarded = head.headers["forwarded"].to_str().expect("text");
    assert!(forwarded.contains("host=\"localhost\""), "{forwarded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http10_get_no_chunks() {
    let (proxy, mut asked) = before_http2().await;
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "h2".to_owned()),
            "{request}"
        );
        assert_eq!(answer.field("transfer-encoding"), None);
        asked.recv().await.expect("a request");
    }
}
