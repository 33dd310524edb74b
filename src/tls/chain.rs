//! The order of a chain: the certificate first, then each one's issuer (RFC 5246, 7.4.2).

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::PairError;

/// A certificate of a chain, and what it says.
pub(super) struct Link<'a> {
    pub(super) der: &'a CertificateDer<'static>,
    pub(super) parsed: X509Certificate<'a>,
}

impl Link<'_> {
    fn is_issued_by(&self, other: &Link<'_>) -> bool {
        self.parsed.issuer().as_raw() == other.parsed.subject().as_raw()
    }

    fn public_key(&self) -> &[u8] {
        self.parsed.public_key().raw
    }
}

/// Reads the certificates of a chain.
pub(super) fn read<'a>(chain: &'a [CertificateDer<'static>]) -> Result<Vec<Link<'a>>, PairError> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| {
        let bad = |reason: String| PairError::BadCertificate {
            number: index + 1,
            reason,
        };
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| bad(error.to_string()))?;
        if !rest.is_empty() {
            return Err(bad("it goes on behind its end".to_owned()));
        }
        Ok(Link { der, parsed })
    };
    chain.iter().enumerate().map(parse).collect()
}

/// Puts a chain into order, from the certificate with this public key (a `SubjectPublicKeyInfo`) on,
/// and says what was not right about it. Without a key it begins as it did.
pub(super) fn order<'a>(
    links: Vec<Link<'a>>,
    public_key: Option<&[u8]>,
) -> Result<(Vec<Link<'a>>, Vec<String>), PairError> {
    let mut warnings = Vec::new();
    let mut rest: Vec<Link<'a>> = Vec::with_capacity(links.len());
    for link in links {
        if rest.iter().any(|other| other.der == link.der) {
            warnings.push("a certificate is in its file twice; it is used once".to_owned());
        } else {
            rest.push(link);
        }
    }
    let own = match public_key {
        None => Some(0),
        Some(key) => rest.iter().position(|link| link.public_key() == key),
    };
    let own = own
        .filter(|own| *own < rest.len())
        .ok_or(PairError::Mismatch)?;
    let mut is_ordered = own == 0;
    let mut chain = vec![rest.remove(own)];
    while let Some(last) = chain.last()
        && !last.is_issued_by(last)
        && let Some(issuer) = rest.iter().position(|link| last.is_issued_by(link))
    {
        is_ordered &= issuer == 0;
        chain.push(rest.remove(issuer));
    }
    if !is_ordered {
        let warning = "the certificates of its chain are not in order, each before its issuer; they \
                       are put into it";
        warnings.push(warning.to_owned());
    }
    for link in rest {
        let subject = link.parsed.subject().to_string();
        warnings.push(format!(
            "{} is in its file, but not part of its chain; it is left out",
            subject.escape_debug()
        ));
    }
    Ok((chain, warnings))
}
