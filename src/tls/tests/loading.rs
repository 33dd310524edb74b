//! Reading files, and the errors of those that cannot be read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::pair::Pair;
use super::super::provider;
use super::super::testing::{Authority, DAY, Identity, Wanted, pair};
use super::super::{Certificates, LoadError, PairError, Part, Pattern};
use super::*;

fn problem(files: &Files) -> PairError {
    match Certificates::load([files.entry("a")]).unwrap_err() {
        LoadError::Unusable { path, problem, .. } => {
            let expected = match problem.part() {
                Part::Certificate => "a.crt",
                Part::Key => "a.key",
            };
            assert_eq!(path, files.path(expected), "{problem}");
            problem
        }
        error => panic!("{error}"),
    }
}

/// The problem of a certificate file and a key file with these texts.
fn of(certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> PairError {
    let files = Files::new();
    files.write("a.crt", certificate);
    files.write("a.key", key);
    problem(&files)
}

#[test]
fn a_pair_says_what_it_is() {
    let files = Files::new();
    let wanted = Wanted {
        names: &["Example.com", "*.example.com", "192.0.2.1"],
        ..Wanted::default()
    };
    files.put("a", &wanted.make());
    let certificates = Certificates::load([files.entry("a")]).unwrap();
    let stored = certificates.get("a").unwrap();
    assert_eq!((stored.default, stored.failures), (false, 0));
    assert_eq!(stored.source.to_string(), "file");
    let details = stored.details.unwrap();
    let names = ["example.com", "*.example.com"].map(|name| Pattern::parse(name).unwrap());
    assert_eq!(details.names, names);
    assert_eq!(details.issuer, "CN=Example.com");
    assert_eq!(details.fingerprint.len(), 64);
    assert!(details.serial.contains(':'));
    let distance = wanted.until.duration_since(details.not_after).unwrap();
    assert!(distance.as_secs() < 1, "{distance:?}");
    assert!(certificates.get("b").is_none());
}

#[test]
fn every_kind_and_format_of_key_is_read() {
    for algorithm in [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
        &PKCS_RSA_SHA256,
    ] {
        let wanted = Wanted {
            algorithm,
            ..Wanted::default()
        };
        pair(&wanted.make());
    }
    // PKCS#8 wraps a SEC1 or PKCS#1 key as its last octet string.
    for (algorithm, label, begins) in [
        (&PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY", &[2, 1, 1][..]),
        (&PKCS_RSA_SHA256, "RSA PRIVATE KEY", &[2, 1, 0]),
    ] {
        let identity = Wanted {
            algorithm,
            ..Wanted::default()
        }
        .make();
        let der = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let der = der.secret_der();
        let start = (8..der.len())
            .find(|start| {
                let tail = &der[*start..];
                tail[0] == 0x30
                    && header(tail)
                        .is_some_and(|(h, all)| all == tail.len() && tail[h..].starts_with(begins))
            })
            .unwrap();
        let key = pem(label, &der[start..]);
        pair(&Identity { key, ..identity });
    }
}

/// The lengths of a DER value's head and of the whole.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some((2, 2 + first));
    }
    let digits = first & 0x7f;
    let length = der.get(2..2 + digits)?;
    let length = length.iter().try_fold(0usize, |sum, byte| {
        sum.checked_mul(256)?.checked_add((*byte).into())
    })?;
    Some((2 + digits, 2 + digits + length))
}

fn pem(label: &str, der: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in der.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| {
            bits << 8 | u32::from(group.get(i).copied().unwrap_or(0))
        });
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= group.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn a_key_may_stand_in_the_certificates_file() {
    let files = Files::new();
    let Identity { certificate, key } = Identity::shared();
    files.write("a.crt", format!("{key}{certificate}"));
    let mut entry = files.entry("a");
    entry.key = entry.certificate.clone();
    Certificates::load([entry]).unwrap();
}

