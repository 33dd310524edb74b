//! WebSockets through the proxy, to an origin in Rust and to one in Node.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{
    App, Client, HANDSHAKE, Origin, SWITCH, Socket, TestProxy, Visitors, eventually, in_time,
    pattern, switched,
};

async fn before(port: u16) -> TestProxy {
    let proxy = TestProxy::plain().await;
    proxy.register("/", port).await;
    proxy
}

async fn by_hand() -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    (before(origin.port()).await, origin, visitors)
}

async fn node() -> Option<App> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/websocket-server.mjs"
    );
    App::start("node", &[script]).await
}

fn closing(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::from(code),
        reason: reason.to_owned().into(),
    }
}

/// Every kind of message, there and back.
async fn talk(proxy: &TestProxy) {
    let mut socket = Socket::open(proxy, "/chat").await;
    for text in [
        "",
        "hello",
        "Grüße, 世界",
        &"x".repeat(125),
        &"y".repeat(126),
    ] {
        socket.echo_text(text).await;
    }
    for length in [0, 1, 65_535, 65_536, 1 << 20] {
        socket.echo(Message::binary(pattern(length))).await;
    }
    socket.echo(Message::text("z".repeat(1 << 20))).await;
    socket.send(Message::Ping("are you there?".into())).await;
    let pong = socket.next().await;
    assert_eq!(pong, Some(Message::Pong("are you there?".into())));
    socket.echo_text("still here").await;
}

/// A close with code and reason, from the client and back.
async fn take_leave(proxy: &TestProxy) {
    for (code, reason) in [(1000, "bye"), (1001, ""), (4321, "Grüße")] {
        let mut socket = Socket::open(proxy, "/chat").await;
        socket
            .send(Message::Close(Some(closing(code, reason))))
            .await;
        let answer = socket.next().await;
        assert_eq!(answer, Some(Message::Close(Some(closing(code, reason)))));
        assert_eq!(socket.next().await, None);
    }
}

