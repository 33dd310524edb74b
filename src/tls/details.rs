//! The details of a certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::error::PairError;
use super::pair::Pair;
use super::pattern::Pattern;
use super::provider::provider;

/// The content of a certificate. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The DNS names that it is for, among its subject alternative names.
    pub names: Vec<Pattern>,
    /// Whom it is for (RFC 4514, as far as it can be shown).
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The number that the issuer gave it: hexadecimal, in pairs with colons between them.
    pub serial: String,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
}

impl Details {
    /// Reads what a certificate, whose bytes are `der`, says.
    pub(super) fn of(der: &[u8], certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self {
            names: names(certificate),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
            fingerprint: HEXLOWER.encode(&Sha256::digest(der)),
        }
    }

    /// Reads the details of a certificate from its chain and its key, both PEM. Its dates are not checked.
    ///
    /// # Errors
    /// [`PairError`]: the two could not be used.
    pub fn of_pair(certificate: &str, key: &str) -> Result<Arc<Self>, PairError> {
        let pair = Pair::parse(certificate.as_bytes(), key.as_bytes(), &provider())?;
        Ok(pair.details)
    }

    /// Reads the details of a certificate from its DER; `None` if these bytes are no certificate.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_rest, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self::of(der, &certificate))
    }

    /// Refuses a certificate that is not valid at a moment.
    ///
    /// # Errors
    /// [`PairError::Expired`], [`PairError::NotYetValid`].
    pub fn check(&self, now: SystemTime) -> Result<(), PairError> {
        if now > self.not_after {
            let since = shown(self.not_after);
            return Err(PairError::Expired { since });
        }
        if now < self.not_before {
            let from = shown(self.not_before);
            return Err(PairError::NotYetValid { from });
        }
        Ok(())
    }
}

/// A moment as in RFC 3339.
fn shown(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The DNS names. Those that are not valid, and the other kinds, which nobody can ask for by SNI, are left
/// out.
fn names(certificate: &X509Certificate<'_>) -> Vec<Pattern> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names: Vec<Pattern> = Vec::new();
    for name in &extension.value.general_names {
        if let GeneralName::DNSName(name) = name
            && let Some(pattern) = Pattern::parse(name)
            && !names.contains(&pattern)
        {
            names.push(pattern);
        }
    }
    names
}

/// A moment; what cannot be one is the epoch, long before anything is valid.
fn time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let moment = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    // What is shown ends with the year 9999, and so does X.509 (RFC 5280, 4.1.2.5).
    moment.filter(|_| seconds >= 0).unwrap_or(UNIX_EPOCH)
}
