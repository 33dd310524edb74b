//! Ending what is in flight on one instance of an app, and nothing else.

use std::time::{Duration, Instant};

use dynamic_reverse_proxy::server::Options;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{
    Client, DeafPort, Embedded, HANDSHAKE, Origin, OriginConnection, Socket, TestProxy, Visitors,
    eventually, in_time, switched,
};

/// A Close frame with the status 1001, from a server.
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xE9];
/// One from a client, under the mask zero.
const MASKED_CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// A frame that fits into no buffer on the way.
const LENGTH: usize = 3 << 20;

/// Above the second that a lingering close may take, far below every other limit.
const SOON: Duration = Duration::from_secs(5);

fn going_away() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Away,
        reason: "".into(),
    }))
}

/// A proxy before an origin that the test plays.
async fn by_hand() -> (Embedded, Origin, Visitors, u64) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = Embedded::start(Options::default());
    let serial = proxy.register("/", origin.port()).await;
    (proxy, origin, visitors, serial)
}

/// A request on its way, up to the origin's half of it.
async fn in_flight(
    proxy: &Embedded,
    visitors: &mut Visitors,
    request: &str,
) -> (Client, OriginConnection) {
    let mut client = proxy.client().await;
    client.send(request).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    (client, visit)
}

/// A WebSocket as bytes on both ends, through which a Ping has gone.
async fn raw_websocket(proxy: &Embedded, visitors: &mut Visitors) -> (Client, OriginConnection) {
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    let (mut client, mut visit) = switched(proxy.client().await, visitors).await;
    client.send(PING).await;
    assert_eq!(visit.bytes(6).await, PING);
    (client, visit)
}

/// Sends the request with a client that knows the protocol.
async fn websocket(proxy: &Embedded, path: &str) -> Socket {
    let opened = Socket::open_at(proxy.address(), path).await;
    let mut socket = opened.expect("a WebSocket");
    socket.send(Message::Ping("".into())).await;
    socket.next().await.expect("a pong");
    socket
}

/// Reads a masked Close frame with the status 1001.
async fn masked_close(visit: &mut OriginConnection) {
    let frame = visit.bytes(8).await;
    assert_eq!(frame[..2], MASKED_CLOSE[..2], "{frame:?}");
    let status = [frame[6] ^ frame[2], frame[7] ^ frame[3]];
    assert_eq!(status, [0x03, 0xE9], "{frame:?}");
}

/// Waits until the proxy has no connection.
async fn nothing_is_open(proxy: &Embedded) {
    eventually("every connection ends", async || {
        proxy.proxy.connections().open() == 0
    })
    .await;
}

