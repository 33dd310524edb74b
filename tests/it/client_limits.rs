//! What one client may take, and what happens to the next who wants more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::http2::{self, Frames, GOAWAY, Http2, get as get2, request as request2};
use crate::support::{Client, Origin, Reader, Socket, TestProxy, eventually, registration};

/// A proxy with an app behind every path. Its clients are those that a balancer on this machine announces.
async fn announced(limits: &str) -> (TestProxy, Origin) {
    let origin = Origin::saying("app").await;
    let configuration = format!(
        "{limits}\nproxy_protocol:\n  trusted: [127.0.0.9]\ntimeouts: {{handshake: 15s}}\n"
    );
    let proxy = TestProxy::start(&configuration).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin)
}

/// A connection of the balancer's for this client, which has said nothing of its own.
async fn client(proxy: &TestProxy, address: &str) -> Client {
    let family = if address.contains(':') {
        "TCP6"
    } else {
        "TCP4"
    };
    let own = if address.contains(':') {
        "::1"
    } else {
        "127.0.0.1"
    };
    let source = "127.0.0.9".parse().expect("an address");
    let client = Client::connect_from(source, proxy.address()).await;
    let mut client = client.expect("a connection");
    client
        .send(format!("PROXY {family} {address} {own} 4000 80\r\n"))
        .await;
    client
}

/// How often a limit was met, as the proxy's status says.
async fn met(proxy: &TestProxy, limit: &str) -> u64 {
    let status = proxy.api("GET", "/v1/status", None).await.json();
    let key = format!("limits.{limit}");
    let mut limits = status["limits"].as_array().expect("a list").iter();
    let found = limits.find(|limit| limit["key"] == key.as_str());
    found.expect("the limit")["refused"]
        .as_u64()
        .expect("a count")
}

