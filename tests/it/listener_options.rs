//! What comes before the first request: TLS and the PROXY protocol, by clients that are right, slow
//! or wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use futures_util::{SinkExt, StreamExt};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::http2::curl;
use crate::support::http2::Http2;
use crate::support::tls::Identity;
use crate::support::{Client, Embedded, Origin, eventually, in_time};

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(500);

fn options(tls: Option<Arc<ServerConfig>>, trusted: &[&str]) -> Options {
    let mut listener_options = ListenerOptions::default();
    listener_options.tls = tls;
    listener_options.proxy_protocol = trusted
        .iter()
        .map(|network| network.parse().expect("a network"))
        .collect();
    let mut options = Options::default();
    options.listener = listener_options;
    options
}

async fn before(options: Options, origin: &Origin) -> Embedded {
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    proxy
}

#[tokio::test]
async fn curl_chooses_its_protocol_over_tls() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let proxy = before(options(Some(identity.server()), &[]), &origin).await;
    let url = format!("https://localhost:{}/a", proxy.address().port());
    for (http, expected) in [
        ("--http2", "hello 2"),
        ("--http1.1", "hello 1.1"),
        ("--no-alpn", "hello 1.1"),
        ("--tls-max=1.2", "hello 2"),
    ] {
        let http = http.split('=').collect::<Vec<_>>();
        let version = ["--insecure", "--write-out", " %{http_version}", &url];
        assert_eq!(curl(&[&http[..], &version].concat()).await, expected);
    }
    for request in origin.requests() {
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        let forwarded = request.field("forwarded").expect("Forwarded");
        assert!(forwarded.contains("proto=https"), "{forwarded}");
    }
}

#[tokio::test]
async fn many_requests_go_over_one_tls_connection() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let proxy = before(options(Some(identity.server()), &[]), &origin).await;
    let stream = identity.connect(proxy.address(), &["h2"]).await;
    let mut client = Http2::over(stream).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "hello");
    }
    let mut stream = identity.connect(proxy.address(), &["http/1.1"]).await;
    let mut answer = [0; 1024];
    for _ in 0..20 {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        let mut length = 0;
        while !answer[..length].ends_with(b"hello") {
            let read = in_time("an answer", stream.read(&mut answer[length..])).await;
            let read = read.expect("an open connection");
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..length]));
            length += read;
        }
    }
    assert_eq!(proxy.proxy.connections().open(), 2);
    drop((client, stream));
    eventually("both are closed", async || {
        proxy.proxy.connections().open() == 0
    })
    .await;
}

#[tokio::test]
async fn a_websocket_goes_over_tls() {
    let identity = Identity::new();
    let origin = Origin::start(|mut visit| async move {
        let request = visit.request().await.expect("a handshake");
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        visit
            .send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await;
        // A text frame under the mask zero, back without it.
        let frame = visit.bytes(8).await;
        assert_eq!(frame[..2], [0x81, 0x82]);
        visit.send([0x81, 2, frame[6], frame[7]]).await;
        drop(visit.rest().await);
    })
    .await;
    let proxy = before(options(Some(identity.server()), &[]), &origin).await;
    let mut stream = identity.connect(proxy.address(), &["http/1.1"]).await;
    let handshake = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = in_time("an answer", stream.read_u8()).await;
        answer.push(byte.expect("an open connection"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    let client = tokio_tungstenite::WebSocketStream::from_raw_socket(
        stream,
        tokio_tungstenite::tungstenite::protocol::Role::Client,
        None,
    );
    let mut client = in_time("a WebSocket", client).await;
    // The origin knows only the mask zero: a frame by hand.
    let raw = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    client.get_mut().write_all(&raw).await.expect("sent");
    client.flush().await.expect("sent");
    let back = in_time("an echo", client.next()).await;
    assert_eq!(back.unwrap().unwrap(), Message::text("hi"));
}

#[tokio::test]
async fn cleartext_on_a_tls_port_is_told_so() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let proxy = before(options(Some(identity.server()), &[]), &origin).await;
    let url = format!("http://localhost:{}/a", proxy.address().port());
    let text = curl(&["--write-out", " %{http_code}", &url]).await;
    assert!(
        text.contains("TLS_REQUIRED") && text.ends_with(" 400"),
        "{text}"
    );
    let mut client = proxy.client().await;
    // The first byte is enough.
    client.send("G").await;
    assert_eq!(client.response().await.status, 400);
    assert!(client.rest().await.is_empty());
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn broken_handshakes_end_at_once() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let proxy = before(options(Some(identity.server()), &[]), &origin).await;
    let record = [&[0x16, 3, 1, 0, 5][..], b"junk!"].concat();
    let long = [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 4096]].concat();
    for bytes in [&b"\0\0\0\0"[..], b"\xff\xfe", &record, &long] {
        let mut client = proxy.client().await;
        drop(client.offer(bytes).await);
        let since = Instant::now();
        let rest = client.rest().await;
        // Nothing, or an alert.
        assert!(rest.is_empty() || rest[0] == 21, "{rest:?}");
        assert!(since.elapsed() < Duration::from_secs(5), "{bytes:?}");
    }
    // A client that speaks neither protocol that is offered.
    let port = proxy.address().port();
    let mut openssl = tokio::process::Command::new("openssl");
    openssl.args([
        "s_client",
        "-alpn",
        "spdy/1",
        "-connect",
        &format!("localhost:{port}"),
    ]);
    openssl.stdin(std::process::Stdio::null());
    let output = in_time("openssl", openssl.output()).await.expect("openssl");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("alert no application protocol"), "{text}");
    eventually("all are closed", async || {
        proxy.proxy.connections().open() == 0
    })
    .await;
    let stream = identity.connect(proxy.address(), &["h2"]).await;
    assert_eq!(Http2::over(stream).await.get("/").await.text(), "hello");
}

