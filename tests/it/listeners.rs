//! Settings per listener: whose client certificates are believed, versions of TLS, PROXY protocol,
//! HTTP/2 in cleartext; and a listener that only sends its clients to https.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http2::curl as plain_curl;
use crate::registration_peers::outer_address;
use crate::support::{
    Client, Origin, ReservedPort, TestProxy, eventually, in_time, registration, run,
};
use crate::tls::{Authority, curl};

/// The addresses that the log names behind some words, once there are so many.
async fn addresses(proxy: &TestProxy, words: &str, count: usize) -> Vec<SocketAddr> {
    let found = || -> Vec<SocketAddr> {
        let log = proxy.log();
        let shown = log.lines().filter_map(|line| line.split_once(words));
        let shown = shown.filter_map(|(_, rest)| rest.split([',', ' ']).next()?.parse().ok());
        shown.collect()
    };
    eventually(words, async || found().len() == count).await;
    found()
}

/// The ports that TLS is listened on, in the order of the configuration.
async fn tls_ports(proxy: &TestProxy, count: usize) -> Vec<u16> {
    let addresses = addresses(proxy, "TLS on ", count).await;
    addresses.iter().map(SocketAddr::port).collect()
}

/// `tls` with the certificate `shop`, and more lines of it.
fn tls(authority: &Authority, more: &str) -> String {
    let at = authority.path().display();
    format!(
        "tls:\n  certificates:\n  - {{name: shop, certificate: {at}/shop.pem, key: {at}/shop.key}}\n\
         {more}"
    )
}

/// Two authorities: that of the server and of its general clients, and one of other clients.
struct Authorities {
    general: Authority,
    other: Authority,
}

impl Authorities {
    fn new() -> Self {
        let (general, other) = (Authority::new(), Authority::new());
        general.sign("shop", "shop.test");
        general.sign("client", "client.test");
        other.sign("client", "client.test");
        Self { general, other }
    }

