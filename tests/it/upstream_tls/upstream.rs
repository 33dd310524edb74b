//! An authority, and an upstream over TLS whose habit can change.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::TestProxy;

/// An authority that proxies of a test trust, and its folder.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = (DnType::CommonName, "authority of the test");
        params.distinguished_name.push(name.0, name.1);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    /// A proxy that trusts it.
    pub(crate) async fn proxy(&self) -> TestProxy {
        let at = self.folder.path().display();
        TestProxy::start(&format!(
            "timeouts: {{connect: 700ms, first_byte: 2s}}\n\
             targets: {{tls: [{{name: own, ca: {at}/ca.pem}}]}}"
        ))
        .await
    }

    pub(crate) fn params(name: &str) -> CertificateParams {
        CertificateParams::new(vec![name.to_owned()]).expect("parameters")
    }

    /// A server with a certificate of this authority.
    pub(crate) fn server(&self, params: &CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a pair")
    }

    /// A server that wants to see a certificate of this authority.
    pub(crate) fn demanding(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let key = KeyPair::generate().expect("a key");
        let params = Self::params("localhost");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        builder()
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a pair")
    }
}

pub(crate) fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
}

/// What an upstream does with a connection.
#[derive(Clone)]
pub(crate) enum Habit {
    /// Serves requests over TLS.
    Serve(Arc<ServerConfig>),
    /// Sends bytes that are not TLS, and closes.
    Say(&'static [u8]),
    /// Sends bytes, and then nothing.
    Stall(&'static [u8]),
}

/// An upstream whose habit can change.
pub(crate) struct Upstream {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    habit: Mutex<Habit>,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Upstream {
    pub(crate) async fn start(habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let state = Arc::new(State {
            habit: Mutex::new(habit),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        Self {
            port: listener.local_addr().expect("an address").port(),
            state,
            task: tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(Arc::clone(&shared).connection(stream));
                }
            }),
        }
    }

    pub(crate) async fn register(&self, proxy: &TestProxy) {
        self.register_at(proxy, "127.0.0.1").await;
    }

    pub(crate) async fn register_at(&self, proxy: &TestProxy, host: &str) {
        let tls = json!({ "profile": "own", "server_name": "localhost" });
        let body = json!({ "prefix": "/", "host": host, "port": self.port, "protocol": "http1",
            "https": tls });
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }

    pub(crate) fn set(&self, habit: Habit) {
        *self.state.habit.lock() = habit;
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many request heads it has read.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let habit = self.habit.lock().clone();
        match habit {
            Habit::Serve(config) => self.serve(stream, config).await,
            Habit::Say(bytes) => {
                drop(stream.write_all(bytes).await);
                drop(stream.shutdown().await);
                drop(stream.read_to_end(&mut Vec::new()).await);
            }
            Habit::Stall(bytes) => {
                drop(stream.write_all(bytes).await);
                drop(stream.read_to_end(&mut Vec::new()).await);
            }
        }
    }

    /// Answers one request with 400 bytes. A number as its path is the place of a byte of the response's
    /// records that is turned into another.
    async fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        let stream = Corrupting {
            stream,
            until: None,
        };
        let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
            return;
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        stream.get_mut().0.until = path.trim_start_matches('/').parse().ok();
        let body = body();
        let response = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        drop(stream.write_all(response.as_bytes()).await);
        drop(stream.flush().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
}

pub(crate) fn body() -> String {
    "0123456789".repeat(40)
}

/// A stream that turns one of the bytes to come into another.
struct Corrupting {
    stream: TcpStream,
    /// How many bytes come before that one.
    until: Option<usize>,
}

impl AsyncRead for Corrupting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Corrupting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = bytes.to_vec();
        let until = self.until;
        if let Some(byte) = until.and_then(|until| bytes.get_mut(until)) {
            *byte ^= 0x55;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &bytes);
        if let (Some(until), Poll::Ready(Ok(count))) = (until, &written) {
            self.until = until.checked_sub(*count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
