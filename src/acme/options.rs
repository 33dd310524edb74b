//! The options of ACME.

use std::fmt;
use std::path::PathBuf;

use crate::route::HostPattern;
use crate::tls::Authorities;

/// How a certificate authority can be shown that a host is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// A file at port 80 (RFC 8555, 8.3).
    Http01,
    /// A certificate at port 443 (RFC 8737).
    TlsAlpn01,
}

/// An external account binding: the key of an account that the authority knows already (RFC 8555, 7.3.4).
#[derive(Clone)]
pub struct Binding {
    /// The name of the key.
    pub key_id: String,
    /// The key of the HMAC.
    pub key: Vec<u8>,
}

/// The key is secret.
impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The options of ACME.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The URL of the authority's directory: `https`.
    pub directory: String,
    /// Whom to trust, besides the system's authorities, as the directory's server.
    pub authorities: Option<Authorities>,
    /// How the authority reaches the operator: `mailto:` URLs.
    pub contact: Vec<String>,
    /// The hosts that are to have certificates.
    pub hosts: Vec<String>,
    /// The hosts that get certificates once there is a route for them.
    pub registered_hosts: Vec<HostPattern>,
    /// The challenges that can be met, the preferred one first; after a failure the next one is tried.
    pub challenges: Vec<Challenge>,
    /// The account at the authority that ours belongs to.
    pub binding: Option<Binding>,
    /// Where account and certificates are kept.
    pub folder: PathBuf,
}
