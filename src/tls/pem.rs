//! PEM (RFC 7468): the certificates of a text, and its private key.

use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{PairError, Part};

/// The marks of a private key with a password: those of PKCS#8, and of the older formats.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// The certificates of a text, at least one, in its order.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let certificates: Vec<_> = sections(text, Part::Certificate)?
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if certificates.is_empty() {
        return Err(PairError::NoCertificate);
    }
    Ok(certificates)
}

/// The one private key of a text: PKCS#8, PKCS#1 or SEC1.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    if ENCRYPTED.iter().any(|mark| contains(text, mark)) {
        return Err(PairError::EncryptedKey);
    }
    let mut keys: Vec<_> = sections(text, Part::Key)?
        .into_iter()
        .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
        .collect();
    match (keys.pop(), keys.len()) {
        (None, _) => Err(PairError::NoKey),
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(PairError::SeveralKeys { count: others + 1 }),
    }
}

fn sections(text: &[u8], part: Part) -> Result<Vec<(SectionKind, Vec<u8>)>, PairError> {
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if !contains(text, b"-----BEGIN ") {
        // A DER certificate or key is a sequence, which begins so.
        let is_der = text.first() == Some(&0x30);
        return Err(PairError::NotPem { part, is_der });
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| PairError::BrokenPem {
            part,
            reason: reason(&error),
        })
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            format!("a section does not end with {}", marker.escape_debug())
        }
        pem::Error::IllegalSectionStart { .. } => "a line of -----BEGIN is not one".to_owned(),
        pem::Error::Base64Decode(error) => error.clone(),
        error => error.to_string(),
    }
}

fn contains(text: &[u8], mark: &[u8]) -> bool {
    memchr::memmem::find(text, mark).is_some()
}
