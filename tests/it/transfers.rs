//! Bodies that one side does not take, or sends too slowly, over each protocol of the other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::http2::{Http2, get as get2, request as request2};
use crate::support::{Origin, TestProxy, eventually, in_time};

/// An app that takes a request's head and nothing of its body, over HTTP/1.1.
async fn deaf() -> (u16, Origin) {
    let origin = Origin::start(|mut visit| async move {
        visit.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    (origin.port(), origin)
}

/// A client of HTTP/2 that does not read: the window of its stream stays shut once it is used up.
async fn deaf_h2c() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let app = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                let mut held = Vec::new();
                while let Some(Ok(asked)) = connection.accept().await {
                    held.push(asked);
                }
            });
        }
    });
    (port, app)
}

async fn register(proxy: &TestProxy, port: u16, protocol: &str) {
    let body = json!({"prefix": "/", "port": port, "protocol": protocol}).to_string();
    let response = proxy.register_json(body).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

/// What a client of HTTP/1.1 is told that uploads until nobody takes more.
async fn upload_of_http1(proxy: &TestProxy) -> (u16, String) {
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    let piece = vec![b'x'; 1 << 20];
    while let Ok(Ok(())) = timeout(Duration::from_millis(500), client.offer(&piece)).await {}
    client.response().await.verdict()
}

/// Over HTTP/2.
async fn upload_of_http2(proxy: &TestProxy) -> (u16, String) {
    let mut client = Http2::connect(proxy.address()).await;
    let mut upload = client.begin(request2(Method::PUT, "/"), true).await;
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    upload.body.send_data(piece, false).expect("a body");
    let answer = upload.answer().await;
    (answer.status, answer.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_an_app_does_not_take_is_a_504_that_names_timeouts_send() {
    let (http1, _origin) = deaf().await;
    let (h2c, _app) = deaf_h2c().await;
    let too_late = (504, "TIMEOUT".to_owned());
    for (port, protocol) in [(http1, "http1"), (h2c, "h2c")] {
        let proxy = TestProxy::start("http2: {cleartext: true}\ntimeouts: {send: 1s}").await;
        register(&proxy, port, protocol).await;
        assert_eq!(upload_of_http1(&proxy).await, too_late, "{protocol}");
        if protocol == "h2c" {
            // An app of HTTP/1.1 has room for this one in its kernel's buffers.
            assert_eq!(upload_of_http2(&proxy).await, too_late, "{protocol}");
        }
        let expected = if protocol == "h2c" { 2 } else { 1 };
        eventually("a line for each", async || {
            proxy.log().matches("timeouts.send").count() == expected
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_an_app_takes_late_is_no_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let _app = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let (mut request, mut respond) = connection.accept().await.expect("one").expect("whole");
        tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
        let mut count = 0;
        while let Some(piece) = request.body_mut().data().await {
            count += piece.expect("a piece").len();
            // Each piece is late, and none too late.
            tokio::time::sleep(Duration::from_millis(150)).await;
            let flow = request.body_mut().flow_control();
            flow.release_capacity(flow.used_capacity()).expect("room");
        }
        let response = http::Response::new(());
        let mut body = respond.send_response(response, false).expect("a head");
        body.send_data(count.to_string().into(), true)
            .expect("a body");
    });
    let proxy = TestProxy::start("timeouts: {send: 1s}").await;
    register(&proxy, port, "h2c").await;
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n")
        .await;
    for _ in 0..3 {
        client.send(vec![b'x'; 200_000]).await;
        // A client that pauses is no app that takes nothing.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let response = client.response().await;
    assert_eq!(
        (response.status, response.text()),
        (200, "600000".to_owned())
    );
}

/// How often a limit was met, as the proxy's status says.
async fn met(proxy: &TestProxy, key: &str) -> u64 {
    let status = proxy.api("GET", "/v1/status", None).await.json();
    let mut limits = status["limits"].as_array().expect("a list").iter();
    let found = limits.find(|limit| limit["key"] == key);
    found.expect("the limit")["refused"]
        .as_u64()
        .expect("a count")
}

/// Waits until a limit was met so often, which takes half a minute of waiting for the client.
async fn until_met(proxy: &TestProxy, (key, count): (&str, u64), mut turn: impl AsyncFnMut()) {
    let end = Instant::now() + Duration::from_mins(1);
    while met(proxy, key).await < count {
        assert!(Instant::now() < end, "{key}: {}", proxy.log());
        turn().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    proxy.logged(&[key]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_of_a_few_bytes_a_second_is_cut_and_said_to_be() {
    let (port, _origin) = deaf().await;
    let configuration = "http2: {cleartext: true}\nlimits: {upload_rate: 1000000000}";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", port).await;
    let mut client = proxy.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    let mut other = Http2::connect(proxy.address()).await;
    let mut upload = other.begin(request2(Method::PUT, "/"), true).await;
    until_met(&proxy, ("limits.upload_rate", 2), async || {
        // Whoever is cut first may find the connection closed.
        drop(client.offer("x").await);
        drop(upload.body.send_data("x".into(), false));
    })
    .await;
    let late = (408, "BODY_TIMEOUT".to_owned());
    assert_eq!(client.response().await.verdict(), late);
    let answer = upload.answer().await;
    assert_eq!((answer.status, answer.code()), late);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_few_bytes_a_second_is_cut_and_said_to_be() {
    let origin = Origin::start(|mut visit| async move {
        visit.request().await.expect("a request");
        visit
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            .await;
        let piece = vec![b'x'; 8192];
        while visit.offer(&piece).await.is_ok() {}
    })
    .await;
    let configuration = "http2: {cleartext: true}\nlimits: {download_rate: 1000000000}";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut other = Http2::connect(proxy.address()).await;
    let mut begun = other
        .begin(get2("/"), false)
        .await
        .begun()
        .await
        .expect("a head");
    // They read, so that no other limit holds, and slowly.
    until_met(&proxy, ("limits.download_rate", 2), async || {
        drop(timeout(Duration::from_millis(100), client.piece()).await);
        drop(timeout(Duration::from_millis(100), begun.piece()).await);
    })
    .await;
    in_time("the end of the stream", async {
        while let Some(Ok(_)) = begun.piece().await {}
    })
    .await;
}

/// An app that takes all of an upload and thinks for longer than `timeouts.send`, however the body's end comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_has_all_of_an_upload_may_take_its_time() {
    let origin = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            tokio::time::sleep(Duration::from_secs(2)).await;
            visit.answer(200, request.body.len().to_string()).await;
        }
    })
    .await;
    let h2c = thoughtful_h2c().await;
    let proxy = TestProxy::start("http2: {cleartext: true}\ntimeouts: {send: 500ms}").await;
    for (port, protocol) in [(origin.port(), "http1"), (h2c.0, "h2c")] {
        register(&proxy, port, protocol).await;
        for length in [10, 70_000, 300_000] {
            let head = "POST / HTTP/1.1\r\nHost: a\r\n";
            let body = "x".repeat(length);
            let expected = (200, length.to_string());
            for message in [
                format!("{head}Content-Length: {length}\r\n\r\n{body}"),
                format!(
                    "{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
                ),
            ] {
                let mut client = proxy.client().await;
                client.send(message).await;
                let response = client.response().await;
                let got = (response.status, response.text());
                assert_eq!(got, expected, "{protocol}, HTTP/1.1");
            }
            let mut client = Http2::connect(proxy.address()).await;
            let mut upload = client.begin(request2(Method::POST, "/"), true).await;
            upload.body.send_data(body.into(), true).expect("a body");
            let answer = upload.answer().await;
            assert_eq!(
                (answer.status, answer.text()),
                expected,
                "{protocol}, HTTP/2"
            );
        }
    }
}

/// An app of HTTP/2 that answers two seconds after the end of an upload, with its length.
async fn thoughtful_h2c() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let app = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                while let Some(Ok((mut request, mut respond))) = connection.accept().await {
                    tokio::spawn(async move {
                        let (mut count, body) = (0, request.body_mut());
                        while let Some(piece) = body.data().await {
                            let length = piece.expect("a piece").len();
                            count += length;
                            body.flow_control().release_capacity(length).expect("room");
                        }
                        tokio::time::sleep(Duration::from_secs(2)).await;
                        let response = http::Response::new(());
                        let mut body = respond.send_response(response, false).expect("a head");
                        body.send_data(count.to_string().into(), true)
                            .expect("a body");
                    });
                }
            });
        }
    });
    (port, app)
}

/// An upload whose first bytes come with its head, and of which an app takes nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_with_its_head_has_the_same_limit() {
    let (port, _app) = deaf_h2c().await;
    let proxy = TestProxy::start("timeouts: {send: 500ms, first_byte: off}").await;
    register(&proxy, port, "h2c").await;
    // One connection to the app, whose window the first upload uses up.
    for _ in 0..3 {
        let mut client = proxy.client().await;
        let body = "x".repeat(70_000);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}",
            body.len()
        );
        client.send(format!("{head}\r\n\r\n{body}")).await;
        let verdict = client.response().await.verdict();
        assert_eq!(verdict, (504, "TIMEOUT".to_owned()));
    }
}