/// Sockets that all talk at the same time, each with its own words.
async fn talk_at_once(proxy: &TestProxy) {
    let mut talks = JoinSet::new();
    for n in 0..8 {
        let mut socket = Socket::open(proxy, "/chat").await;
        talks.spawn(async move {
            for m in 0..50 {
                // Ten on the way before the first is read.
                for k in 0..10 {
                    socket.send(Message::text(format!("{n}.{m}.{k}"))).await;
                }
                for k in 0..10 {
                    let back = socket.next().await;
                    assert_eq!(back, Some(Message::text(format!("{n}.{m}.{k}"))));
                }
            }
        });
    }
    while let Some(talk) = in_time("the talks", talks.join_next()).await {
        talk.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways() {
    let origin = Origin::websocket().await;
    let proxy = before(origin.port()).await;
    talk(&proxy).await;
    take_leave(&proxy).await;
    talk_at_once(&proxy).await;
    eventually("every connection is closed", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_to_node_and_back() {
    let Some(app) = node().await else { return };
    let proxy = before(app.port()).await;
    let base = proxy.open_files();
    talk(&proxy).await;
    take_leave(&proxy).await;
    talk_at_once(&proxy).await;
    let mut socket = Socket::open(&proxy, "/close/4000/enough").await;
    let close = socket.next().await;
    assert_eq!(close, Some(Message::Close(Some(closing(4000, "enough")))));
    drop(socket);
    proxy.is_back_at(base).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origins_close_and_ping_reach_the_client() {
    let origin = Origin::start(|mut visit| async move {
        let accepted = tokio_tungstenite::accept_async(&mut visit.stream).await;
        let mut socket = accepted.expect("a handshake");
        let ping = Message::Ping("there?".into());
        socket.send(ping).await.expect("a ping is sent");
        let answer = socket.next().await.expect("a pong").expect("a pong");
        assert_eq!(answer, Message::Pong("there?".into()));
        let close = closing(4001, "go away");
        socket.close(Some(close)).await.expect("a close is sent");
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let proxy = before(origin.port()).await;
    let mut socket = Socket::open(&proxy, "/").await;
    assert_eq!(socket.next().await, Some(Message::Ping("there?".into())));
    let close = socket.next().await;
    assert_eq!(close, Some(Message::Close(Some(closing(4001, "go away")))));
    assert_eq!(socket.next().await, None);
    eventually("both are closed", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handshakes_fields_are_passed_on_both_ways() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /chat?a=b HTTP/1.1\r\nHost: Chat.example:3000\r\n\
             Connection: keep-alive, Upgrade, X-Hop\r\nUpgrade: WebSocket\r\nX-Hop: 1\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: soap, wamp\r\nOrigin: http://a.example\r\nCookie: c=d\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        )
        .await;
    let mut visit = visitors.next().await;
    let head = visit.head().await.expect("a handshake");
    assert_eq!(head.line, "GET /chat?a=b HTTP/1.1");
    for (name, value) in [
        ("host", "Chat.example:3000"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "soap, wamp"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("origin", "http://a.example"),
        ("cookie", "c=d"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(head.field(name), Some(value), "{name}");
    }
    assert_eq!(head.field("x-hop"), None);
    // The origin's first words come with its answer.
    visit
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: wamp\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
             Set-Cookie: e=f\r\n\r\nfirst words",
        )
        .await;
    let answer = client.head().await.expect("an answer");
    assert_eq!(answer.line, "HTTP/1.1 101 Switching Protocols");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "wamp"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("set-cookie", "e=f"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    assert_eq!(answer.field("content-length"), None);
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(client.bytes(11).await, b"first words");
    client.send("\0\u{1}anything\r\n\r\n").await;
    assert_eq!(visit.bytes(14).await, b"\0\x01anything\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_just_closes_ends_the_clients_connection() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let (mut client, mut visit) = switched(proxy.client().await, &mut visitors).await;
    visit.send("last words").await;
    drop(visit);
    assert_eq!(client.rest().await, b"last words");
    eventually("both are closed", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_ends_the_origins_connection() {
    let origin = Origin::websocket().await;
    let proxy = before(origin.port()).await;
    let base = proxy.open_files();
    for resets in [false, true] {
        let mut socket = Socket::open(&proxy, "/").await;
        socket.echo_text("hello").await;
        let stream = socket.into_stream();
        if resets {
            stream.set_zero_linger().expect("SO_LINGER");
        }
        drop(stream);
        eventually("the origin's is closed", async || origin.open() == 0).await;
    }
    proxy.is_back_at(base).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_upgrades_are_not_passed_on() {
    let origin = Origin::saying("ok").await;
    let proxy = before(origin.port()).await;
    let upgrades = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
    ];
    let mut client = proxy.client().await;
    for fields in upgrades {
        let response = client
            .exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        let seen = origin.requests().pop().expect("a request");
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(seen.field(name), None, "{name} of {fields:?}");
        }
    }
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_switched_who_did_not_ask() {
    for fields in ["", "Connection: Upgrade\r\nUpgrade: h2c\r\n"] {
        let (proxy, origin, mut visitors) = by_hand().await;
        let mut client = proxy.client().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
            .await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visit.send(SWITCH).await;
        drop(visit.offer("HTTP/1.1 200 OK\r\n\r\nsmuggled").await);
        let response = client.response().await;
        assert_eq!(response.status, 500, "{response:?}");
        drop(visit);
        assert_eq!(origin.accepted(), 1);
    }
}

/// Bytes behind a handshake are the next protocol's if the origin agrees, and otherwise the next
/// request: never a request that the proxy has not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_smuggles_nothing() {
    let origin = Origin::saying("no").await;
    let proxy = before(origin.port()).await;
    let mut client = proxy.client().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{HANDSHAKE}{hidden}")).await;
    let mut answers = 0;
    while let Some(response) = client.read(false).await {
        assert!(
            response.status == 200 || response.status == 400,
            "{response:?}"
        );
        answers += 1;
        if answers == 2 {
            break;
        }
    }
    assert!(answers >= 1, "the handshake is answered");
    for seen in origin.requests() {
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"), "{seen:?}");
        assert!(seen.body.is_empty(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_the_client_which_may_go_on() {
    let answers = [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nno",
    ];
    for answer in answers {
        let origin = Origin::repeating(answer).await;
        let proxy = before(origin.port()).await;
        let mut client = proxy.client().await;
        for _ in 0..2 {
            let response = client.exchange(HANDSHAKE).await;
            assert!(answer.contains(&response.status.to_string()));
            assert_eq!(response.text(), "no");
            if response.field("connection") == Some("close") {
                client = proxy.client().await;
            }
        }
        assert_eq!(client.get("/").await.text(), "no");
        assert_eq!(origin.requests().len(), 3);
    }
}

/// Fifty handshakes at once, which all end with the same status (0: with nothing).
async fn refused_fifty_times(proxy: &TestProxy, path: &str, status: u16) {
    let mut attempts = JoinSet::new();
    for _ in 0..50 {
        let address = proxy.address();
        let bytes = HANDSHAKE.replace("/a ", &format!("{path} "));
        attempts.spawn(async move {
            let mut client = Client::connect(address).await;
            client.send(bytes).await;
            client.read(false).await.map_or(0, |answer| answer.status)
        });
    }
    while let Some(seen) = in_time("the answers", attempts.join_next()).await {
        assert_eq!(seen.expect("no panic"), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_handshake_leaves_no_socket_behind() {
    let forbidding = Origin::repeating("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").await;
    let missing = Origin::repeating("HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno").await;
    let plain = Origin::saying("a page").await;
    let silent = Origin::silent().await;
    let closing = Origin::sending(b"").await;
    let garbling = Origin::sending(b"what?\r\n\r\n").await;
    let closed = crate::support::ClosedPort::new();
    let proxy = TestProxy::start("timeouts: {first_byte: 500ms, upstream_idle: 300ms}").await;
    let kinds = [
        ("/403", forbidding.port(), 403),
        ("/404", missing.port(), 404),
        ("/200", plain.port(), 200),
        ("/silent", silent.port(), 504),
        ("/closing", closing.port(), 500),
        ("/garbling", garbling.port(), 500),
        ("/closed", closed.port(), 500),
    ];
    for (prefix, port, _) in kinds {
        proxy.register(prefix, port).await;
    }
    let base = proxy.open_files();
    for (prefix, _, status) in kinds {
        refused_fifty_times(&proxy, prefix, status).await;
        proxy.is_back_at(base).await;
    }
    let origins = [forbidding, missing, plain, silent, closing, garbling];
    eventually("the origins are free", async || {
        origins.iter().all(|origin| origin.open() == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_outlives_every_change_of_routes() {
    let origin = Origin::websocket().await;
    let other = Origin::saying("other").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/chat", origin.port()).await;
    let mut socket = Socket::open(&proxy, "/chat").await;
    socket.echo_text("before").await;
    let mut registrar = proxy.client().await;
    for n in 0..2000 {
        // Half of them new, half of them replacements.
        let prefix = if n % 2 == 0 { n } else { n % 10 };
        let body = format!("{{\"prefix\": \"/{prefix}\", \"port\": {}}}", other.port());
        let registered = registrar.exchange(crate::support::registration(body)).await;
        assert_eq!(registered.status, 200, "{}", registered.text());
        if n % 50 == 0 {
            socket.echo_text(&format!("after {n}")).await;
        }
    }
    proxy.register("/chat", other.port()).await;
    let response = crate::support::get(proxy.address(), "/chat").await;
    assert_eq!(response.text(), "other");
    socket.echo_text("the target is another one now").await;
    socket.echo(Message::binary(pattern(1 << 20))).await;
    assert_eq!(origin.accepted(), 1);
}

/// Limits that all pass soon, none of which is the WebSocket's.
const SHORT: &str = "timeouts:\n  head: 300ms\n  idle: 1s\n  client_body: 300ms\n  send: 300ms\n  \
    connect: 300ms\n  first_byte: 300ms\n  between_bytes: 300ms\n  upstream_idle: 300ms\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_websockets_own_limit_cuts_it() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts: {websocket_idle: 500ms}").await;
    proxy.register("/", origin.port()).await;
    let base = proxy.open_files();
    for talks_before in [false, true] {
        let (mut client, mut visit) = switched(proxy.client().await, &mut visitors).await;
        if talks_before {
            client.send("up").await;
            assert_eq!(visit.bytes(2).await, b"up");
            visit.send("down").await;
            assert_eq!(client.bytes(4).await, b"down");
        }
        let begin = std::time::Instant::now();
        client.is_closed().await;
        assert_eq!(visit.rest().await, b"");
        let after = begin.elapsed();
        assert!(after >= Duration::from_millis(400), "cut after {after:?}");
        assert!(after < Duration::from_secs(5), "cut only after {after:?}");
    }
    proxy.is_back_at(base).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_becomes_none_keeps_to_the_limits() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start(SHORT).await;
    proxy.register("/", origin.port()).await;
    // With a body that does not come.
    let mut client = proxy.client().await;
    let stalling = HANDSHAKE.replace("\r\n\r\n", "\r\nContent-Length: 10\r\n\r\nhalf");
    client.send(stalling).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a handshake");
    let response = client.response().await;
    assert_eq!(response.verdict(), (408, "BODY_TIMEOUT".to_owned()));
    // Refused, or not passed on, with an answer that stalls.
    for handshake in [HANDSHAKE.to_owned(), HANDSHAKE.replace("websocket", "h2c")] {
        let mut client = proxy.client().await;
        client.send(&handshake).await;
        let mut visit = visitors.next().await;
        visit.head().await.expect("a handshake");
        visit.begin_chunks().await;
        visit.send_chunk("half").await;
        let response = client.response().await;
        assert_eq!(response.text(), "half");
        assert!(!response.is_whole, "{handshake:?}");
    }
}