#[test]
fn what_stands_around_the_pem_does_not_matter() {
    let Identity { certificate, key } = Identity::shared();
    let parameters = pem("EC PARAMETERS", b"nonsense");
    for (certificate, key) in [
        (format!("\u{feff}{certificate}"), format!("\u{feff}{key}")),
        (certificate.replace('\n', "\r\n"), key.replace('\n', "\r\n")),
        (
            format!("Issuer: somebody\n\n{certificate}\nend"),
            format!("{parameters}{key}"),
        ),
    ] {
        pair(&Identity { certificate, key });
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let Identity { certificate, key } = Identity::shared();
    let other = Identity::of(&["localhost"]);
    assert_eq!(of(certificate, &other.key), PairError::Mismatch);
    assert_eq!(of(key, key), PairError::NoCertificate);
    assert_eq!(of(certificate, certificate), PairError::NoKey);
    assert_eq!(
        of(certificate, format!("{key}{}", other.key)),
        PairError::SeveralKeys { count: 2 }
    );
    for (text, is_der) in [
        (&b""[..], false),
        (b"hello", false),
        (b"\x30\x82\x01", true),
    ] {
        let part = Part::Certificate;
        assert_eq!(of(text, key), PairError::NotPem { part, is_der });
        let part = Part::Key;
        assert_eq!(of(certificate, text), PairError::NotPem { part, is_der });
    }
    let half = |text: &str| text[..text.len() / 2].to_owned();
    assert!(matches!(
        of(half(certificate), key),
        PairError::BrokenPem { .. }
    ));
    assert!(matches!(
        of(certificate, half(key)),
        PairError::BrokenPem { .. }
    ));
    assert!(matches!(
        of(pem("CERTIFICATE", b"nonsense"), key),
        PairError::BadCertificate { number: 1, .. }
    ));
    assert!(matches!(
        of(certificate, pem("PRIVATE KEY", b"nonsense")),
        PairError::UnusableKey { .. }
    ));
}

#[test]
fn an_encrypted_key_is_told_how_to_be_decrypted() {
    let certificate = &Identity::shared().certificate;
    for key in [
        pem("ENCRYPTED PRIVATE KEY", b"nonsense"),
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n\
         AAAA\n-----END RSA PRIVATE KEY-----\n"
            .to_owned(),
    ] {
        let problem = of(certificate, key);
        assert_eq!(problem, PairError::EncryptedKey);
        assert!(problem.to_string().contains("openssl pkey"), "{problem}");
    }
}

#[test]
fn dates_are_looked_at() {
    let now = std::time::SystemTime::now();
    for (from, until, code) in [
        (now - 2 * DAY, now - DAY, "CERTIFICATE_EXPIRED"),
        (now + DAY, now + 2 * DAY, "CERTIFICATE_NOT_YET_VALID"),
    ] {
        let wanted = Wanted {
            from,
            until,
            ..Wanted::default()
        };
        let files = Files::new();
        files.put("a", &wanted.make());
        assert_eq!(problem(&files).code(), code);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_remedy() {
    let files = Files::new();
    let text = Certificates::load([files.entry("a")])
        .unwrap_err()
        .to_string();
    assert!(text.starts_with("certificate `a`: "), "{text}");
    assert!(
        text.contains("a.crt: cannot be read") && text.ends_with("check the path"),
        "{text}"
    );
    files.put("a", Identity::shared());
    fs::set_permissions(files.path("a.key"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything.
    if fs::read(files.path("a.key")).is_err() {
        let text = Certificates::load([files.entry("a")])
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("a.key") && text.ends_with("let the proxy's user read it"),
            "{text}"
        );
    }
}

#[test]
fn an_entry_that_cannot_be_is_refused() {
    let files = Files::new();
    files.put("a", Identity::shared());
    files.put("b", Identity::shared());
    for entries in [
        vec![files.entry("a"), files.entry("a")],
        vec![files.default("a"), files.default("b")],
        vec![files.entry(".a")],
        vec![files.entry("a/b")],
        vec![files.entry("")],
    ] {
        let error = Certificates::load(entries).unwrap_err();
        assert!(matches!(error, LoadError::Entry { .. }), "{error}");
    }
}

#[test]
fn a_chain_is_put_into_order_and_what_is_not_its_own_left_out() {
    let root = Authority::root("Root");
    let middle = root.intermediate("Middle");
    let low = middle.intermediate("Low");
    let leaf = low.issue(&Wanted::default());
    let stranger = Authority::root("Stranger");
    let own = &leaf.certificate;
    let lower = &low.certificate;
    let upper = &middle.certificate;
    let top = &root.certificate;
    let strange = &stranger.certificate;
    let read = |chain: &[&String]| {
        let certificate = chain.iter().map(|one| one.as_str()).collect();
        pair(&Identity {
            certificate,
            key: leaf.key.clone(),
        })
    };
    let expected = read(&[own, lower, upper, top]);
    assert!(expected.warnings.is_empty(), "{:?}", expected.warnings);
    assert!(read(&[own, lower, upper]).warnings.is_empty());
    for (chain, says) in [
        (vec![top, upper, lower, own], "in order"),
        (vec![own, upper, lower, top], "in order"),
        (vec![lower, own, upper, top], "in order"),
        (vec![own, lower, lower, upper, top], "twice"),
        (vec![own, lower, upper, top, strange], "CN=Stranger"),
        (vec![strange, own, lower, upper, top], "CN=Stranger"),
    ] {
        let pair = read(&chain);
        assert_eq!(pair.certified.cert, expected.certified.cert, "{says}");
        let is_said = pair.warnings.iter().any(|warning| warning.contains(says));
        assert!(is_said, "{:?}", pair.warnings);
    }
    // A link is missing: what is behind it is of no use.
    assert_eq!(read(&[own, upper, top]).certified.cert.len(), 1);
}

#[test]
fn a_certificate_without_a_name_is_warned_of() {
    let wanted = Wanted {
        names: &[],
        ..Wanted::default()
    };
    let warnings = pair(&wanted.make()).warnings;
    assert!(warnings[0].contains("no DNS name"), "{warnings:?}");
}

proptest! {
    /// Whatever becomes of the bytes of a certificate or a key, they are read or refused.
    #[test]
    fn damaged_bytes_are_read_or_refused(
        of_key in any::<bool>(),
        start in 0usize..1_000,
        length in 0usize..8,
        inserted in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let Identity { certificate, key } = Identity::shared();
        let damage = |der: &[u8]| {
            let start = start.min(der.len());
            let end = (start + length).min(der.len());
            [&der[..start], &inserted, &der[end..]].concat()
        };
        let parsed = if of_key {
            let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            let key = pem("PRIVATE KEY", &damage(der.secret_der()));
            Pair::parse(certificate.as_bytes(), key.as_bytes(), &provider())
        } else {
            let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let certificate = pem("CERTIFICATE", &damage(&der));
            Pair::parse(certificate.as_bytes(), key.as_bytes(), &provider())
        };
        match parsed {
            Ok(pair) => prop_assert!(!pair.details.fingerprint.is_empty()),
            Err(problem) => prop_assert!(!problem.to_string().is_empty()),
        }
    }
}