#[tokio::test]
async fn slow_handshakes_end_in_time() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let mut options = options(Some(identity.server()), &[]);
    options.handshake_timeout = SHORT;
    let proxy = before(options, &origin).await;
    let since = Instant::now();
    let mut silent = proxy.client().await;
    let mut slow = TcpStream::connect(proxy.address()).await.expect("accepted");
    let drip = tokio::spawn(async move {
        let record = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
        for byte in record {
            if slow.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the proxy took all of it");
    });
    assert!(silent.rest().await.is_empty());
    in_time("a slow client's end", drip).await.expect("an end");
    assert!(since.elapsed() >= SHORT);
    // TLS, and then no preface of HTTP/2.
    let mut mute = identity.connect(proxy.address(), &["h2"]).await;
    let mut rest = Vec::new();
    drop(in_time("an end", mute.read_to_end(&mut rest)).await);
    eventually("all are closed", async || {
        proxy.proxy.connections().open() == 0
    })
    .await;
}

/// A header of the PROXY protocol, version 2, for a client of IPv4.
fn version_2(client: SocketAddr) -> Vec<u8> {
    let std::net::IpAddr::V4(ip) = client.ip() else {
        panic!("an IPv4 client")
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
    header.extend(ip.octets());
    header.extend([10, 0, 0, 1]);
    header.extend(client.port().to_be_bytes());
    header.extend(443_u16.to_be_bytes());
    // A TLV that says nothing (PP2_TYPE_NOOP).
    header.extend([4, 0, 0]);
    header
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_trusted_peer_announces_the_client() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let plain = before(options(None, &["127.0.0.0/8"]), &origin).await;
    let encrypted = before(options(Some(identity.server()), &["127.0.0.0/8"]), &origin).await;
    let binary = version_2("192.0.2.7:51234".parse().unwrap());
    for header in [V1, &binary] {
        // In one piece, and byte by byte.
        let mut client = plain.client().await;
        let answer = client.exchange([header, REQUEST].concat()).await;
        assert_eq!(answer.body, b"hello");
        assert_eq!(client.exchange(REQUEST).await.body, b"hello");
        let mut client = plain.client().await;
        for byte in header {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.exchange(REQUEST).await.body, b"hello");
        let mut stream = TcpStream::connect(encrypted.address())
            .await
            .expect("accepted");
        stream.write_all(header).await.expect("sent");
        let stream = identity.over(stream, &["h2"]).await;
        assert_eq!(Http2::over(stream).await.get("/").await.text(), "hello");
    }
    assert_eq!(origin.requests().len(), 8);
    for request in origin.requests() {
        assert_eq!(request.field("x-forwarded-for"), Some("192.0.2.7"));
    }
    // Nobody is announced: the peer itself counts.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = plain.client().await;
        client.exchange([header, REQUEST].concat()).await;
        let last = origin.requests().pop().expect("a request");
        assert_eq!(last.field("x-forwarded-for"), Some("127.0.0.1"));
    }
    let url = format!("http://localhost:{}/", plain.address().port());
    assert_eq!(curl(&["--haproxy-protocol", "-4", &url]).await, "hello");
}