/// Waits until nothing is left of a connection on either side.
async fn both_end(client: &mut Client, visit: &mut OriginConnection) {
    assert!(client.rest().await.is_empty());
    assert!(visit.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_websocket_sees_1001_on_both_sides() {
    let (said, mut heard) = mpsc::unbounded_channel();
    let origin = Origin::start(move |mut visit| {
        let said = said.clone();
        async move {
            let accepted = tokio_tungstenite::accept_async(&mut visit.stream).await;
            let mut socket = accepted.expect("a handshake");
            while let Some(Ok(message)) = socket.next().await {
                said.send(message).expect("a test");
            }
        }
    })
    .await;
    let proxy = Embedded::start(Options::default());
    let serial = proxy.register("/", origin.port()).await;
    let mut socket = websocket(&proxy, "/").await;
    socket.send(Message::text("hello")).await;
    let hello = in_time("a message", async {
        while let Some(message) = heard.recv().await {
            if message.is_text() {
                return message;
            }
        }
        panic!("the origin has gone");
    })
    .await;
    assert_eq!(hello, Message::text("hello"));
    let begin = Instant::now();
    proxy.cut(serial, 1);
    assert_eq!(socket.next().await, Some(going_away()));
    assert_eq!(socket.next().await, None);
    assert_eq!(in_time("a close", heard.recv()).await, Some(going_away()));
    eventually("both are closed", async || {
        origin.open() == 0 && proxy.proxy.connections().open() == 0
    })
    .await;
    // Both sides have answered, so nothing is waited for.
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_is_waited_for_only_briefly() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    let begin = Instant::now();
    proxy.cut(serial, 1);
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    masked_close(&mut visit).await;
    // Nothing of the origin's goes to the client any more.
    visit.send([0x81, 1, b'x']).await;
    both_end(&mut client, &mut visit).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(900) && took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_in_flight_comes_whole_before_the_close() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    let mut frame = vec![0x82, 127];
    frame.extend((LENGTH as u64).to_be_bytes());
    frame.resize(10 + LENGTH, b'x');
    let (first, second) = frame.split_at(100_000);
    visit.send(first).await;
    assert_eq!(client.bytes(10).await, first[..10]);
    proxy.cut(serial, 1);
    masked_close(&mut visit).await;
    let sent = async {
        visit.send(second).await;
        visit.send([0x81, 1, b'y']).await;
    };
    let (payload, ()) = tokio::join!(client.bytes(LENGTH), sent);
    assert!(payload.len() == LENGTH && payload.iter().all(|byte| *byte == b'x'));
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    client.send(MASKED_CLOSE).await;
    visit.send(GOING_AWAY).await;
    both_end(&mut client, &mut visit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_frame_in_flight_reaches_the_origin_whole() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    client.send([0x82, 0x84, 0, 0, 0, 0, 1]).await;
    assert_eq!(visit.bytes(7).await.len(), 7);
    proxy.cut(serial, 1);
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    client.send([2, 3, 4, 0x81, 0x81, 0, 0, 0, 0, b'x']).await;
    assert_eq!(visit.bytes(3).await, [2, 3, 4]);
    masked_close(&mut visit).await;
    client.send(MASKED_CLOSE).await;
    visit.send(GOING_AWAY).await;
    both_end(&mut client, &mut visit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_may_stand_between_the_fragments_of_a_message() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    // The first fragment, and half of the second's head.
    visit.send([0x01, 2, b'a', b'b', 0x00]).await;
    assert_eq!(client.bytes(5).await.len(), 5);
    proxy.cut(serial, 1);
    masked_close(&mut visit).await;
    visit.send([2, b'c', b'd', 0x80, 1, b'e']).await;
    assert_eq!(client.bytes(3).await, [2, b'c', b'd']);
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    client.send(MASKED_CLOSE).await;
    visit.send(GOING_AWAY).await;
    both_end(&mut client, &mut visit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_is_waited_for_only_briefly() {
    for bytes in [&[0x82_u8, 4, 1][..], &[0x82][..]] {
        let (proxy, _origin, mut visitors, serial) = by_hand().await;
        let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
        visit.send(bytes).await;
        assert_eq!(client.bytes(bytes.len()).await, bytes);
        let begin = Instant::now();
        proxy.cut(serial, 1);
        masked_close(&mut visit).await;
        both_end(&mut client, &mut visit).await;
        let took = begin.elapsed();
        assert!(took > Duration::from_millis(900) && took < SOON, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_websocket_after_all_is_cut_at_once() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    visit.send("hello").await;
    assert_eq!(client.bytes(5).await, b"hello");
    let begin = Instant::now();
    proxy.cut(serial, 1);
    both_end(&mut client, &mut visit).await;
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_of_the_origins_own_needs_no_other() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let (mut client, mut visit) = raw_websocket(&proxy, &mut visitors).await;
    let own = [0x88, 0x02, 0x03, 0xE8];
    visit.send(own).await;
    assert_eq!(client.bytes(4).await, own);
    proxy.cut(serial, 1);
    masked_close(&mut visit).await;
    client.send(MASKED_CLOSE).await;
    both_end(&mut client, &mut visit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_begun_ends_visibly_unfinished() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    for begin in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    ] {
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (mut client, mut visit) = in_flight(&proxy, &mut visitors, request).await;
        visit.send(begin).await;
        let head = client.response_head().await.expect("an answer").head;
        let start = Instant::now();
        proxy.cut(serial, 1);
        let (body, is_whole) = client.framed(&head).await;
        assert!(
            b"hello".starts_with(&body) && !is_whole,
            "{begin}: {body:?}"
        );
        both_end(&mut client, &mut visit).await;
        nothing_is_open(&proxy).await;
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_is_told_why() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
        HANDSHAKE,
    ] {
        let (mut client, mut visit) = in_flight(&proxy, &mut visitors, request).await;
        proxy.cut(serial, 1);
        let response = client.response().await;
        assert_eq!(response.verdict(), (500, "DRAINED".to_owned()), "{request}");
        assert_eq!(response.field("connection"), Some("close"));
        drop(visit.rest().await);
        client.rest().await;
        nothing_is_open(&proxy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_origin_does_not_take_is_cut() {
    let (proxy, _origin, mut visitors, serial) = by_hand().await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    let (mut client, visit) = in_flight(&proxy, &mut visitors, request).await;
    // Until every buffer on the way is full.
    let piece = vec![0; 1 << 20];
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_millis(500), client.offer(&piece)).await
    {
        sent.expect("an open connection");
    }
    let begin = Instant::now();
    proxy.cut(serial, 1);
    client.rest().await;
    nothing_is_open(&proxy).await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drop(visit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_connection_is_cut() {
    let deaf = DeafPort::new().await;
    let mut options = Options::default();
    options.gateway.timeouts.connect = Duration::from_secs(20);
    let proxy = Embedded::start(options);
    let serial = proxy.register("/", deaf.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let connections = proxy.proxy.connections();
    eventually("the request is cut", async || connections.cut(serial) == 1).await;
    let begin = Instant::now();
    assert_eq!(client.response().await.error(), "DRAINED");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_touched() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let echo = Origin::websocket().await;
    let proxy = Embedded::start(Options::default());
    let serial = proxy.register("/gone", origin.port()).await;
    let other = proxy.register("/other", origin.port()).await;
    proxy.register("/ws", echo.port()).await;
    let mut socket = websocket(&proxy, "/ws").await;
    socket.echo_text("before").await;
    // A connection whose first request to the instance is over, since the next is on its way.
    let request = "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, mut visit) = in_flight(&proxy, &mut visitors, request).await;
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
    // It goes to the same app, over the same connection.
    client.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = visit.head().await.expect("a request");
    assert_eq!(head.line, "GET /other HTTP/1.1");
    proxy.cut(serial, 0);
    socket.echo_text("after").await;
    visit.answer(200, "other").await;
    assert_eq!(client.response().await.text(), "other");
    assert_eq!(client.get("/nowhere").await.status, 501);
    // Between two requests nothing can be cut.
    assert_eq!(proxy.proxy.connections().cut(other), 0);
    assert_eq!(client.get("/nowhere").await.status, 501);
    socket.echo_text("at the end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_websockets_at_the_end_of_the_grace() {
    let origin = Origin::websocket().await;
    let mut proxy = TestProxy::start("shutdown_grace: 500ms").await;
    proxy.register("/", origin.port()).await;
    let mut socket = Socket::open(&proxy, "/").await;
    socket.echo_text("before").await;
    proxy.signal("TERM");
    socket.echo_text("within the grace").await;
    assert_eq!(socket.next().await, Some(going_away()));
    assert_eq!(socket.next().await, None);
    let ended = proxy.ended().await;
    assert!(ended.status.success() && ended.after < SOON, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_a_hand_over() {
    let origin = Origin::websocket().await;
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("upgrade.sock");
    let configuration = format!(
        "shutdown_grace: 500ms\nupgrade_sock: {}\n",
        socket.display()
    );
    let mut proxy = TestProxy::start(&configuration).await;
    proxy.register("/", origin.port()).await;
    let mut socket = Socket::open(&proxy, "/").await;
    socket.echo_text("before").await;
    proxy.signal("QUIT");
    assert_eq!(socket.next().await, Some(going_away()));
    assert_eq!(socket.next().await, None);
    let ended = proxy.ended().await;
    assert!(ended.status.success() && ended.after < SOON, "{ended:?}");
}
