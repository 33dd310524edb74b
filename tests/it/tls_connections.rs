//! Connections of TLS: how they live and end, what they do not notice, and records that are malformed.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::http2::{Http2, get, request};
use crate::support::{Origin, eventually, in_time};
use crate::tls_clients::{REQUEST, shop};

/// TLS with the certificate of an authority's folder.
pub(crate) async fn connect(authority: &Path, port: u16, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.join("ca.pem")).expect("PEM");
    roots.add(root).expect("a root");
    let mut config = ClientConfig::builder_with_provider(dynamic_reverse_proxy::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = in_time("connecting", TcpStream::connect(("127.0.0.1", port))).await;
    let name = ServerName::try_from("shop.test").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let connected = connector.connect(name, stream.expect("the proxy accepts"));
    in_time("a handshake", connected).await.expect("TLS")
}

/// One exchange of HTTP/1.1 on a connection that stays open.
pub(crate) async fn exchange(stream: &mut TlsStream<TcpStream>) {
    let request = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    stream.write_all(request).await.expect("a request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello from the app") {
        let byte = in_time("an answer", stream.read_u8()).await;
        answer.push(byte.expect("an open connection"));
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn websocket(authority: &Path, port: u16) -> Socket {
    let stream = connect(authority, port, &["http/1.1"]).await;
    let opened = tokio_tungstenite::client_async("wss://shop.test/ws", stream);
    let opened = in_time("a WebSocket", Box::pin(opened)).await;
    opened.expect("a WebSocket").0
}

async fn echo(socket: &mut Socket, message: Message) {
    in_time("a message", socket.send(message.clone()))
        .await
        .expect("sent");
    let back = in_time("an echo", socket.next()).await;
    assert!(
        back.expect("one").expect("one") == message,
        "another message"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_go_over_tls() {
    let (authority, _origin, proxy, port) = shop("").await;
    let app = Origin::websocket().await;
    proxy.register("/ws", app.port()).await;
    let mut socket = Box::pin(websocket(authority.path(), port)).await;
    echo(&mut socket, Message::text("hello")).await;
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    for _ in 0..4 {
        echo(&mut socket, Message::binary(large.clone())).await;
    }
    let close = CloseFrame {
        code: CloseCode::Library(4001),
        reason: "enough".into(),
    };
    socket.close(Some(close.clone())).await.expect("sent");
    let back = in_time("a Close frame", socket.next()).await;
    assert_eq!(back.unwrap().unwrap(), Message::Close(Some(close)));
    assert!(in_time("the end", socket.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_noticed_by_no_connection() {
    let (authority, origin, proxy, port) = shop("threads: 2\n").await;
    let app = Origin::websocket().await;
    proxy.register("/ws", app.port()).await;
    let (mut plain, mut multiplexed, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..17 {
        let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
        exchange(&mut stream).await;
        plain.push(stream);
        let stream = connect(authority.path(), port, &["h2"]).await;
        let mut client = Http2::over(stream).await;
        assert_eq!(client.get("/").await.status, 200);
        // An upload that goes on meanwhile.
        let upload = client.begin(request(Method::POST, "/"), true).await;
        multiplexed.push((client, upload));
        let mut socket = Box::pin(websocket(authority.path(), port)).await;
        echo(&mut socket, Message::text("before")).await;
        sockets.push(socket);
    }
    let served = async || {
        let stream = connect(authority.path(), port, &["h2"]).await;
        let (_, session) = stream.get_ref();
        session.peer_certificates().expect("one")[0].to_vec()
    };
    let before = served().await;
    authority.sign("shop", "shop.test");
    eventually("the new certificate is used", async || {
        served().await != before
    })
    .await;
    for stream in &mut plain {
        exchange(stream).await;
    }
    for (client, upload) in &mut multiplexed {
        upload
            .body
            .send_data(Bytes::from("more"), false)
            .expect("open");
        assert_eq!(client.get("/").await.status, 200);
    }
    for (_client, mut upload) in multiplexed {
        upload
            .body
            .send_data(Bytes::from("last"), true)
            .expect("open");
        assert_eq!(upload.answer().await.status, 200);
    }
    for socket in &mut sockets {
        echo(socket, Message::text("after")).await;
    }
    assert_eq!(origin.requests().len(), 17 * 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_records_end_a_connection_alone() {
    let (authority, _origin, _proxy, port) = shop("").await;
    let mut other = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut other).await;
    // A record that nobody has encrypted, after the handshake.
    let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut stream).await;
    let (mut tcp, _) = stream.into_inner();
    tcp.write_all(b"\x17\x03\x03\x00\x20garbage that nobody can decrypt.")
        .await
        .unwrap();
    let mut rest = Vec::new();
    drop(in_time("the end", tcp.read_to_end(&mut rest)).await);
    assert!(
        rest.is_empty() || rest[0] == 21 || rest[0] == 23,
        "{rest:?}"
    );
    // A ClientHello of 16 MiB, by its own word.
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut record = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03".to_vec();
    record.resize(16_384 + 5, 7);
    drop(tcp.write_all(&record.repeat(8)).await);
    let mut rest = Vec::new();
    drop(in_time("the end", tcp.read_to_end(&mut rest)).await);
    assert!(rest.is_empty() || rest[0] == 21, "{rest:?}");
    // One of more than a record that is right.
    let names: Vec<String> = (0..2000)
        .map(|number| format!("protocol-{number}"))
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("http/1.1");
    let mut stream = connect(authority.path(), port, &names).await;
    exchange(&mut stream).await;
    exchange(&mut other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_is_said() {
    let (authority, _origin, mut proxy, port) = shop("timeouts: {idle: 1s}\n").await;
    // What ends without close_notify is an error to rustls.
    let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut stream).await;
    let mut rest = Vec::new();
    let end = in_time("an idle connection's end", stream.read_to_end(&mut rest)).await;
    assert_eq!(end.expect("close_notify"), 0);
    let stream = connect(authority.path(), port, &["h2"]).await;
    let mut client = Http2::over(stream).await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.end().await, None);
    // A refusal, too.
    let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let end = in_time("a refusal's end", stream.read_to_end(&mut rest)).await;
    assert!(end.expect("close_notify") > 0);
    assert!(rest.starts_with(b"HTTP/1.1 400"));
    // And a stop.
    let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut stream).await;
    proxy.signal("TERM");
    let end = in_time("the end", stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "{end:?}");
    proxy.ended().await;
}

/// What only a client decides has no line each.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_do_not_fill_the_log() {
    let (authority, _origin, proxy, port) = shop("").await;
    for number in 0..60 {
        let alpn = if number % 2 == 0 { "h2" } else { "http/1.1" };
        let mut stream = connect(authority.path(), port, &[alpn]).await;
        if number % 2 == 1 {
            exchange(&mut stream).await;
        }
        if number % 3 == 0 {
            // Half a record.
            let (tcp, _) = stream.get_mut();
            tcp.write_all(b"\x17\x03\x03\x01\0half").await.unwrap();
        }
        let (tcp, _) = stream.into_inner();
        // A reset in place of an end.
        tcp.set_zero_linger().expect("SO_LINGER");
        drop(tcp);
    }
    let mut other = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut other).await;
    let log = proxy.log();
    let lines = log.lines().filter(|line| {
        line.contains("rustls") || line.contains("pingora") || line.contains("::front")
    });
    let count = lines.count();
    assert!(count <= 3, "{count} lines");
}

/// A client that says that it is done and waits for its answer is taken for one that has left, as
/// nginx has it. What comes before that is noticed is whole, or its end is not said (RFC 8446, 6.1).
#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_half_an_answer_for_the_whole() {
    let (authority, _origin, _proxy, port) = shop("").await;
    for _ in 0..20 {
        let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let end = in_time("the end", stream.read_to_end(&mut answer)).await;
        let is_whole = answer.ends_with(b"hello from the app");
        assert!(is_whole || end.is_err(), "{answer:?}");
    }
    let mut stream = connect(authority.path(), port, &["http/1.1"]).await;
    exchange(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_streams_of_a_connection_finish() {
    let (authority, _origin, mut proxy, port) = shop("").await;
    let (slow, mut visitors) = Origin::by_hand().await;
    proxy.register("/slow", slow.port()).await;
    let stream = connect(authority.path(), port, &["h2"]).await;
    let mut client = Http2::over(stream).await;
    let pending = client.begin(get("/slow"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    proxy.signal("TERM");
    eventually("nobody new is let in", async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
    visit.answer(200, "finished").await;
    assert_eq!(pending.answer().await.text(), "finished");
    // GOAWAY without an error, and close_notify.
    assert_eq!(client.end().await, None);
    assert!(proxy.ended().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_with_a_farewell() {
    let (authority, _origin, _proxy, port) = shop("timeouts: {idle: 1s}\n").await;
    let mut stream = connect(authority.path(), port, &["h2"]).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.expect("sent");
    let mut rest = Vec::new();
    let end = in_time("the end", stream.read_to_end(&mut rest)).await;
    // close_notify, after a GOAWAY with NO_ERROR that has seen no stream.
    end.expect("close_notify");
    assert!(
        rest.ends_with(b"\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        "{rest:?}"
    );
}
