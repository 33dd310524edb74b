//! rustls's configuration of a listener.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use super::authorities::Authorities;
use super::certificates::{ACME_TLS, Certificates};
use super::provider::provider;

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246), and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    Tls13,
}

/// Whether clients show certificates of their own.
#[derive(Clone, Debug, Default)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that shows none is served too, one that shows a wrong one is not.
    Optional(Authorities),
    /// Without one, the handshake ends with an alert.
    Require(Authorities),
}

/// The options of a listener's TLS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The oldest version; TLS 1.2 by default.
    pub min_version: MinVersion,
    /// The protocols of the application, the preferred one first (ALPN, RFC 7301); `h2`,
    /// `http/1.1` and `http/1.0` by default. A client that offers some, and none of these, gets an alert; one that
    /// offers none is served.
    pub alpn: Vec<Vec<u8>>,
    /// Whether clients show certificates; by default they are not asked.
    pub client_auth: ClientAuth,
    /// Whether challenges of TLS-ALPN-01 are answered (RFC 8737); by default they are not. A
    /// connection for which `acme-tls/1` is negotiated is to be closed after the handshake.
    pub challenges: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            min_version: MinVersion::default(),
            alpn: [&b"h2"[..], b"http/1.1", b"http/1.0"]
                .map(<[u8]>::to_vec)
                .to_vec(),
            client_auth: ClientAuth::default(),
            challenges: false,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerConfigError {
    /// The authorities of client certificates are of no use.
    #[error("client certificates cannot be checked: {0}")]
    ClientAuth(#[from] VerifierBuilderError),
    /// rustls refuses it; also when the system has no random numbers for the keys of tickets.
    #[error("TLS cannot be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A listener's configuration. Sessions are resumed by tickets, which hold for 6 to 12 hours: their
/// keys are in memory and change every 6 hours. A resumed session keeps the client certificate that
/// it began with, unchecked, so two listeners with different [`ClientAuth`] must not share a
/// configuration, and a change of the authorities holds for everybody after 12 hours.
///
/// All workers of a listener share one, so that a session can be resumed at any of them.
///
/// # Errors
/// [`ServerConfigError`].
pub fn server_config(
    options: &ServerOptions,
    certificates: Arc<Certificates>,
) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let versions: &[&SupportedProtocolVersion] = match options.min_version {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier(&options.client_auth)?)
        .with_cert_resolver(certificates);
    config.alpn_protocols.clone_from(&options.alpn);
    if options.challenges {
        config.alpn_protocols.push(ACME_TLS.to_vec());
    }
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn verifier(client_auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let builder = |authorities: &Authorities| {
        WebPkiClientVerifier::builder_with_provider(authorities.roots(), provider())
    };
    match client_auth {
        ClientAuth::Off => Ok(WebPkiClientVerifier::no_client_auth()),
        ClientAuth::Optional(authorities) => builder(authorities).allow_unauthenticated().build(),
        ClientAuth::Require(authorities) => builder(authorities).build(),
    }
}
