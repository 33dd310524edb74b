//! A certificate authority that misbehaves. It checks nothing: every authorization is valid from the
//! start, so that orders are finalized at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const HOUR: Duration = Duration::from_hours(1);

/// What it does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It suggests to renew long before 1970.
    OldWindow,
    /// It makes accounts, and knows none of them.
    NoAccount,
    /// It fails at every order.
    Orders,
    /// It has had enough of orders, for an hour.
    Limited,
    /// Its certificates end before they begin.
    Backwards,
    /// Its certificates have expired.
    Expired,
    /// Its certificates are valid for two seconds.
    Short,
    /// Its certificates are for the host, and for `bank.example`.
    MoreNames,
    /// An order's status is a forged log line, and long.
    Lines,
}

/// The authority, as long as it lives.
pub(crate) struct Authority {
    folder: TempDir,
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    url: String,
    fault: Mutex<Fault>,
    asked: Mutex<Vec<(Instant, String)>>,
    /// The host of each order, and its certificate.
    orders: Mutex<Vec<(String, Option<String>)>>,
    issuer: Issuer<'static, KeyPair>,
}

/// The key of a request for a certificate.
struct Requested(Vec<u8>);

impl PublicKeyData for Requested {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Authority {
    /// One with a fault.
    pub(crate) async fn start(fault: Fault) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let own = own.expect("a certificate");
        std::fs::write(folder.path().join("ca.pem"), own.cert.pem()).expect("a file");
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let params = CertificateParams::new(Vec::new()).expect("parameters");
        let state = Arc::new(State {
            url: format!("https://localhost:{port}"),
            fault: Mutex::new(fault),
            asked: Mutex::default(),
            orders: Mutex::default(),
            issuer: Issuer::new(params, KeyPair::generate().expect("a key")),
        });
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            folder,
            port,
            state,
            task,
        }
    }

    /// Does something else wrong from now on.
    pub(crate) fn set(&self, fault: Fault) {
        *self.state.fault.lock() = fault;
    }

    /// The lines of a proxy's configuration that make it this authority's client, with TLS.
    pub(crate) fn configuration(&self, state: &std::path::Path, more: &str) -> String {
        format!(
            "tls:\n  listen: [\"127.0.0.1:0\"]\ncontrol:\n  listen: 127.0.0.1:0\nstate_directory: \
             {}\nacme:\n  directory: {}\n  ca: {}\n  terms_agreed: true\n{more}",
            state.display(),
            self.directory(),
            self.folder.path().join("ca.pem").display(),
        )
    }

    /// The URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// When it was asked for what: `account`, `order HOST`, `window`, and so on.
    pub(crate) fn asked(&self, what: &str) -> Vec<Instant> {
        let asked = self.state.asked.lock();
        let fits = asked.iter().filter(|(_, asked)| asked.starts_with(what));
        fits.map(|(at, _)| *at).collect()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut read = Vec::new();
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let fields = head.to_ascii_lowercase();
            let length = fields.lines().find_map(|line| {
                let value = line.strip_prefix("content-length:")?;
                value.trim().parse().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let payload = URL_SAFE_NO_PAD.decode(body["payload"].as_str().unwrap_or_default());
    let payload = serde_json::from_slice(&payload.unwrap_or_default()).unwrap_or_default();
    let (status, more, body) = state.answer(path, &payload);
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nReplay-Nonce: n{}\r\nConnection: close\r\nContent-Length: {}\r\n\
         {more}\r\n{}",
        fastrand::u64(..),
        body.len(),
        if head.starts_with("HEAD") { "" } else { &body },
    );
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

impl State {
    fn note(&self, what: String) {
        self.asked.lock().push((Instant::now(), what));
    }

    /// The status, more fields, and the body.
    fn answer(&self, path: &str, payload: &Value) -> (u16, String, String) {
        let fault = *self.fault.lock();
        let url = &self.url;
        let mut parts = path.trim_start_matches('/').split('/');
        let page = parts.next().unwrap_or_default();
        let number = parts.next().and_then(|number| number.parse().ok());
        let number: usize = number.unwrap_or(0);
        let none = String::new;
        let problem = |kind: &str| {
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            json!({"type": kind, "detail": "no"}).to_string()
        };
        let location = |at: String| format!("Location: {url}/{at}\r\n");
        match page {
            "dir" => {
                let at = |page: &str| format!("{url}/{page}");
                let directory = json!({"newNonce": at("nonce"), "newAccount": at("account"),
                    "newOrder": at("order"), "revokeCert": at("r"), "keyChange": at("k"),
                    "renewalInfo": at("window")});
                (200, none(), directory.to_string())
            }
            "nonce" => (200, none(), none()),
            "account" => {
                self.note("account".to_owned());
                let body = json!({"status": "valid"}).to_string();
                (201, location("account/1".to_owned()), body)
            }
            "window" => {
                self.note("window".to_owned());
                let year = if fault == Fault::OldWindow {
                    1900
                } else {
                    2099
                };
                let start = format!("{year}-01-01T00:00:00Z");
                let end = format!("{year}-01-02T00:00:00Z");
                let body = json!({"suggestedWindow": {"start": start, "end": end}});
                (200, "Retry-After: 21600\r\n".to_owned(), body.to_string())
            }
            "order" => {
                let host = payload["identifiers"][0]["value"].as_str();
                let host = host.unwrap_or_default().to_owned();
                self.note(format!("order {host}"));
                match fault {
                    Fault::NoAccount => (400, none(), problem("accountDoesNotExist")),
                    Fault::Orders => (500, none(), "oops".to_owned()),
                    Fault::Limited => {
                        let after = "Retry-After: 3600\r\n".to_owned();
                        (429, after, problem("rateLimited"))
                    }
                    Fault::Lines => {
                        let status = format!("x\n[forged] {}", "long ".repeat(10_000));
                        let body = json!({"status": status, "identifiers": [],
                            "authorizations": [], "finalize": url});
                        (201, location("o/0".to_owned()), body.to_string())
                    }
                    _ => {
                        let mut orders = self.orders.lock();
                        orders.push((host, None));
                        let number = orders.len() - 1;
                        drop(orders);
                        (201, location(format!("o/{number}")), self.order(number))
                    }
                }
            }
            "o" => (200, location(format!("o/{number}")), self.order(number)),
            "finalize" => {
                let csr = payload["csr"].as_str().unwrap_or_default();
                let issued = self.issue(fault, number, csr);
                self.orders.lock()[number].1 = Some(issued);
                (200, location(format!("o/{number}")), self.order(number))
            }
            "authorization" => {
                let host = &self.orders.lock()[number].0;
                let identifier = json!({"type": "dns", "value": host});
                let body = json!({"status": "valid", "identifier": identifier, "challenges": []});
                (200, none(), body.to_string())
            }
            "certificate" => {
                let issued = self.orders.lock()[number].1.clone();
                (200, none(), issued.unwrap_or_default())
            }
            _ => (404, none(), problem("malformed")),
        }
    }

    fn order(&self, number: usize) -> String {
        let (host, issued) = &self.orders.lock()[number];
        let at = |page: &str| format!("{}/{page}/{number}", self.url);
        let mut order = json!({
            "status": if issued.is_some() { "valid" } else { "ready" },
            "identifiers": [{"type": "dns", "value": host}],
            "authorizations": [at("authorization")],
            "finalize": at("finalize"),
        });
        if issued.is_some() {
            order["certificate"] = json!(at("certificate"));
        }
        order.to_string()
    }

    fn issue(&self, fault: Fault, number: usize, csr: &str) -> String {
        let der = URL_SAFE_NO_PAD.decode(csr).expect("base64url");
        let (_, request) = X509CertificationRequest::from_der(&der).expect("a request");
        let info = &request.certification_request_info;
        let key = Requested(info.subject_pki.subject_public_key.data.to_vec());
        let mut names = vec![self.orders.lock()[number].0.clone()];
        if fault == Fault::MoreNames {
            names.push("bank.example".to_owned());
        }
        let mut params = CertificateParams::new(names).expect("parameters");
        let now = SystemTime::now();
        let (from, until) = match fault {
            Fault::Backwards => (now, now - 24 * HOUR),
            Fault::Expired => (now - 48 * HOUR, now - 24 * HOUR),
            Fault::Short => (now, now + Duration::from_secs(2)),
            _ => (now - HOUR, now + 24 * 90 * HOUR),
        };
        params.not_before = from.into();
        params.not_after = until.into();
        params.use_authority_key_identifier_extension = true;
        let issued = params.signed_by(&key, &self.issuer);
        issued.expect("a certificate").pem()
    }
}