async fn is_served(client: &mut Client) {
    let response = client.get("/").await;
    assert_eq!((response.status, response.text()), (200, "app".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_connections_and_others_notice_nothing() {
    let (proxy, _origin) = announced("limits: {connections_per_client: 3}").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut one = client(&proxy, "192.0.2.1").await;
        is_served(&mut one).await;
        held.push(one);
    }
    let mut fourth = client(&proxy, "192.0.2.1").await;
    fourth.is_closed().await;
    assert_eq!(met(&proxy, "connections_per_client").await, 1);
    is_served(&mut client(&proxy, "192.0.2.2").await).await;
    is_served(&mut proxy.client().await).await;
    // The first of the network takes a place; an address of another network has its own.
    for (address, count) in [("2001:db8:0:1::", 3), ("2001:db8:0:2::", 3)] {
        for host in 1..=count {
            let mut one = client(&proxy, &format!("{address}{host}")).await;
            is_served(&mut one).await;
            held.push(one);
        }
    }
    client(&proxy, "2001:db8:0:1::ffff").await.is_closed().await;
    // A place that is given back is free.
    held.truncate(2);
    eventually("a free place", async || {
        let mut one = client(&proxy, "192.0.2.1").await;
        one.offer("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok()
            && one.read(false).await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_limits_this_machine_may_still_register_and_do_nothing_else() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("limits: {connections_per_client: 3}").await;
    let body = json!({"prefix": "/", "port": origin.port()}).to_string();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut one = proxy.client().await;
        one.get("/").await;
        held.push(one);
    }
    let mut beyond = proxy.client().await;
    assert_eq!(beyond.exchange(registration(&body)).await.status, 200);
    let response = beyond.get("/").await;
    assert_eq!(response.verdict(), (503, "TOO_MANY_CONNECTIONS".to_owned()));
    beyond.is_closed().await;
    is_served(&mut held[0]).await;
    assert!(met(&proxy, "connections_per_client").await >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_taken_the_oldest_silent_connection_makes_room() {
    let (proxy, _origin) = announced("limits: {connections: 4}").await;
    let mut oldest = client(&proxy, "192.0.2.1").await;
    let mut second = client(&proxy, "192.0.2.2").await;
    let mut speaking = client(&proxy, "192.0.2.3").await;
    is_served(&mut speaking).await;
    is_served(&mut second).await;
    let mut fourth = client(&proxy, "192.0.2.4").await;
    is_served(&mut fourth).await;
    let mut newest = client(&proxy, "192.0.2.5").await;
    is_served(&mut newest).await;
    oldest.is_closed().await;
    assert!(met(&proxy, "silent_connections").await >= 1);
    for one in [&mut second, &mut speaking, &mut fourth, &mut newest] {
        is_served(one).await;
    }
    // Now nobody is silent.
    client(&proxy, "192.0.2.6").await.is_closed().await;
    assert!(met(&proxy, "connections").await >= 1);
}

/// Many connections that say nothing, of one address: control and registration answer, and so does the app.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_silent_connections_shuts_nobody_out() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("limits: {connections: 200, connections_per_client: 100}").await;
    let (traffic, control) = (proxy.address(), proxy.control().await);
    let silent = async |address: SocketAddr| {
        let mut held = Vec::new();
        for _ in 0..400 {
            held.push(Client::connect(address).await);
        }
        held
    };
    let _held = (silent(traffic).await, silent(control).await);
    proxy.register("/", origin.port()).await;
    assert!(met(&proxy, "connections_per_client").await >= 250);
    let source = "127.0.0.2".parse().expect("an address");
    let other = Client::connect_from(source, traffic).await;
    is_served(&mut other.expect("a connection")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_new_connection_has_the_time_of_a_handshake_and_a_used_one_is_idle_for_longer() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("timeouts: {handshake: 300ms, idle: 30s}").await;
    proxy.register("/", origin.port()).await;
    let begin = Instant::now();
    let (mut silent, mut used) = (proxy.client().await, proxy.client().await);
    is_served(&mut used).await;
    silent.is_closed().await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    is_served(&mut used).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_opens_so_many_connections_a_second() {
    let (proxy, _origin) = announced("limits: {new_connections_per_second: 2}").await;
    is_served(&mut client(&proxy, "192.0.2.1").await).await;
    is_served(&mut client(&proxy, "192.0.2.1").await).await;
    client(&proxy, "192.0.2.1").await.is_closed().await;
    is_served(&mut client(&proxy, "192.0.2.2").await).await;
    assert_eq!(met(&proxy, "new_connections_per_second").await, 1);
    eventually("the next second", async || {
        let mut one = client(&proxy, "192.0.2.1").await;
        one.offer("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok()
            && one.read(false).await.is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_so_many_requests_and_is_closed_in_order() {
    let origin = Origin::saying("app").await;
    let configuration = "limits: {requests_per_connection: 2}\nhttp2: {cleartext: true}\n";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for expected in ["keep-alive", "close"] {
        let response = client.get("/").await;
        assert_eq!(response.field("connection"), Some(expected));
    }
    client.is_closed().await;
    let mut frames = Frames::connect(proxy.address()).await;
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    frames.headers(1, &fields).await;
    frames.headers(3, &fields).await;
    assert!(frames.next_of(&[GOAWAY]).await.is_some());
    assert!(met(&proxy, "requests_per_connection").await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_requests_of_http2_in_progress_on_all_its_connections() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let configuration = "limits: {streams_per_client: 3}\nhttp2: {cleartext: true}\n";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let mut first = Http2::connect(proxy.address()).await;
    let mut second = Http2::connect(proxy.address()).await;
    let mut waiting = Vec::new();
    let mut visits = Vec::new();
    for is_first in [true, true, false] {
        let connection = if is_first { &mut first } else { &mut second };
        waiting.push(connection.begin(get2("/"), false).await);
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visits.push(visit);
    }
    let answer = second.get("/").await;
    assert_eq!(
        (answer.status, answer.code()),
        (429, "TOO_MANY_STREAMS".to_owned())
    );
    // An app of this machine registers all the same.
    let asked = http2::request(http::Method::POST, "/register");
    let mut registration = second.begin(asked, true).await;
    let body = format!(r#"{{"prefix": "/other", "port": {}}}"#, origin.port());
    registration
        .body
        .send_data(body.into(), true)
        .expect("an open stream");
    assert_eq!(registration.answer().await.status, 200);
    // One line, with the request's id and the key.
    eventually("a line of the log", async || {
        proxy.log().contains("limits.streams_per_client")
    })
    .await;
    let log = proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("streams_per_client"));
    for line in lines {
        assert!(
            line.contains("429 TOO_MANY_STREAMS") && line.ends_with(']'),
            "{line}"
        );
    }
    visits[0].answer(200, "done").await;
    assert_eq!(waiting.remove(0).answer().await.text(), "done");
    let next = second.begin(get2("/"), false).await;
    visits[0].request().await.expect("the next request");
    visits[0].answer(200, "next").await;
    assert_eq!(next.answer().await.text(), "next");
    assert_eq!(met(&proxy, "streams_per_client").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_one_byte_more_is_413_however_it_comes() {
    let origin = Origin::saying("app").await;
    let configuration = "limits: {body: 10}\nhttp2: {cleartext: true}\n";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let too_large = (413, "PAYLOAD_TOO_LARGE".to_owned());
    for (framing, body, passes) in [
        ("Content-Length: 10", "0123456789", true),
        ("Content-Length: 11", "01234567890", false),
        ("Content-Length: 11\r\nExpect: 100-continue", "", false),
        (
            "Transfer-Encoding: chunked",
            "a\r\n0123456789\r\n0\r\n\r\n",
            true,
        ),
        (
            "Transfer-Encoding: chunked",
            "5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}"
            ))
            .await;
        let response = client.response().await;
        if passes {
            assert_eq!(response.status, 200, "{framing} {body}");
        } else {
            assert_eq!(response.verdict(), too_large, "{framing} {body}");
        }
    }
    for (length, status) in [(10, 200), (11, 413)] {
        let mut connection = Http2::connect(proxy.address()).await;
        let mut pending = connection
            .begin(request2(http::Method::POST, "/"), true)
            .await;
        pending
            .body
            .send_data(vec![b'x'; length].into(), true)
            .expect("a body");
        assert_eq!(pending.answer().await.status, status, "{length}");
    }
    assert_eq!(met(&proxy, "body").await, 4);
    // Registrations have a limit of their own.
    proxy.register("/long", origin.port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_closes_its_websocket_with_1009_on_both_sides() {
    for (limit, other) in [
        ("websocket_message", "websocket_frame"),
        ("websocket_frame", "websocket_message"),
    ] {
        let origin = Origin::websocket().await;
        let proxy = TestProxy::start(&format!("limits: {{{limit}: 100}}")).await;
        proxy.register("/", origin.port()).await;
        let mut socket = Socket::open(&proxy, "/").await;
        socket.echo_text(&"x".repeat(100)).await;
        socket.send(Message::text("y".repeat(101))).await;
        let Some(Message::Close(Some(close))) = socket.next().await else {
            panic!("no Close frame, {limit}");
        };
        assert_eq!(close.code, CloseCode::Size);
        assert_eq!(met(&proxy, limit).await, 1);
        assert_eq!(met(&proxy, other).await, 0);
        // With the id of the request.
        let key = format!("(limits.{limit})");
        proxy
            .logged(&["GET ", "[", "]: the client has sent", &key, "1009"])
            .await;
    }
}

/// Behind a frame that is malformed, or a Close frame, nobody could tell how long the next one is.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_closes_a_websocket_with_limits_with_1002() {
    let origin = Origin::start(|mut visit| async move {
        visit.head().await.expect("a handshake");
        visit
            .send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await;
        let taken = visit.rest().await.len();
        assert!(taken < 1000, "{taken} bytes reached the app");
    })
    .await;
    let proxy = TestProxy::start("limits: {websocket_frame: 1000, websocket_message: 1000}").await;
    proxy.register("/", origin.port()).await;
    let long_ping = [&[0x89, 0xFE, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat();
    for odd in [
        &[0x82, 0x01, b'x'][..],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &long_ping,
    ] {
        let mut client = proxy.client().await;
        client
            .send(
                "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        assert_eq!(client.response().await.status, 101);
        client.send(odd).await;
        let long = [
            &[0x82, 0xFF, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0][..],
            &[0; 4096],
        ]
        .concat();
        drop(client.offer(long).await);
        let close = client.bytes(4).await;
        assert_eq!(close, [0x88, 2, 0x03, 0xEA], "{odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_what_each_limit_allows() {
    let limits = "limits: {body: 10, websocket_message: 20, upload_rate: 30, download_rate: 10KiB, \
                  websocket_frame: 50}";
    let proxy = TestProxy::start(limits).await;
    let status = proxy.api("GET", "/v1/status", None).await.json();
    let limits = status["limits"].as_array().expect("a list");
    let expected = [
        ("body", 10),
        ("websocket_message", 20),
        ("upload_rate", 30),
        ("download_rate", 10 * 1024),
        ("websocket_frame", 50),
    ];
    for (key, most) in expected {
        let key = format!("limits.{key}");
        let found = limits.iter().find(|limit| limit["key"] == key.as_str());
        assert_eq!(found.expect("the limit")["most"], most, "{key}");
    }
}

/// What a stranger sends is short in the events that are kept, whichever part of a request it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_method_host_or_path_is_short_in_the_events() {
    let proxy = TestProxy::start("").await;
    let mut events = Reader::of(&proxy).await;
    let long = "M".repeat(15_000);
    for head in [
        format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a.".repeat(100) + "b"),
    ] {
        let mut client = proxy.client().await;
        client.send(head).await;
        assert_eq!(
            client.response().await.verdict(),
            (501, "NOT_FOUND".to_owned())
        );
    }
    for _ in 0..3 {
        let event = events.next().await;
        let length = event.data.to_string().len();
        assert!(length < 2500, "{length} bytes: {}", event.data);
    }
}
