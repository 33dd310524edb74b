//! TLS at the front with other clients than curl: openssl, nghttp, h2load, rustls.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::http2::{Http2, request};
use crate::support::{Origin, TestProxy, eventually, in_time};
use crate::tls::{Authority, tls_port};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

/// A proxy with a certificate for `shop.test`, and an app behind it.
async fn shop(more: &str) -> (Authority, Origin, TestProxy, u16) {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("hello from the app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", more)).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    (authority, origin, proxy, port)
}

/// What `openssl s_client` writes, both ways; it says `input` and reads until the proxy ends.
async fn s_client(authority: &Authority, port: u16, input: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-CAfile")
        .arg(authority.path().join("ca.pem"))
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if input != "R\n" {
        // Or what begins with an R is a command.
        command.arg("-ign_eof");
    }
    let mut child = command.spawn().expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("standard input");
    // A handshake that fails ends it before.
    drop(stdin.write_all(input.as_bytes()).await);
    let output = in_time("openssl ends", child.wait_with_output()).await;
    let output = output.expect("openssl");
    drop(stdin);
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_resumes_its_sessions_on_any_thread_and_after_a_new_certificate() {
    let (authority, _origin, proxy, port) = shop("threads: 4\n").await;
    let fingerprint = async || {
        let shown = proxy.api("GET", "/v1/certificates/shop", None).await;
        shown.json()["details"]["sha256"].clone()
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let session = authority.path().join(version);
        let session = session.to_str().expect("a path");
        let verified = ["-servername", "shop.test", "-verify_return_error", version];
        let first = [&verified[..], &["-sess_out", session]].concat();
        let text = s_client(&authority, port, REQUEST, &first).await;
        assert!(text.contains("hello from the app"), "{text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
        assert!(text.contains("New, TLSv1."), "{text}");
        // The connection ended in good order, not cut (RFC 8446, 6.1).
        assert!(!text.contains("unexpected eof"), "{text}");
        // No 0-RTT: what it carries could be replayed (RFC 8446, 8).
        if version == "-tls1_3" {
            assert!(text.contains("Max Early Data: 0"), "{text}");
        }
        let again = [&verified[..], &["-sess_in", session]].concat();
        for _ in 0..8 {
            let text = s_client(&authority, port, REQUEST, &again).await;
            assert!(text.contains("Reused, TLSv1."), "{text}");
            assert!(text.contains("hello from the app"), "{text}");
        }
        let before = fingerprint().await;
        authority.sign("shop", "shop.test");
        eventually("the certificate is read", async || {
            fingerprint().await != before
        })
        .await;
        let text = s_client(&authority, port, REQUEST, &again).await;
        assert!(text.contains("Reused, TLSv1."), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_is_refused_what_is_not_spoken() {
    let (authority, _origin, _proxy, port) = shop("").await;
    let weak = "DEFAULT@SECLEVEL=0";
    for (arguments, expected) in [
        (&["-tls1_1", "-cipher", weak][..], "alert handshake failure"),
        (&["-tls1", "-cipher", weak], "alert handshake failure"),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            "alert handshake failure",
        ),
        (&["-alpn", "spdy/3"], "alert no application protocol"),
        (&["-servername", "else.test"], "alert number 112"),
    ] {
        let name = ["-servername", "shop.test"];
        let text = s_client(&authority, port, "", &[&name[..], arguments].concat()).await;
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_handshake_within_the_old_connection_is_not_begun() {
    // RFC 5246, 7.4.1.1: the client may ask, and is told no; then it says nothing more.
    let (authority, _origin, proxy, port) = shop("timeouts: {idle: 1s}\n").await;
    let text = s_client(&authority, port, "R\n", &["-tls1_2"]).await;
    assert!(text.contains("RENEGOTIATING"), "{text}");
    let handshakes = text.matches("depth=0").count();
    assert_eq!(handshakes, 1, "{text}");
    assert!(!proxy.log().contains("rustls"), "{}", proxy.log());
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
async fn a_chain_in_the_wrong_order_is_put_right() {
    let authority = Authority::new();
    let (certificate, _key) = authority.sign("shop", "shop.test");
    let ca = std::fs::read_to_string(authority.path().join("ca.pem")).unwrap();
    std::fs::write(authority.path().join("shop.pem"), ca + &certificate).unwrap();
    let origin = Origin::saying("hello from the app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    let verified = ["-servername", "shop.test", "-verify_return_error"];
    let text = s_client(&authority, port, REQUEST, &verified).await;
    assert!(text.contains("hello from the app"), "{text}");
    assert!(proxy.log().contains("order"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_compared_as_dns_does() {
    let (authority, _origin, _proxy, port) = shop("").await;
    for arguments in [
        &["-servername", "SHOP.Test"][..],
        // Without a name, the only certificate.
        &["-noservername"],
        // An address is no name (RFC 6066, 3).
        &["-servername", "127.0.0.1"],
    ] {
        let text = s_client(&authority, port, REQUEST, arguments).await;
        assert!(text.contains("hello from the app"), "{arguments:?}: {text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    }
    // A dot at the end is not allowed (RFC 6066, 3); it is served, or refused with an alert.
    let text = s_client(&authority, port, REQUEST, &["-servername", "shop.test."]).await;
    assert!(
        text.contains("hello from the app") || text.contains(" alert "),
        "{text}"
    );
}

async fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = in_time(program, output).await;
    let output = output.expect("nghttp2-client is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp_and_h2load_are_served_over_tls() {
    let (authority, origin, _proxy, port) = shop("http2: {streams: 50}\n").await;
    let url = format!("https://127.0.0.1:{port}/");
    let upload = authority.path().join("upload");
    std::fs::write(&upload, "x".repeat(100_000)).unwrap();
    let body = format!("--data={}", upload.display());
    let text = output("nghttp", &["--verbose", &body, &url]).await;
    assert!(text.contains("The negotiated protocol: h2"), "{text}");
    assert!(
        text.contains(":status: 200") && text.contains("hello from the app"),
        "{text}"
    );
    assert_eq!(origin.requests()[0].body.len(), 100_000);
    let done = |count| format!("{count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout");
    let text = output("h2load", &["-n", "4000", "-c", "8", "-m", "50", &url]).await;
    assert!(text.contains(&done(4000)), "{text}");
    let text = output("h2load", &["-n", "300", "-c", "4", "-m", "10", &body, &url]).await;
    assert!(text.contains(&done(300)), "{text}");
    let requests = origin.requests();
    assert_eq!(requests.len(), 4301);
    let uploaded = requests
        .iter()
        .filter(|request| request.body.len() == 100_000);
    assert_eq!(uploaded.count(), 301);
    let text = output("h2load", &["--h1", "-n", "1000", "-c", "8", &url]).await;
    assert!(text.contains(&done(1000)), "{text}");
}

/// TLS with the certificate of an authority's folder.
async fn connect(authority: &Path, port: u16, alpn: &[&str]) -> TlsStream<TcpStream> {
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
async fn exchange(stream: &mut TlsStream<TcpStream>) {
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
    let (authority, _origin, proxy, port) = shop("timeouts: {idle: 1s, between_bytes: 1s}\n").await;
    let app = Origin::websocket().await;
    proxy.register("/ws", app.port()).await;
    let mut socket = Box::pin(websocket(authority.path(), port)).await;
    echo(&mut socket, Message::text("hello")).await;
    let large: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    for _ in 0..4 {
        echo(&mut socket, Message::binary(large.clone())).await;
    }
    // Silence for longer than the limits on requests.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    echo(&mut socket, Message::text("still there")).await;
    let farewell = CloseFrame {
        code: CloseCode::Library(4001),
        reason: "enough".into(),
    };
    socket.close(Some(farewell.clone())).await.expect("sent");
    let back = in_time("a farewell", socket.next()).await;
    assert_eq!(back.unwrap().unwrap(), Message::Close(Some(farewell)));
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
