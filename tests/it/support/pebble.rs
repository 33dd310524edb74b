//! Pebble, Let's Encrypt's own test server, as a certificate authority of the test's own; and a name
//! server for it, to which every host is this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ReservedPort, eventually, in_time};

/// How many pebbles have been started: each has a log of its own.
static STARTS: AtomicU32 = AtomicU32::new(0);

/// A certificate authority. Its ports are known before it runs.
pub(crate) struct Pebble {
    folder: TempDir,
    acme: ReservedPort,
    management: ReservedPort,
    /// Where it looks for challenges.
    pub(crate) http: ReservedPort,
    pub(crate) tls: ReservedPort,
    names: SocketAddr,
    _names: JoinHandle<()>,
    settings: Value,
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
    log: PathBuf,
}

impl Pebble {
    /// One that does not run yet.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let pem = certificate.expect("a certificate").pem();
        std::fs::write(folder.path().join("ca.pem"), pem).expect("a file");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("a file");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let socket = socket.expect("a socket");
        let names = socket.local_addr().expect("an address");
        let log = folder.path().join("none.log");
        Self {
            folder,
            acme: ReservedPort::new(),
            management: ReservedPort::new(),
            http: ReservedPort::new(),
            tls: ReservedPort::new(),
            names,
            _names: tokio::spawn(answer_names(socket)),
            settings: json!({}),
            environment: Vec::new(),
            child: None,
            log,
        }
    }

    /// One that runs.
    pub(crate) async fn start() -> Self {
        let mut pebble = Self::new().await;
        pebble.run().await;
        pebble
    }

    /// Another setting of its configuration, from the next start on.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.settings[key] = value;
        self
    }

    /// An environment variable, from the next start on.
    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Starts it; it has forgotten everything.
    pub(crate) async fn run(&mut self) {
        let at = |port: &ReservedPort| format!("127.0.0.1:{}", port.port());
        let path = |name: &str| self.folder.path().join(name);
        let mut settings = json!({
            "listenAddress": at(&self.acme),
            "managementListenAddress": at(&self.management),
            "certificate": path("ca.pem"),
            "privateKey": path("key.pem"),
            "httpPort": self.http.port(),
            "tlsPort": self.tls.port(),
        });
        for (key, value) in self.settings.as_object().expect("an object") {
            settings[key] = value.clone();
        }
        let text = json!({ "pebble": settings }).to_string();
        std::fs::write(path("pebble.json"), text).expect("a file");
        let number = STARTS.fetch_add(1, Ordering::Relaxed);
        self.log = path(&format!("{number}.log"));
        let log = std::fs::File::create(&self.log).expect("a file");
        let child = Command::new("pebble")
            .arg("-config")
            .arg(path("pebble.json"))
            .args(["-dnsserver", &self.names.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("pebble: scripts/prerequisites test installs it"));
        let address = (Ipv4Addr::LOCALHOST, self.acme.port());
        eventually("pebble runs", async || {
            TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// Stops it.
    pub(crate) async fn stop(&mut self) {
        let mut child = self.child.take().expect("a running pebble");
        in_time("pebble ends", child.kill()).await.expect("a kill");
    }

    /// The lines of a proxy's configuration that make it this authority's client.
    pub(crate) fn acme(&self, more: &str) -> String {
        format!(
            "acme:\n  directory: {}\n  ca: {}\n  terms_agreed: true\n{more}",
            self.directory(),
            self.folder.path().join("ca.pem").display(),
        )
    }

    /// The URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.acme.port())
    }

    /// The lines for listeners where it looks for challenges.
    pub(crate) fn listeners(&self) -> String {
        format!(
            "listen: [\"127.0.0.1:{}\"]\ntls:\n  listen: [\"127.0.0.1:{}\"]\n",
            self.http.port(),
            self.tls.port()
        )
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// How many orders it was given.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order").count()
    }

    /// The certificate that a TLS listener shows for a name, DER; none if it shows none.
    pub(crate) async fn shown(&self, name: &str) -> Option<CertificateDer<'static>> {
        shown_at(self.tls.port(), name).await
    }

    /// A request over TLS, to a certificate that this authority has issued: the status and the body.
    pub(crate) async fn get(&self, name: &str, path: &str) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.root().await).expect("a root");
        let stream = handshake(self.tls.port(), name, &["http/1.1"], Some(roots)).await;
        let mut stream = stream.expect("a trusted certificate");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut answer = Vec::new();
        in_time("an answer", stream.read_to_end(&mut answer))
            .await
            .expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Its root, which is new with every start.
    async fn root(&self) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read(self.folder.path().join("ca.pem")).expect("a file");
        let ca = CertificateDer::from_pem_slice(&ca).expect("a certificate");
        roots.add(ca).expect("a root");
        let stream = handshake(self.management.port(), "localhost", &[], Some(roots)).await;
        let mut stream = stream.expect("pebble's management");
        let request = "GET /roots/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut answer = Vec::new();
        in_time("the root", stream.read_to_end(&mut answer))
            .await
            .expect("an answer");
        CertificateDer::from_pem_slice(&answer).expect("a root")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() && self.log.exists() {
            eprintln!("--- log of pebble:\n{}---", self.log());
        }
    }
}

/// The certificate that a TLS listener at a port shows for a name, DER; none if it shows none.
pub(crate) async fn shown_at(port: u16, name: &str) -> Option<CertificateDer<'static>> {
    let stream = handshake(port, name, &["http/1.1"], None).await?;
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().cloned()
}

/// The serial number of a certificate, hexadecimal.
pub(crate) fn serial(certificate: &CertificateDer<'_>) -> String {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    parsed.raw_serial_as_string()
}

/// Whether a certificate is an authority's, and not signed by itself.
pub(crate) fn is_issued(certificate: &CertificateDer<'_>) -> bool {
    let (_, parsed) = X509Certificate::from_der(certificate).expect("a certificate");
    parsed.issuer().to_string().contains("Pebble")
}

/// A handshake for a name; without roots any certificate will do.
pub(crate) async fn handshake(
    port: u16,
    name: &str,
    alpn: &[&str],
    roots: Option<RootCertStore>,
) -> Option<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let mut config = match roots {
        Some(roots) => config.with_root_certificates(roots).with_no_client_auth(),
        None => config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    in_time("a handshake", connected).await.ok()
}

/// Believes everybody, whose signatures have to be right.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Answers every question for an IPv4 address with 127.0.0.1, and every other with nothing (RFC 1035).
async fn answer_names(socket: UdpSocket) {
    let mut question = [0; 512];
    while let Ok((length, asker)) = socket.recv_from(&mut question).await {
        if let Some(answer) = answer(&question[..length]) {
            drop(socket.send_to(&answer, asker).await);
        }
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let id = question.get(..2)?;
    // The one name, its type and its class.
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let asked = question.get(12..end + 5)?;
    let is_address = asked[asked.len() - 4..] == [0, 1, 0, 1];
    let mut answer = [id, &[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]].concat();
    answer.extend_from_slice(asked);
    if is_address {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

/// The state directory's folder for ACME, as a proxy left it.
pub(crate) fn files(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![state.join("acme")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}
