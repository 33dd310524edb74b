//! Certificates for tests, made when they run.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    SignatureAlgorithm,
};

use super::pair::Pair;
use super::provider::provider;
use super::source::{Given, Source};

pub(super) const DAY: Duration = Duration::from_hours(24);

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The properties of a certificate that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) names: &'a [&'a str],
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
    pub(super) algorithm: &'static SignatureAlgorithm,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        let now = SystemTime::now();
        Self {
            names: &["localhost"],
            from: now - DAY,
            until: now + 30 * DAY,
            algorithm: &PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl Wanted<'_> {
    fn params(&self) -> CertificateParams {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = self.from.into();
        params.not_after = self.until.into();
        let name = self.names.first().copied().unwrap_or("nobody");
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// One that vouches for itself.
    pub(super) fn make(&self) -> Identity {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let certificate = self.params().self_signed(&key).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// One for these names.
    pub(super) fn of(names: &[&str]) -> Self {
        Wanted {
            names,
            ..Wanted::default()
        }
        .make()
    }

    /// As it comes over the control API.
    pub(super) fn given(&self, default: bool) -> Given<'_> {
        Given {
            certificate: &self.certificate,
            key: &self.key,
            default,
            source: Source::Api,
        }
    }

    /// One that all tests have.
    pub(super) fn shared() -> &'static Self {
        static SHARED: OnceLock<Identity> = OnceLock::new();
        SHARED.get_or_init(|| Self::of(&["localhost"]))
    }
}

/// An identity as the table has it.
pub(super) fn pair(identity: &Identity) -> Pair {
    Pair::parse(
        identity.certificate.as_bytes(),
        identity.key.as_bytes(),
        &provider(),
    )
    .unwrap()
}

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: String,
}

impl Authority {
    /// One that vouches for itself.
    pub(super) fn root(name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// One below this.
    pub(super) fn intermediate(&self, name: &str) -> Self {
        let (params, key) = Self::params(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn params(name: &str) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    }

    /// An identity that this vouches for, without its chain.
    pub(super) fn issue(&self, wanted: &Wanted<'_>) -> Identity {
        let key = KeyPair::generate_for(wanted.algorithm).unwrap();
        let certificate = wanted.params().signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
