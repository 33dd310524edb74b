//! What clients and origins do at the edge of HTTP, and beyond it.

use bytes::Bytes;
use http::Response;
use tokio::net::TcpListener;

use crate::support::{Origin, TestProxy, Visitors, get, pattern, targets};

async fn before(origin: &Origin) -> TestProxy {
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    proxy
}

async fn by_hand() -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    (before(&origin).await, origin, visitors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_a_chunked_one_waits_for_its_turn() {
    let origin = Origin::echoing().await;
    let proxy = before(&origin).await;
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let next = "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnext";
    let mut client = proxy.client().await;
    client
        .send(format!(
            "{chunked}5\r\nhello\r\n0\r\n\r\n{chunked}0\r\n\r\n{next}{next}"
        ))
        .await;
    for expected in ["hello", "", "next", "next"] {
        assert_eq!(client.response().await.text(), expected);
    }
    assert_eq!(targets(&origin.requests()), ["/a", "/a", "/b", "/b"]);
    // And if it comes while the first is in progress.
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send(format!("{chunked}5\r\nhello\r\n0\r\n\r\n"))
        .await;
    let mut visit = visitors.next().await;
    assert_eq!(visit.request().await.expect("a request").body, b"hello");
    client.send(next).await;
    visit.answer(200, "first").await;
    assert_eq!(client.response().await.text(), "first");
    assert_eq!(visit.serve("second").await.body, b"next");
    assert_eq!(client.response().await.text(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_one_with_another_upgrade_waits_for_its_turn() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n\r\n\
             GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    let mut visit = visitors.next().await;
    assert_eq!(visit.serve("first").await.target(), "/a");
    assert_eq!(client.response().await.text(), "first");
    assert_eq!(visit.serve("second").await.target(), "/b");
    assert_eq!(client.response().await.text(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_chunked_upload_is_not_the_origins_silence() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts: {first_byte: 300ms, between_bytes: 300ms}").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    let head = "PUT /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("the head alone");
    // The client's silence is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    client.send("2\r\nab\r\n0\r\n\r\n").await;
    assert_eq!(visit.chunk().await.as_deref(), Some(&b"ab"[..]));
    assert_eq!(visit.chunk().await.as_deref(), Some(&b""[..]));
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    // From the end of the body on, it is.
    client.send(format!("{head}2\r\nab\r\n0\r\n\r\n")).await;
    visit.request().await.expect("a request");
    let response = client.response().await;
    assert_eq!(response.verdict(), (504, "TIMEOUT".to_owned()));
}

/// The wait for the first byte begins with the end of the body, and an interim answer is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_interim_answer_does_not_start_the_clock_of_the_answer() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts: {first_byte: 2s, between_bytes: 300ms}").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client
        .send("PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("the head alone");
    visit.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.head().await.expect("a word");
    // Longer than the pause that is allowed within an answer, on either side.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    client.send("body").await;
    assert_eq!(visit.bytes(4).await, b"body");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    // After early hints without a body, as well.
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.request().await.expect("a request");
    visit.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    // Within the answer the short limit counts.
    client.send("GET /c HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.request().await.expect("a request");
    visit.begin_chunks().await;
    visit.send_chunk("half").await;
    let response = client.response().await;
    assert_eq!(response.text(), "half");
    assert!(!response.is_whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_refuses_a_long_body_is_heard() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    let refusal = tokio::spawn(async move {
        let mut visit = visitors.next().await;
        visit.head().await.expect("a head");
        let answer = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
        visit.send(answer).await;
        visit.end().await;
        visit.rest().await;
    });
    let head = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n";
    let response = client
        .exchange([head.as_bytes(), &pattern(20_000_000)].concat())
        .await;
    assert_eq!((response.status, response.text().as_str()), (413, "no"));
    client.is_closed().await;
    refusal.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_where_none_may_be_does_not_become_the_next_answer() {
    let answers = [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for answer in answers {
        let (proxy, _origin, mut visitors) = by_hand().await;
        let mut client = proxy.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visit.send(answer).await;
        let response = client.response().await;
        assert!(
            answer.contains(&response.status.to_string()),
            "{response:?}"
        );
        assert!(response.body.is_empty());
        drop(visit);
        client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
        visitors.next().await.serve("next").await;
        assert_eq!(client.response().await.text(), "next", "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_one_framing() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\n\r\n";
    let origin = Origin::repeating(answer).await;
    let proxy = before(&origin).await;
    let response = get(proxy.address(), "/").await;
    // RFC 9112, 6.3: the coding counts, and the length does not go on.
    assert_eq!(response.status, 200);
    assert_eq!(response.field("content-length"), None);
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    assert_eq!(response.text(), "hello");
    let origin =
        Origin::repeating("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nhello")
            .await;
    let proxy = before(&origin).await;
    let response = get(proxy.address(), "/").await;
    assert_eq!(response.status, 500, "{response:?}");
}

/// RFC 9110, 6.4.1 and 9.3.2: the client has the whole response with its head.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_behind_the_response_to_a_head_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            tokio::spawn(async move {
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    let head = Response::builder().header("content-length", "2");
                    let head = head.body(()).expect("a head");
                    let body = respond.send_response(head, false);
                    drop(
                        body.expect("a head is sent")
                            .send_data(Bytes::from("ok"), true),
                    );
                }
            });
        }
    });
    let proxy = TestProxy::start("log: debug").await;
    let app = serde_json::json!({ "prefix": "/", "port": port, "protocol": "h2c" });
    assert_eq!(proxy.register_json(app.to_string()).await.status, 200);
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let response = client.read(true).await.expect("a response");
        assert_eq!(response.status, 200);
        assert_eq!(response.field("content-length"), Some("2"));
        let id = response.field("x-request-id").expect("an id").to_owned();
        let line = proxy.logged(&[&id, "after"]).await;
        assert!(line.contains("complete after"), "{line}");
    }
    assert!(!proxy.log().contains("broke off"), "{}", proxy.log());
}