    /// A proxy that listens three times: a certificate of the general clients is required; one of the
    /// others may be shown; none is asked for.
    async fn proxy(&self, origin: &Origin) -> (TestProxy, Vec<u16>) {
        let (general, other) = (self.general.path(), self.other.path());
        let listen = format!(
            "  client_auth: {{mode: require, ca: {}/ca.pem}}\n  listen:\n  - 127.0.0.1:0\n  \
             - {{address: 127.0.0.1:0, client_auth: {{mode: optional, ca: {}/ca.pem}}}}\n  \
             - {{address: 127.0.0.1:0, client_auth: {{mode: off}}}}\n",
            general.display(),
            other.display(),
        );
        let proxy = TestProxy::start(&tls(&self.general, &listen)).await;
        proxy.register("/", origin.port()).await;
        let ports = tls_ports(&proxy, 3).await;
        (proxy, ports)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_believes_its_own_authorities() {
    let (authorities, origin) = (Authorities::new(), Origin::saying("app").await);
    let (_proxy, ports) = authorities.proxy(&origin).await;
    // The listeners that serve a client with a certificate of: the general, the other, no authority.
    let cases = [
        (Some(&authorities.general), [true, false, true]),
        (Some(&authorities.other), [false, true, true]),
        (None, [false, true, true]),
    ];
    for (issuer, expected) in cases {
        let files = issuer.map(|issuer| {
            let at = issuer.path().display();
            [format!("{at}/client.pem"), format!("{at}/client.key")]
        });
        let identity = match &files {
            Some([certificate, key]) => vec!["--cert", certificate, "--key", key],
            None => Vec::new(),
        };
        for version in ["--tlsv1.3", "--tls-max=1.2"] {
            let more: Vec<_> = version.split('=').chain(identity.clone()).collect();
            for (port, served) in ports.iter().zip(expected) {
                let answer = curl(&authorities.general, *port, "shop.test", "/", &more).await;
                let is_right = if served {
                    answer == "app\n2 200"
                } else {
                    answer.starts_with("curl: (")
                };
                assert!(is_right, "{port} of {ports:?}, {more:?}: {answer}");
            }
        }
    }
}

/// A client that keeps its sessions by the server's name, whatever the port.
fn client(authorities: &Authorities) -> Arc<ClientConfig> {
    let (server, own) = (authorities.general.path(), authorities.other.path());
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(server.join("ca.pem")).unwrap();
    roots.add(root).unwrap();
    let chain = vec![CertificateDer::from_pem_file(own.join("client.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(own.join("client.key")).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// A request over TLS; how the handshake went, if it is answered.
async fn handshake(client: &Arc<ClientConfig>, port: u16) -> Option<HandshakeKind> {
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("shop.test").unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        let mut stream = connector.connect(name, stream).await?;
        let request = b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        assert!(answer.ends_with(b"app"), "{}", answer.escape_ascii());
        Ok::<_, std::io::Error>(stream.get_ref().1.handshake_kind())
    };
    in_time("an answer", exchange).await.ok().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_resumed_at_its_own_listener_alone() {
    let (authorities, origin) = (Authorities::new(), Origin::saying("app").await);
    let (_proxy, ports) = authorities.proxy(&origin).await;
    let (full, resumed) = (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed));
    let [require, optional, off] = ports[..] else {
        panic!("three ports")
    };
    let shopper = client(&authorities);
    assert_eq!(handshake(&shopper, optional).await, full);
    assert_eq!(handshake(&shopper, optional).await, resumed);
    // A session with a certificate of the other authority opens nothing where that is not believed.
    assert_eq!(handshake(&shopper, require).await, None);
    assert_eq!(handshake(&shopper, off).await, full);
    assert_eq!(handshake(&shopper, off).await, resumed);
    // Nor does a session without one.
    assert_eq!(handshake(&shopper, require).await, None);
    assert_eq!(handshake(&shopper, optional).await, full);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_oldest_version() {
    let (authority, origin) = (Authority::new(), Origin::saying("app").await);
    authority.sign("shop", "shop.test");
    let listen = "  min_version: 1.3\n  listen:\n  - {address: 127.0.0.1:0, min_version: 1.2}\n  \
                  - 127.0.0.1:0\n  - {address: 127.0.0.1:0, min_version: 1.3}\n";
    let proxy = TestProxy::start(&tls(&authority, listen)).await;
    proxy.register("/", origin.port()).await;
    let ports = tls_ports(&proxy, 3).await;
    for (port, old) in ports.into_iter().zip([true, false, false]) {
        let new = curl(&authority, port, "shop.test", "/", &["--tlsv1.3"]).await;
        assert_eq!(new, "app\n2 200");
        let answer = curl(&authority, port, "shop.test", "/", &["--tls-max", "1.2"]).await;
        assert_eq!(answer == "app\n2 200", old, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_has_its_load_balancers() {
    let (authority, origin) = (Authority::new(), Origin::saying("app").await);
    authority.sign("shop", "shop.test");
    let listen = "listen:\n- {address: 127.0.0.1:0, proxy_protocol: []}\n- 127.0.0.2:0\n\
                  - {address: 127.0.0.3:0, proxy_protocol: [192.0.2.0/24]}\n\
                  proxy_protocol: {trusted: [127.0.0.0/8]}\n";
    let more = "  listen:\n  - 127.0.0.1:0\n  - {address: 127.0.0.1:0, proxy_protocol: []}\n";
    let proxy = TestProxy::start(&format!("{listen}{}", tls(&authority, more))).await;
    proxy.register("/", origin.port()).await;
    let header = "PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n";
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let plain = addresses(&proxy, "HTTP on ", 3).await;
    for (address, believed) in plain.into_iter().zip([false, true, false]) {
        let mut client = Client::connect(address).await;
        drop(client.offer(format!("{header}{request}")).await);
        let answer = client.read(false).await.map(|answer| answer.status);
        assert_eq!(answer == Some(200), believed, "{address}: {answer:?}");
        if believed {
            let last = origin.requests().pop().expect("a request");
            assert_eq!(last.field("x-forwarded-for"), Some("192.0.2.7"));
        }
        let mut client = Client::connect(address).await;
        drop(client.offer(request).await);
        let answer = client.read(false).await.map(|answer| answer.status);
        assert_eq!(answer == Some(200), !believed, "{address}: {answer:?}");
    }
    let ports = tls_ports(&proxy, 2).await;
    for (port, believed) in ports.into_iter().zip([true, false]) {
        let answer = |more: &'static [&str]| curl(&authority, port, "shop.test", "/", more);
        let with = answer(&["--haproxy-protocol"]).await;
        assert_eq!(with == "app\n2 200", believed, "{with}");
        let without = answer(&[]).await;
        assert_eq!(without == "app\n2 200", !believed, "{without}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_in_cleartext_speaks_http2_or_does_not() {
    let origin = Origin::saying("app").await;
    let listen = "listen:\n- {address: 127.0.0.1:0, http2_cleartext: false}\n- 127.0.0.2:0\n\
                  http2: {cleartext: true}\n";
    let proxy = TestProxy::start(listen).await;
    proxy.register("/", origin.port()).await;
    let listeners = addresses(&proxy, "HTTP on ", 2).await;
    for (address, speaks) in listeners.into_iter().zip([false, true]) {
        let mut client = Client::connect(address).await;
        client
            .send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await;
        let first = client.bytes(9).await;
        // A frame of SETTINGS, or a refusal in HTTP/1.1.
        assert_eq!(first.get(3) == Some(&4), speaks, "{first:?}");
        assert_eq!(first.starts_with(b"HTTP/1.1"), !speaks, "{first:?}");
    }
}

/// A proxy with a listener that serves, one that redirects to its TLS listener, with HTTP/2, and one
/// that redirects to a given port.
struct Redirecting {
    authority: Authority,
    proxy: TestProxy,
    to_default: SocketAddr,
    to_given: SocketAddr,
    https: u16,
}

impl Redirecting {
    async fn start(origin: &Origin) -> Self {
        let authority = Authority::new();
        authority.sign("shop", "shop.test");
        let listen = "listen:\n- 127.0.0.1:0\n\
             - {address: 127.0.0.2:0, redirect_to_https: true, http2_cleartext: true}\n\
             - {address: 127.0.0.3:0, redirect_to_https: 443}\n";
        let secured = tls(&authority, "  listen: [127.0.0.1:0]\n");
        let proxy = TestProxy::start(&format!("{listen}{secured}")).await;
        proxy.register("/app", origin.port()).await;
        let plain = addresses(&proxy, "HTTP on ", 3).await;
        let https = tls_ports(&proxy, 1).await[0];
        Self {
            authority,
            to_default: plain[1],
            to_given: plain[2],
            https,
            proxy,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_follows_to_https() {
    let origin = Origin::saying("app").await;
    let redirecting = Redirecting::start(&origin).await;
    let (http, https) = (redirecting.to_default, redirecting.https);
    let ca = redirecting.authority.path().join("ca.pem");
    let url = format!("http://shop.test:{}/app/./a%20b?c=%zz&d", http.port());
    let there = format!("shop.test:{}:127.0.0.2", http.port());
    let then = format!("shop.test:{https}:127.0.0.1");
    let follow = |more: &'static [&str]| {
        let mut arguments = vec![
            "--location",
            "--path-as-is",
            "--cacert",
            ca.to_str().unwrap(),
        ];
        arguments.extend(["--resolve", &there, "--resolve", &then]);
        arguments.extend(["--write-out", " %{http_code} %{num_redirects}", &url]);
        arguments.extend(more);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            plain_curl(&arguments).await
        }
    };
    assert_eq!(follow(&[]).await, "app 200 1");
    assert_eq!(follow(&["--http2-prior-knowledge"]).await, "app 200 1");
    assert_eq!(follow(&["--data", "body"]).await, "app 200 1");
    let requests = origin.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
        // The proxy's one spelling of what the client wrote.
        assert_eq!(request.target(), "/app/a%20b?c=%zz&d");
    }
    assert_eq!(requests[2].method(), "POST");
    assert_eq!(requests[2].field("content-length"), Some("4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_sent_to_https_on_one_connection() {
    let origin = Origin::saying("app").await;
    let redirecting = Redirecting::start(&origin).await;
    let mut client = Client::connect(redirecting.to_given).await;
    let long = format!("/?{}", "q".repeat(16_000));
    let cases = [
        ("GET", "/", "shop.test", "https://shop.test/"),
        (
            "GET",
            "/no/route?a",
            "shop.test:80",
            "https://shop.test/no/route?a",
        ),
        ("DELETE", "/app", "SHOP.test.", "https://shop.test/app"),
        ("BREW", "/app", "[::1]:8080", "https://[::1]/app"),
        ("GET", "/app", "10.0.0.1", "https://10.0.0.1/app"),
        (
            "GET",
            "//evil.test/",
            "shop.test",
            "https://shop.test//evil.test/",
        ),
        ("GET", "/%2e./a", "shop.test", "/"),
        (
            "GET",
            "http://shop.test/a?b",
            "shop.test",
            "https://shop.test/a?b",
        ),
        (
            "GET",
            &long,
            "shop.test",
            &format!("https://shop.test{long}"),
        ),
    ];
    for (method, target, host, expected) in cases {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = client.exchange(request).await;
        if expected == "/" {
            // It climbs above the root.
            assert_eq!(answer.verdict(), (400, "BAD_PATH".to_owned()));
            continue;
        }
        assert_eq!(answer.status, 308, "{target}");
        assert_eq!(answer.field("location"), Some(expected), "{target}");
        assert_eq!(answer.field("content-length"), Some("0"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert!(answer.field("x-request-id").is_some());
        assert_eq!(answer.field("connection"), Some("keep-alive"), "{target}");
    }
    client
        .send("HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        .await;
    let head = client.read(true).await.expect("an answer");
    assert_eq!(head.status, 308);
    let upgrade = "GET /app HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(client.exchange(upgrade).await.status, 308);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_needed_for_a_redirect() {
    let origin = Origin::saying("app").await;
    let redirecting = Redirecting::start(&origin).await;
    let head = "POST /app HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n";
    let location = format!("https://shop.test:{}/app", redirecting.https);
    for (expect, body) in [("", "hello"), ("", "hel"), ("Expect: 100-continue\r\n", "")] {
        let mut client = Client::connect(redirecting.to_default).await;
        let answer = client.exchange(format!("{head}{expect}\r\n{body}")).await;
        assert_eq!(answer.status, 308, "{expect}{body}");
        assert_eq!(answer.field("location"), Some(&*location));
        assert_eq!(answer.field("connection"), Some("close"));
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_there_is_nowhere_to_go() {
    let origin = Origin::saying("app").await;
    let redirecting = Redirecting::start(&origin).await;
    for (request, code) in [
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "BAD_HOST"),
        ("GET / HTTP/1.0\r\n\r\n", "BAD_HOST"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "BAD_HOST"),
        ("GET / HTTP/1.1\r\nHost: a_\"b\r\n\r\n", "BAD_HOST"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "BAD_TARGET"),
    ] {
        let answer = Client::connect(redirecting.to_given)
            .await
            .exchange(request)
            .await;
        assert_eq!(answer.verdict(), (400, code.to_owned()), "{request}");
    }
    let mut client = Client::connect(redirecting.to_given).await;
    assert_eq!(client.exchange("GET / HTTP/1.1\r\n\r\n").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn challenges_are_served_where_everything_else_is_redirected() {
    let origin = Origin::saying("proof").await;
    let redirecting = Redirecting::start(&origin).await;
    redirecting
        .proxy
        .register("/.well-known", origin.port())
        .await;
    let mut client = Client::connect(redirecting.to_given).await;
    for (path, status) in [
        ("/.well-known/acme-challenge/token", 200),
        ("/.well-known/acme-challenge/../security.txt", 308),
        ("/.well-known/security.txt", 308),
        ("/.well-known/acme-challenges", 308),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_registers_where_others_are_redirected() {
    let origin = Origin::saying("app").await;
    let redirecting = Redirecting::start(&origin).await;
    let body = format!(r#"{{"prefix": "/new", "port": {}}}"#, origin.port());
    let mut client = Client::connect(redirecting.to_given).await;
    let answer = client.exchange(registration(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let served = redirecting.proxy.client().await.get("/new").await;
    assert_eq!(served.text(), "app");
    let port = redirecting.to_default.port();
    let url = format!("http://127.0.0.2:{port}/register");
    let h2 = ["--http2-prior-knowledge", "--json", &body, &url];
    let answer = plain_curl(&[&h2[..], &["-w", " %{http_version} %{http_code}"]].concat()).await;
    assert!(answer.ends_with(" 2 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_redirected_when_they_register() {
    let listen = "listen:\n- {address: 127.0.0.1:0, redirect_to_https: true, proxy_protocol: \
                  [127.0.0.0/8]}\n";
    let proxy = TestProxy::start(listen).await;
    let body = r#"{"prefix": "/new", "port": 1234}"#;
    let relayed = [
        &b"PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n"[..],
        &registration(body),
    ]
    .concat();
    let answer = proxy.client().await.exchange(relayed).await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.field("location"), Some("https://localhost/register"));

    let Some(outer) = outer_address("0.0.0.0", "198.51.100.1") else {
        return eprintln!("skipped: this machine has no IPv4 address beside loopback");
    };
    let proxy =
        TestProxy::start("listen:\n- {address: 0.0.0.0:0, redirect_to_https: 8443}\n").await;
    let address = (outer, proxy.port()).into();
    let mut client = Client::connect_from(outer, address)
        .await
        .expect("accepted");
    let answer = client.exchange(registration(body)).await;
    let expected = Some("https://localhost:8443/register");
    assert_eq!((answer.status, answer.field("location")), (308, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_named_by_its_listener() {
    let listen = "port: 0\ntls:\n  listen:\n  - 127.0.0.1:0\n  - address: 127.0.0.1:0\n    \
                  client_auth: {mode: require, ca: /nowhere/ca.pem}\n";
    for arguments in [&["check"][..], &[]] {
        let output = run(arguments, listen).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("tls.listen[1].client_auth.ca: /nowhere/ca.pem"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_what_each_listener_does() {
    let (authority, origin) = (Authority::new(), Origin::saying("app").await);
    authority.sign("shop", "shop.test");
    let folder = tempfile::tempdir().unwrap();
    let ports = [(); 4].map(|()| ReservedPort::new());
    let [plain, redirecting, secured, control] = ports.each_ref().map(ReservedPort::port);
    let listen = format!("  listen: [{{address: 127.0.0.1:{secured}, min_version: 1.3}}]\n");
    let configuration = format!(
        "listen:\n- 127.0.0.1:{plain}\n\
         - {{address: 127.0.0.1:{redirecting}, redirect_to_https: true}}\n\
         control: {{listen: 127.0.0.1:{control}}}\nupgrade_sock: {}\n{}",
        folder.path().join("upgrade.sock").display(),
        tls(&authority, &listen),
    );
    drop(ports);
    let mut old = TestProxy::start(&configuration).await;
    let new = old.upgraded(&configuration).await;
    assert!(old.ended().await.status.success());
    new.register("/", origin.port()).await;
    let mut client = Client::connect(([127, 0, 0, 1], redirecting).into()).await;
    let location = format!("https://localhost:{secured}/a");
    let answer = client.get("/a").await;
    assert_eq!(
        (answer.status, answer.field("location")),
        (308, Some(&*location))
    );
    assert_eq!(new.client().await.get("/a").await.text(), "app");
    let answer = curl(&authority, secured, "shop.test", "/", &[]).await;
    assert_eq!(answer, "app\n2 200");
    let refused = curl(&authority, secured, "shop.test", "/", &["--tls-max", "1.2"]).await;
    assert!(refused.starts_with("curl: ("), "{refused}");
}
