//! TLS with targets: certificate authorities and client certificates, by the configuration's names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{ALPN, HttpPeer};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::route::{Protocol, Target};

/// The authorities that vouch for targets, and what the proxy shows to them, in DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetTlsOptions {
    authorities: Vec<Vec<u8>>,
    identity: Option<(Vec<Vec<u8>>, Vec<u8>)>,
}

/// Why settings for TLS with targets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetTlsError {
    /// One of the authorities is no certificate.
    #[error("an authority is not an X.509 certificate")]
    Authority,
    /// The certificate that the proxy is to show is not valid.
    #[error("the certificate is not an X.509 certificate")]
    Certificate,
    /// The key of that certificate is not valid.
    #[error("the key is not a private key")]
    Key,
    /// The key belongs to another certificate.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// The certificate cannot be shown over TLS: it is of another version than 3 of X.509, say.
    #[error("the certificate cannot be used for TLS; it has to be of version 3 of X.509")]
    Unusable,
}

impl TargetTlsOptions {
    /// Settings with these authorities (the system's, if there are none), and with a certificate chain
    /// and its key to show to targets that ask.
    ///
    /// # Errors
    /// [`TargetTlsError`].
    pub fn new(
        authorities: Vec<Vec<u8>>,
        identity: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    ) -> Result<Self, TargetTlsError> {
        // Pingora panics over what cannot be parsed.
        let is_certificate = |der: &Vec<u8>| X509Certificate::from_der(der).is_ok();
        let mut roots = RootCertStore::empty();
        let mut is_authority = |der: &Vec<u8>| roots.add(der.clone().into()).is_ok();
        let mut all = authorities.iter();
        if !all.all(|der| is_certificate(der) && is_authority(der)) {
            return Err(TargetTlsError::Authority);
        }
        if let Some((chain, key)) = &identity {
            if chain.is_empty() || !chain.iter().all(is_certificate) {
                return Err(TargetTlsError::Certificate);
            }
            check_pair(chain, key)?;
        }
        Ok(Self {
            authorities,
            identity,
        })
    }
}

/// Refuses a certificate that rustls would not show.
fn check_pair(chain: &[Vec<u8>], key: &[u8]) -> Result<(), TargetTlsError> {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|_not_der| TargetTlsError::Key)?;
    let provider = CryptoProvider::get_default()
        .map_or_else(|| Arc::new(ring::default_provider()), Arc::clone);
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TargetTlsError::Mismatch),
        Err(rustls::Error::InvalidCertificate(_)) => Err(TargetTlsError::Unusable),
        Err(_) => Err(TargetTlsError::Key),
    }
}

impl TargetTlsOptions {
    /// The authorities, in DER; none for the system's.
    pub(super) fn authorities(&self) -> &[Vec<u8>] {
        &self.authorities
    }

    /// The certificate chain and its key, in DER.
    pub(super) fn identity(&self) -> Option<(&[Vec<u8>], &[u8])> {
        let (chain, key) = self.identity.as_ref()?;
        Some((chain, key))
    }
}

/// The settings by their names, as Pingora takes them.
#[derive(Default)]
pub(super) struct Profiles(HashMap<String, Profile>);

struct Profile {
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
}

impl Profiles {
    pub(super) fn new(options: &BTreeMap<String, TargetTlsOptions>) -> Self {
        let profile = |options: &TargetTlsOptions| {
            let wrapped = |der: &Vec<u8>| WrappedX509::new(der.clone(), parse_x509);
            let authorities: Vec<WrappedX509> = options.authorities.iter().map(wrapped).collect();
            let identity = options.identity.clone();
            Profile {
                authorities: (!authorities.is_empty()).then(|| authorities.into()),
                identity: identity.map(|(chain, key)| Arc::new(CertKey::new(chain, key))),
            }
        };
        let named =
            |(name, options): (&String, &TargetTlsOptions)| (name.clone(), profile(options));
        Self(options.iter().map(named).collect())
    }

    /// Has the peer speak as the target wants it to. The names of its certificate are always verified;
    /// what is unknown here, which registration refuses, is never connected to without its settings.
    pub(super) fn apply(&self, target: &Target, peer: &mut HttpPeer) -> Option<()> {
        peer.options.alpn = match (target.protocol, &target.tls) {
            (Protocol::Http1, _) | (Protocol::Auto, None) => ALPN::H1,
            (Protocol::H2 | Protocol::H2c, _) => ALPN::H2,
            (Protocol::Auto, Some(_)) => ALPN::H2H1,
        };
        let Some(profile) = target.tls.as_ref().and_then(|tls| tls.profile.as_deref()) else {
            return Some(());
        };
        let profile = self.0.get(profile)?;
        peer.options.ca.clone_from(&profile.authorities);
        peer.client_cert_key.clone_from(&profile.identity);
        Some(())
    }
}
