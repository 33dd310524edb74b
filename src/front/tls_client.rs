//! Who is at the other end of a TLS connection, and what origins are told about it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{RelativeDistinguishedName, X509Name};

/// The certificate itself (RFC 9440, 2.2).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// Whom it is for: the distinguished name.
const SUBJECT: HeaderName = HeaderName::from_static("x-client-cert-subject");
/// Who issued it: the distinguished name.
const ISSUER: HeaderName = HeaderName::from_static("x-client-cert-issuer");
/// The number that the issuer gave it, in hexadecimal pairs with colons between them.
const SERIAL: HeaderName = HeaderName::from_static("x-client-cert-serial");
/// Its alternative names, each with its kind: `DNS:a.example,URI:spiffe://a/b`.
const NAMES: HeaderName = HeaderName::from_static("x-client-cert-san");
/// The SHA-256 of its bytes, hexadecimal.
const FINGERPRINT: HeaderName = HeaderName::from_static("x-client-cert-sha256");

/// The characters that are percent-encoded in the simple fields, besides those outside ASCII: the ones that
/// would end a value, or a name in a list of names.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');
const ENCODED_IN_LIST: &AsciiSet = &ENCODED.add(b',').add(b' ');

/// Who is at the other end of a TLS connection, kept in its digest's extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsClient {
    /// The server name that the client asked for (RFC 6066, 3), if it named one.
    pub server_name: Option<String>,
    /// The client's certificate, in DER, if it has shown one that was verified.
    pub certificate: Option<Vec<u8>>,
    /// The fields that tell upstreams about the certificate, written once for all of the connection's
    /// requests.
    identity: Vec<(HeaderName, HeaderValue)>,
}

impl TlsClient {
    pub(super) fn new(server_name: Option<&str>, certificate: Option<&[u8]>) -> Self {
        Self {
            server_name: server_name.map(str::to_owned),
            certificate: certificate.map(<[u8]>::to_vec),
            identity: certificate.map(identity).unwrap_or_default(),
        }
    }

    /// The fields that tell origins about the certificate; none without one.
    pub(crate) fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }
}

/// The fields that tell origins about a certificate, whose bytes are `der`.
fn identity(der: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let mut texts = vec![(CLIENT_CERT, format!(":{}:", STANDARD.encode(der)))];
    texts.push((FINGERPRINT, HEXLOWER.encode(&Sha256::digest(der))));
    // rustls has verified it, so it can be read.
    if let Ok((_, certificate)) = X509Certificate::from_der(der) {
        texts.push((SUBJECT, distinguished_name(certificate.subject())));
        texts.push((ISSUER, distinguished_name(certificate.issuer())));
        texts.push((SERIAL, certificate.raw_serial_as_string()));
        let names = names(&certificate);
        if !names.is_empty() {
            texts.push((NAMES, names.join(",")));
        }
    }
    let fields = texts.into_iter().filter_map(|(name, text)| {
        // Every text is visible ASCII by now.
        HeaderValue::try_from(text).ok().map(|value| (name, value))
    });
    fields.collect()
}

/// A distinguished name as RFC 4514 has it: the last part first, and what would end a value behind a
/// backslash; percent-encoded as a field needs it.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name.iter_rdn().map(relative_name).collect();
    parts.reverse();
    utf8_percent_encode(&parts.join(","), ENCODED).to_string()
}

fn relative_name(part: &RelativeDistinguishedName<'_>) -> String {
    let attributes = part.iter().map(|attribute| {
        let oid = attribute.attr_type();
        let name = oid2abbrev(oid, oid_registry())
            .map_or_else(|_unnamed| oid.to_id_string(), str::to_owned);
        let value = match attribute.as_str() {
            Ok(text) => escaped(text),
            // In hexadecimal (RFC 4514, 2.4).
            Err(_no_text) => format!("#{}", HEXLOWER.encode(attribute.as_slice())),
        };
        format!("{name}={value}")
    });
    attributes.collect::<Vec<_>>().join("+")
}

/// A value with a backslash before what is a sign of its own (RFC 4514, 2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        let is_sign = matches!(char, '"' | '+' | ',' | ';' | '<' | '>' | '=' | '\\')
            || (index == 0 && matches!(char, ' ' | '#'))
            || (index == last && char == ' ');
        if is_sign {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

/// The alternative names (RFC 5280, 4.2.1.6) of the kinds that name somebody.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED_IN_LIST).to_string();
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(format!("DNS:{}", encoded(name))),
        GeneralName::URI(uri) => Some(format!("URI:{}", encoded(uri))),
        GeneralName::RFC822Name(mail) => Some(format!("email:{}", encoded(mail))),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| format!("IP:{address}")),
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(shown)
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::route::is_guarded_field;

    #[test]
    fn a_certificate_is_told_field_by_field() {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "Ann%, \u{e4}\r\nX: y");
        let uri = "spiffe://a/b,DNS:evil".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let address = "192.0.2.1".parse().unwrap();
        params.subject_alt_names.push(SanType::IpAddress(address));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let client = TlsClient::new(Some("a.test"), Some(certificate.der()));
        let field = |name: HeaderName| {
            let found = client.identity().iter().find(|(own, _)| *own == name);
            found.unwrap().1.to_str().unwrap().to_owned()
        };
        let encoded = STANDARD.encode(certificate.der());
        assert_eq!(field(CLIENT_CERT), format!(":{encoded}:"));
        assert_eq!(field(FINGERPRINT).len(), 64);
        let subject = field(SUBJECT);
        assert!(
            subject.contains("CN=Ann%25\\, %C3%A4%0D%0AX: y"),
            "{subject}"
        );
        assert_eq!(
            field(NAMES),
            "DNS:a.test,URI:spiffe://a/b%2CDNS:evil,IP:192.0.2.1"
        );
        assert!(
            field(SERIAL)
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':')
        );
        for (name, _) in client.identity() {
            assert!(is_guarded_field(name.as_str()), "{name}");
        }
        assert!(TlsClient::new(None, None).identity().is_empty());
    }

    #[test]
    fn nobody_writes_another_name_into_his_own() {
        for (value, expected) in [
            ("bob", "bob"),
            ("bob, O=Admins", "bob\\, O\\=Admins"),
            (" #a ", "\\ #a\\ "),
            ("#a", "\\#a"),
            ("a+b<c>\"d\";e\\", "a\\+b\\<c\\>\\\"d\\\"\\;e\\\\"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }
}
