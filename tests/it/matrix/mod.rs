//! The matrix: what the client speaks, times what the upstream speaks, times the cases. What reaches
//! each side is held against one table of expectations ([`expect`]), written from the RFCs.

mod case;
mod cases;
mod client;
mod client_http2;
pub(crate) mod exceptions;
mod expect;
mod pair;
mod rules;
mod upstream;
mod upstream_http2;
mod wire;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::time::timeout;

use crate::support::{TestProxy, engine};
use crate::tls::{Authority, tls_port};
use case::{Case, Seen};
use pair::{Client, Pair, Upstream};
use upstream::Server;

const TIMEOUTS: &str = "timeouts: {first_byte: 4s, between_bytes: 30s, client_body: 30s}";

/// How many cells of a pair are run at a time.
const AT_A_TIME: usize = 8;

/// What a pair's cells are run against.
struct Stage {
    pair: Pair,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    server: Server,
    _proxy: TestProxy,
}

impl Stage {
    async fn set(pair: Pair, cases: &Arc<Vec<Case>>) -> Self {
        let authority = Authority::new();
        authority.sign("proxy", "localhost");
        let server = Server::start(pair.upstream, cases, tls(&authority, pair.upstream)).await;
        let at = authority.path().display();
        let socket = server.target["unix"].as_str().unwrap_or("/nowhere");
        let more = format!(
            "{TIMEOUTS}\nhttp2: {{cleartext: true}}\ntargets:\n  allow: [\"unix:{socket}\"]\n  \
             tls: [{{name: own, ca: {at}/ca.pem}}]\n"
        );
        let proxy = TestProxy::start(&authority.configuration("proxy", &more)).await;
        let mut registration = server.target.clone();
        registration["prefix"] = "/m".into();
        let response = proxy.register_json(registration.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let port = if pair.client.has_tls() {
            tls_port(&proxy).await
        } else {
            proxy.port()
        };
        Self {
            pair,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            tls: client_tls(&authority),
            server,
            _proxy: proxy,
        }
    }

    /// Runs a case, and says how it deviates.
    async fn run(&self, case: &Case) -> Vec<String> {
        let mut found = Vec::new();
        for _ in 0..case.times {
            let exchange = self.exchange(case);
            let seen = timeout(case.limit, exchange)
                .await
                .unwrap_or_else(|_| Seen {
                    fault: Some(format!("no end within {:?}", case.limit)),
                    ..Seen::default()
                });
            let asked = self.server.shared.asked(case.name).await;
            found = expect::deviations(case, self.pair, &seen, &asked);
            if !found.is_empty() {
                break;
            }
        }
        let name = format!("{} x {}", self.pair, case.name);
        let named = found.iter().map(|line| format!("{name}: {line}"));
        named.collect()
    }

    async fn exchange(&self, case: &Case) -> Seen {
        match self.pair.client {
            Client::Http10 | Client::Http11 => {
                client::exchange(self.address, &case.request, self.pair.client).await
            }
            Client::Http2 => client_http2::exchange(self.address, None, &case.request).await,
            Client::Http2Tls => {
                let tls = Some(Arc::clone(&self.tls));
                client_http2::exchange(self.address, tls, &case.request).await
            }
        }
    }
}

/// The upstream's side of TLS, with one protocol to choose.
fn tls(authority: &Authority, upstream: Upstream) -> Arc<ServerConfig> {
    let (certificate, key) = authority.sign("app", "localhost");
    let certificate =
        CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    let protocol: &[u8] = if upstream.is_http2() {
        b"h2"
    } else {
        b"http/1.1"
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// The client's side of TLS, with HTTP/2 alone.
fn client_tls(authority: &Authority) -> Arc<ClientConfig> {
    let pem = authority.path().join("ca.pem");
    let certificate = CertificateDer::from_pem_file(pem).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The names of all cases.
pub(crate) fn names() -> Vec<&'static str> {
    cases::all().iter().map(|case| case.name).collect()
}

/// Runs all cells of a pair. All deviations are collected, and fail the test at its end.
async fn run(client: Client, upstream: Upstream) {
    let pair = Pair { client, upstream };
    let cases = Arc::new(cases::all());
    let stage = Stage::set(pair, &cases).await;
    let is_excepted = |case: &&Case| {
        engine::chosen() == Some("pingora") && exceptions::reason(case.name, pair).is_some()
    };
    let cells = cases.iter().filter(|case| case.has_cell(pair));
    let (excepted, mut cells): (Vec<_>, Vec<_>) = cells.partition(is_excepted);
    // The slow ones first, so that the others are run meanwhile.
    cells.sort_by_key(|case| !case.is_slow);
    let count = cells.len();
    let (alone, together): (Vec<_>, Vec<_>) = cells.into_iter().partition(|case| case.is_alone);
    let mut found = Vec::new();
    for (cells, at_a_time) in [(together, AT_A_TIME), (alone, 1)] {
        let running = stream::iter(cells).map(|case| stage.run(case));
        found.extend(
            running
                .buffer_unordered(at_a_time)
                .collect::<Vec<_>>()
                .await,
        );
    }
    for asked in stage.server.shared.asked("next").await {
        // What has come behind a request, and is none.
        let fault = asked
            .fault
            .map(|fault| format!("{pair}: the upstream was asked {fault:?}"));
        found.push(fault.into_iter().collect());
    }
    let left_out = excepted.len();
    eprintln!("{pair}: {count} cells, {left_out} left out");
    let failed = found.iter().filter(|found| !found.is_empty()).count();
    let mut text = String::new();
    for line in found.into_iter().flatten() {
        writeln!(text, "{line}").expect("a string grows");
    }
    // The proxy's log has a line for each cell. It would bury the deviations.
    drop(stage);
    assert!(
        text.is_empty(),
        "{pair}: {failed} of {count} cells fail:\n{text}"
    );
}

macro_rules! pairs {
    ($($client:ident, $upstream:ident => $name:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                run(Client::$client, Upstream::$upstream).await;
            }
        )*
    };
}

pairs! {
    Http10, Http1 => http10_x_http1;
    Http10, Https => http10_x_https;
    Http10, Unix => http10_x_unix;
    Http10, H2c => http10_x_h2c;
    Http10, H2Tls => http10_x_h2_tls;
    Http11, Http1 => http11_x_http1;
    Http11, Https => http11_x_https;
    Http11, Unix => http11_x_unix;
    Http11, H2c => http11_x_h2c;
    Http11, H2Tls => http11_x_h2_tls;
    Http2, Http1 => http2_x_http1;
    Http2, Https => http2_x_https;
    Http2, Unix => http2_x_unix;
    Http2, H2c => http2_x_h2c;
    Http2, H2Tls => http2_x_h2_tls;
    Http2Tls, Http1 => http2_tls_x_http1;
    Http2Tls, Https => http2_tls_x_https;
    Http2Tls, Unix => http2_tls_x_unix;
    Http2Tls, H2c => http2_tls_x_h2c;
    Http2Tls, H2Tls => http2_tls_x_h2_tls;
}