#[tokio::test]
async fn a_relayed_connection_registers_nobody() {
    let origin = Origin::saying("hello").await;
    let proxy = before(options(None, &["127.0.0.0/8"]), &origin).await;
    let body = format!(r#"{{"prefix":"/shop","port":{}}}"#, origin.port());
    let request = format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for header in [
        &b"PROXY TCP4 127.0.0.1 127.0.0.1 51234 443\r\n"[..],
        b"PROXY TCP6 ::1 ::1 51234 443\r\n",
        V1,
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
        &version_2("127.0.0.1:1".parse().unwrap()),
    ] {
        let mut client = proxy.client().await;
        let answer = client.exchange([header, request.as_bytes()].concat()).await;
        assert_eq!(answer.status, 403, "{header:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("relayed"), "{text}");
    }
    assert_eq!(proxy.proxy.routes().len(), 1);

    let identity = Identity::new();
    let proxy = before(options(Some(identity.server()), &["127.0.0.0/8"]), &origin).await;
    let mut stream = TcpStream::connect(proxy.address()).await.expect("accepted");
    stream.write_all(b"PROXY UNKNOWN\r\n").await.expect("sent");
    let mut client = Http2::over(identity.over(stream, &["h2"]).await).await;
    let request = crate::support::http2::request(http::Method::POST, "/register");
    let mut pending = client.begin(request, true).await;
    let body = bytes::Bytes::from(body);
    pending.body.send_data(body, true).expect("a body");
    let answer = pending.answer().await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("relayed"), "{}", answer.text());
}

#[tokio::test]
async fn a_header_has_to_come_from_whom_it_may() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let trusting = before(options(None, &["127.0.0.1/32"]), &origin).await;
    let mut client = trusting.client().await;
    drop(client.offer(REQUEST).await);
    assert!(client.rest().await.is_empty(), "a header is missing");
    let mut client = trusting.client().await;
    drop(
        client
            .offer([b"PROXY TCP4 nonsense\r\n", REQUEST].concat())
            .await,
    );
    assert!(client.rest().await.is_empty(), "the header is wrong");

    let binary = version_2("192.0.2.7:51234".parse().unwrap());
    for tls in [None, Some(identity.server())] {
        let wary = before(options(tls.clone(), &["10.0.0.0/8"]), &origin).await;
        for header in [V1, &binary] {
            let mut client = wary.client().await;
            drop(client.offer([header, REQUEST].concat()).await);
            assert!(client.rest().await.is_empty(), "a stranger's header");
        }
        if tls.is_none() {
            let mut client = wary.client().await;
            client.send("P").await;
            let rest = "OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(client.exchange(rest).await.body, b"hello");
        } else {
            let stream = identity.connect(wary.address(), &["h2"]).await;
            assert_eq!(Http2::over(stream).await.get("/").await.text(), "hello");
        }
    }
    // None of it has any meaning on a listener without it.
    let plain = before(options(None, &[]), &origin).await;
    let mut client = Client::connect(plain.address()).await;
    let answer = client.exchange([V1, REQUEST].concat()).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn each_listener_has_its_own_way() {
    let (identity, origin) = (Identity::new(), Origin::saying("hello").await);
    let mut options = Options::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut tls = ListenerOptions::default();
    tls.tls = Some(identity.server());
    options.listeners = vec![(listener.local_addr().expect("an address"), tls)];
    let proxy = Embedded::start_on(listener, options);
    proxy.register("/", origin.port()).await;
    let stream = identity.connect(proxy.address(), &["h2"]).await;
    assert_eq!(Http2::over(stream).await.get("/").await.text(), "hello");
    let mut options = Options::default();
    let mut tls = ListenerOptions::default();
    tls.tls = Some(identity.server());
    options.listeners = vec![("127.0.0.1:1".parse().expect("an address"), tls)];
    let proxy = before(options, &origin).await;
    assert_eq!(proxy.client().await.exchange(REQUEST).await.body, b"hello");
}
