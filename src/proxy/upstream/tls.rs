//! TLS with upstreams: one configuration of rustls for each of the settings that routes name, made once.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

use log::{error, warn};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{CertificateError, ClientConfig, KeyLogFile, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::proxy::options::GatewayOptions;
use crate::proxy::target_tls::TargetTlsOptions;
use crate::route::{Protocol, TargetTls};

/// The protocols that an upstream is offered (RFC 7301).
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// The server's settings for TLS with upstreams.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct ClientTls {
    /// A file of authorities in place of the system's.
    pub(in crate::proxy) ca_file: Option<String>,
    /// Whether keys are written to the file that `SSLKEYLOGFILE` names.
    pub(in crate::proxy) logs_keys: bool,
}

/// The configurations by the names that registrations give; without a name, the system's authorities.
pub(in crate::proxy) struct Profiles {
    /// Made with the first connection that needs it: reading the system's authorities takes a while.
    default: OnceLock<Option<Offers>>,
    named: HashMap<String, Option<Offers>>,
    options: ClientTls,
}

/// One configuration, in the three ways in which it offers protocols.
struct Offers {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
}

impl Profiles {
    pub(in crate::proxy) fn new(gateway: &GatewayOptions, options: ClientTls) -> Self {
        let named = gateway.target_tls.iter().map(|(name, tls)| {
            let offers = Offers::of(tls, &options)
                .inspect_err(|error| error!("targets.tls: {name} cannot be used: {error}"));
            (name.clone(), offers.ok())
        });
        Self {
            named: named.collect(),
            default: OnceLock::new(),
            options,
        }
    }

    /// Secures a connection, whose server has to show a certificate for the target's name.
    pub(in crate::proxy) async fn secure<S>(
        &self,
        tls: &TargetTls,
        protocol: Protocol,
        stream: S,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(offers) = self.offers(tls) else {
            return Err(io::Error::other(
                "its settings for TLS are missing or wrong",
            ));
        };
        let config = match protocol {
            Protocol::Http1 => &offers.http1,
            Protocol::H2 | Protocol::H2c => &offers.http2,
            Protocol::Auto => &offers.both,
        };
        let name = ServerName::try_from(tls.server_name.to_string()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(config));
        connector.connect(name, stream).await.map_err(in_words)
    }

    fn offers(&self, tls: &TargetTls) -> Option<&Offers> {
        let Some(name) = tls.profile.as_deref() else {
            let make = || {
                Offers::of(&TargetTlsOptions::default(), &self.options)
                    .inspect_err(|error| error!("no TLS with targets: {error}"))
                    .ok()
            };
            return self.default.get_or_init(make).as_ref();
        };
        self.named.get(name)?.as_ref()
    }
}

/// The error of a handshake, for the log: rustls names some of those that operators meet by its own types.
fn in_words(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) = inner else {
        return error;
    };
    let mut reason = other.0.to_string();
    if reason == "CaUsedAsEndEntity" {
        reason.push_str(", it is that of an authority (CA:TRUE), not of a server");
    }
    let text = format!("invalid peer certificate: {reason}");
    io::Error::new(error.kind(), text)
}

/// Whether a secured connection speaks HTTP/2.
pub(in crate::proxy) fn speaks_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

impl Offers {
    fn of(tls: &TargetTlsOptions, options: &ClientTls) -> io::Result<Self> {
        let provider = CryptoProvider::get_default()
            .map_or_else(|| Arc::new(ring::default_provider()), Arc::clone);
        let roots = Arc::new(roots(tls, options)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_webpki_verifier(verifier.build().map_err(io::Error::other)?);
        let mut config = match tls.identity() {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = chain.iter().cloned().map(CertificateDer::from).collect();
                let key = PrivateKeyDer::try_from(key.to_vec()).map_err(io::Error::other)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(io::Error::other)?
            }
        };
        if options.logs_keys {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http1: offering(&[HTTP1]),
            http2: offering(&[HTTP2]),
            both: offering(&[HTTP2, HTTP1]),
        })
    }
}

/// The authorities that are believed: those of the settings, else those of `ca_file`, else the system's.
fn roots(tls: &TargetTlsOptions, options: &ClientTls) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if !tls.authorities().is_empty() {
        for authority in tls.authorities() {
            roots
                .add(authority.clone().into())
                .map_err(io::Error::other)?;
        }
        return Ok(roots);
    }
    if let Some(path) = &options.ca_file {
        let named = |error| io::Error::other(format!("ca_file: {path}: {error}"));
        let certificates = CertificateDer::pem_file_iter(path).map_err(named)?;
        for certificate in certificates {
            let certificate = certificate.map_err(named)?;
            roots.add(certificate).map_err(io::Error::other)?;
        }
        return Ok(roots);
    }
    let (_, unusable) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs()?);
    if unusable > 0 {
        warn!("{unusable} of the system's authorities cannot be used");
    }
    Ok(roots)
}
