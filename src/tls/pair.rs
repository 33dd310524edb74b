//! A certificate with its chain and its key, checked.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use x509_parser::x509::X509Version;

use super::details::Details;
use super::error::PairError;
use super::{chain, pem};

/// A certificate that a handshake can use.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) details: Arc<Details>,
    /// The problems that do not keep the pair from being used.
    pub(super) warnings: Vec<String>,
}

impl Pair {
    /// Reads a chain and a key, both PEM. Its dates are not looked at.
    pub(super) fn parse(
        certificate: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, PairError> {
        let unusable = |error: rustls::Error| PairError::UnusableKey {
            reason: match error {
                rustls::Error::General(reason) => reason,
                error => error.to_string(),
            },
        };
        let certificates = pem::certificates(certificate)?;
        let key = pem::key(key)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(unusable)?;
        let links = chain::read(&certificates)?;
        let public_key = key.public_key();
        let (links, mut warnings) = chain::order(links, public_key.as_deref())?;
        let own = links.first().ok_or(PairError::NoCertificate)?;
        let details = Details::of(own.der, &own.parsed);
        if details.names.is_empty() {
            let warning = "it has no DNS name (subject alternative name): no client can ask for it \
                           by name";
            warnings.push(warning.to_owned());
        }
        let chain = links.iter().map(|link| link.der.clone()).collect();
        let certified = CertifiedKey::new(chain, key);
        // rustls is stricter than the reader above, and would find it out in a handshake.
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(PairError::Mismatch),
            Err(error) => {
                let reason = if own.parsed.version() == X509Version::V3 {
                    error.to_string()
                } else {
                    "it is of an old version of X.509, and version 3 is needed".to_owned()
                };
                let number = certificates.iter().position(|der| der == own.der);
                return Err(PairError::BadCertificate {
                    number: number.map_or(1, |index| index + 1),
                    reason,
                });
            }
        }
        Ok(Self {
            certified: Arc::new(certified),
            details: Arc::new(details),
            warnings,
        })
    }
}
