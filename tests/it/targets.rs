//! Targets that are more than a port: Unix sockets, TLS, HTTP/2.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Socket, TestProxy, run};

/// An authority and what it has signed, for a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate chain and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
    key_pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> Identity {
        self.sign_with(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn sign_with(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add(self.0.der().clone()).unwrap();
        Arc::new(store)
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }
}

/// What an origin speaks.
#[derive(Clone, Copy, PartialEq)]
enum Speaks {
    Http1,
    H2,
    WebSocket,
}

/// Answers every request of a connection with 200 and a text.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, speaks: Speaks, text: &'static str) {
    match speaks {
        Speaks::Http1 => serve_http1(stream, text).await,
        Speaks::H2 => serve_h2(stream, text).await,
        Speaks::WebSocket => serve_websocket(stream).await,
    }
}

async fn serve_http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// Sends every message back.
async fn serve_websocket(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let accepted = tokio_tungstenite::accept_async(stream).await;
    let Ok(mut socket) = accepted else { return };
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn serve_h2(stream: impl AsyncRead + AsyncWrite + Unpin, text: &'static str) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.version(), http::Version::HTTP_2);
        let mut body = respond
            .send_response(http::Response::new(()), false)
            .expect("a head is sent");
        body.send_data(Bytes::from(text), true)
            .expect("a body is sent");
    }
}

/// An origin on a port, over TLS if it has a configuration; it lives as long as the test.
async fn origin(tls: Option<ServerConfig>, speaks: Speaks, text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    return serve(stream, speaks, text).await;
                };
                if let Ok(stream) = acceptor.accept(stream).await {
                    let by_alpn = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let speaks = if by_alpn { Speaks::H2 } else { speaks };
                    Box::pin(serve(stream, speaks, text)).await;
                }
            });
        }
    });
    port
}

fn tls(identity: Identity, clients: Option<&Authority>, alpn: &[&str]) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(
        tokio_rustls::rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(authority.store(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn registered(proxy: &TestProxy, body: Value) -> (u16, String) {
    let response = proxy.register_json(body.to_string()).await;
    (response.status, response.text().clone())
}

async fn get(proxy: &TestProxy, path: &str) -> (u16, String) {
    let response = proxy.client().await.get(path).await;
    (response.status, response.text().clone())
}

#[tokio::test]
async fn a_unix_socket_is_a_target_where_the_configuration_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Speaks::Http1, "unix"));
        }
    });
    let closed = TestProxy::plain().await;
    let registration = json!({ "prefix": "/x", "unix": path });
    let (status, text) = registered(&closed, registration.clone()).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("targets.allow"), "{text}");

    let allow = format!("targets: {{allow: [\"unix:{}\"]}}", folder.path().display());
    let proxy = TestProxy::start(&allow).await;
    let (status, text) = registered(&proxy, registration).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["unix"], json!(path));
    for _ in 0..3 {
        assert_eq!(get(&proxy, "/x/y").await, (200, "unix".to_owned()));
    }
    std::fs::remove_file(&path).unwrap();
    let proxied = registered(&proxy, json!({ "prefix": "/x", "unix": path })).await;
    assert_eq!(proxied.0, 200, "a socket may come later: {}", proxied.1);
    let (status, text) = get(&proxy, "/x").await;
    assert_eq!(status, 500, "{text}");
    assert!(
        text.contains("UNREACHABLE") && !text.contains("sock"),
        "{text}"
    );
}

