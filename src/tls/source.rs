//! The sources of certificates: files of the configuration, the control API, or an authority.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a certificate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Files that the configuration names; they are read again when they change.
    File,
    /// The control API.
    Api,
    /// A certificate authority that was asked for it (RFC 8555).
    Acme,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Api => "api",
            Self::Acme => "acme",
        })
    }
}

/// A certificate of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`, a letter or digit first.
    pub name: String,
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1; it may be in the certificate's file.
    pub key: PathBuf,
    /// Whether it serves clients that no other certificate is for.
    pub default: bool,
}

/// A certificate that is given, to be taken under a name.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The certificate and its chain, PEM.
    pub certificate: &'a str,
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: &'a str,
    /// Whether it is to serve clients that no other certificate is for.
    pub default: bool,
    /// Where it is from.
    pub source: Source,
}