#[tokio::test]
async fn an_https_target_is_verified_by_name_and_authority() {
    let (own, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let (own_path, other_path) = (
        folder.path().join("own.pem"),
        folder.path().join("other.pem"),
    );
    own.write(&own_path);
    other.write(&other_path);
    let secured = origin(
        Some(tls(own.sign("app.internal"), None, &[])),
        Speaks::Http1,
        "secured",
    )
    .await;
    let proxy = TestProxy::start(&format!(
        "targets:\n  tls:\n  - {{name: own, ca: {}}}\n  - {{name: other, ca: {}}}",
        own_path.display(),
        other_path.display()
    ))
    .await;
    let named = |profile: Option<&str>, name: &str| {
        json!({ "prefix": "/", "port": secured,
                "https": { "server_name": name, "profile": profile } })
    };
    for (profile, name, expected) in [
        (Some("own"), "app.internal", 200),
        (Some("own"), "else.internal", 500),
        (Some("other"), "app.internal", 500),
        (None, "app.internal", 500),
        (Some("own"), "app.internal", 200),
    ] {
        let (status, text) = registered(&proxy, named(profile, name)).await;
        assert_eq!(status, 200, "{text}");
        let (status, text) = get(&proxy, "/").await;
        assert_eq!(status, expected, "{profile:?} {name}: {text}");
    }
    // Plain HTTP to a TLS port, and TLS to one that has none.
    assert_eq!(
        registered(&proxy, json!({ "prefix": "/", "port": secured }))
            .await
            .0,
        200
    );
    assert_eq!(get(&proxy, "/").await.0, 500);
    let (status, text) = registered(&proxy, named(Some("none"), "app.internal")).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("INVALID_HTTPS") && text.contains("targets.tls"),
        "{text}"
    );
}

#[tokio::test]
async fn a_target_that_asks_for_a_certificate_gets_the_profiles() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    authority.write(&path("ca.pem"));
    let client = authority.sign("proxy.internal");
    std::fs::write(path("client.pem"), &client.pem).unwrap();
    std::fs::write(path("client.key"), &client.key_pem).unwrap();
    let server = tls(authority.sign("localhost"), Some(&authority), &[]);
    let port = origin(Some(server), Speaks::Http1, "known").await;
    let at = folder.path().display();
    let proxy = TestProxy::start(&format!(
        "targets:\n  tls:\n  - {{name: anonymous, ca: {at}/ca.pem}}\n  - name: known\n    \
         ca: {at}/ca.pem\n    certificate: {at}/client.pem\n    key: {at}/client.key"
    ))
    .await;
    for (profile, expected) in [("known", 200), ("anonymous", 500), ("known", 200)] {
        let wish = json!({ "prefix": "/", "port": port, "https": { "profile": profile } });
        assert_eq!(registered(&proxy, wish).await.0, 200);
        let (status, text) = get(&proxy, "/").await;
        assert_eq!(status, expected, "{profile}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_cannot_be_shown_ends_the_start() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let [one, other] = [authority.sign("one.internal"), authority.sign("other")];
    std::fs::write(folder.path().join("client.pem"), &one.pem).unwrap();
    std::fs::write(folder.path().join("client.key"), &other.key_pem).unwrap();
    let configuration = format!(
        "port: 0\ncontrol: {{listen: 127.0.0.1:0}}\ntargets: {{tls: [{{name: mt, certificate: {at}/client.pem, \
         key: {at}/client.key}}]}}"
    );
    for arguments in [&[][..], &["check"]] {
        let output = run(arguments, &configuration).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        let named = "targets.tls: mt: the key is not that of the certificate";
        assert!(text.contains(named), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_has_expired_is_said_at_the_start() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let mut params = CertificateParams::new(vec!["one.internal".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let old = authority.sign_with(&params);
    std::fs::write(folder.path().join("client.pem"), &old.pem).unwrap();
    std::fs::write(folder.path().join("client.key"), &old.key_pem).unwrap();
    let proxy = TestProxy::start(&format!(
        "targets: {{tls: [{{name: mt, certificate: {at}/client.pem, key: {at}/client.key}}]}}"
    ))
    .await;
    let log = proxy.log();
    let named = "targets.tls: mt has a certificate that expired at 2021-01-01";
    assert!(log.contains(named), "{log}");
}

/// RFC 9113, 3.2: a server that does not choose `h2` speaks something else.
#[tokio::test]
async fn an_app_that_does_not_agree_to_http2_is_sent_nothing() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    authority.write(&ca);
    let secured = Some(tls(authority.sign("localhost"), None, &[]));
    let port = origin(secured, Speaks::Http1, "http1").await;
    let offering = Some(tls(authority.sign("localhost"), None, &["h2"]));
    let other = origin(offering, Speaks::H2, "h2").await;
    let proxy = TestProxy::start(&format!(
        "targets: {{tls: [{{name: own, ca: {}}}]}}",
        ca.display()
    ))
    .await;
    let own = json!({ "profile": "own" });
    let wish = |port, instance| json!({ "prefix": "/", "port": port, "protocol": "h2", "https": own, "instance": instance });
    let (status, text) = registered(&proxy, wish(port, "one")).await;
    assert_eq!(status, 200, "{text}");
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.verdict(), (500, "UNREACHABLE".to_owned()));
    }
    proxy.logged(&["ALPN h2"]).await;
    // As one that cannot be connected to: the next instance is tried.
    let (status, text) = registered(&proxy, wish(other, "two")).await;
    assert_eq!(status, 200, "{text}");
    for _ in 0..6 {
        assert_eq!(get(&proxy, "/").await, (200, "h2".to_owned()));
    }
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_asked_for() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    authority.write(&ca);
    let secured = |alpn: &[&str]| Some(tls(authority.sign("localhost"), None, alpn));
    let cleartext = origin(None, Speaks::H2, "h2c").await;
    let only_h2 = origin(secured(&["h2"]), Speaks::H2, "h2").await;
    let only_http1 = origin(secured(&["http/1.1"]), Speaks::Http1, "http1").await;
    let proxy = TestProxy::start(&format!(
        "targets: {{tls: [{{name: own, ca: {}}}]}}",
        ca.display()
    ))
    .await;
    let own = json!({ "profile": "own" });
    for (port, protocol, tls, expected) in [
        (cleartext, "h2c", Value::Null, "h2c"),
        (only_h2, "h2", own.clone(), "h2"),
        (only_h2, "auto", own.clone(), "h2"),
        (only_http1, "auto", own.clone(), "http1"),
        (only_http1, "http1", own, "http1"),
    ] {
        let wish = json!({ "prefix": "/", "port": port, "protocol": protocol, "https": tls });
        let (status, text) = registered(&proxy, wish).await;
        assert_eq!(status, 200, "{text}");
        for _ in 0..3 {
            let (status, text) = get(&proxy, "/a").await;
            assert_eq!((status, &*text), (200, expected), "{protocol}");
        }
    }
}

/// A WebSocket through which a message has gone there and back.
///
/// Pingora 0.9.1, through which those to TLS go, ends one whose 101 it reads before it has taken the end
/// of the request's empty body out of its own queue; then another is opened.
async fn websocket(proxy: &TestProxy) -> Socket {
    for _ in 0..10 {
        let mut socket = Socket::open(proxy, "/").await;
        if socket.offer(Message::text("hello")).await && socket.next().await.is_some() {
            return socket;
        }
    }
    panic!("no WebSocket is opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_to_any_target_and_is_closed_when_the_proxy_stops() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let (unix, ca) = (folder.path().join("app.sock"), folder.path().join("ca.pem"));
    authority.write(&ca);
    let server = tls(authority.sign("localhost"), None, &[]);
    let secured = origin(Some(server), Speaks::WebSocket, "").await;
    let listener = UnixListener::bind(&unix).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Speaks::WebSocket, ""));
        }
    });
    for target in [
        json!({ "prefix": "/", "unix": unix }),
        json!({ "prefix": "/", "port": secured, "https": { "profile": "own" } }),
    ] {
        let mut proxy = TestProxy::start(&format!(
            "shutdown_grace: 500ms\ntargets:\n  allow: [\"unix:{at}\"]\n  tls: [{{name: own, ca: {at}/ca.pem}}]"
        ))
        .await;
        let (status, text) = registered(&proxy, target.clone()).await;
        assert_eq!(status, 200, "{text}");
        let mut socket = websocket(&proxy).await;
        socket.echo_text("and again").await;
        proxy.signal("TERM");
        let Some(Message::Close(Some(close))) = socket.next().await else {
            panic!("no close: {target}");
        };
        assert_eq!(close.code, CloseCode::Away, "{target}");
        assert_eq!(socket.next().await, None);
        assert!(proxy.ended().await.status.success());
    }
}
