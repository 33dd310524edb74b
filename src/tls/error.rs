//! The errors of certificates, with their remedies.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

/// Which of the two is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The certificate, or its chain.
    Certificate,
    /// The private key.
    Key,
}

/// Why a certificate and a key are not a pair that can be used. A predicate of the file: `is not
/// PEM; ...`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PairError {
    /// Not text with PEM in it (RFC 7468).
    #[error("is not PEM{}", if *is_der { "; it looks like DER: convert it with `openssl x509 -inform der -in FILE`, or for a key `openssl pkey -inform der -in FILE`" } else { "; it has to have a line of -----BEGIN ...-----" })]
    NotPem {
        /// Which one.
        part: Part,
        /// Whether it looks like DER.
        is_der: bool,
    },
    /// PEM that is not complete, or wrong.
    #[error("is not valid PEM: {reason}; it may be half written: write it anew")]
    BrokenPem {
        /// Which one.
        part: Part,
        /// The problem.
        reason: String,
    },
    /// There is no certificate.
    #[error("has no certificate; it has to have a section of -----BEGIN CERTIFICATE-----")]
    NoCertificate,
    /// A certificate cannot be understood.
    #[error("has a certificate, number {number}, that cannot be read: {reason}; ask for a new one")]
    BadCertificate {
        /// Its number in the file, from 1.
        number: usize,
        /// The problem.
        reason: String,
    },
    /// There is no private key.
    #[error(
        "has no private key; it has to have a section of -----BEGIN PRIVATE KEY-----, or RSA or EC \
         PRIVATE KEY"
    )]
    NoKey,
    /// There is more than one private key.
    #[error("has {count} private keys; keep the certificate's own")]
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// The key has a password.
    #[error(
        "is encrypted, and nobody is there to type its password; decrypt it with `openssl pkey -in \
         FILE -out PLAIN`, and let the proxy's user alone read it"
    )]
    EncryptedKey,
    /// The key is of a kind that is not supported, or is broken.
    #[error(
        "has a private key that cannot be used: {reason}; use ECDSA on P-256, P-384 or P-521, \
         Ed25519, or RSA of 2048 to 8192 bits"
    )]
    UnusableKey {
        /// The problem.
        reason: String,
    },
    /// The key is not the certificate's.
    #[error("has a private key that is not the certificate's; give the two that belong together")]
    Mismatch,
    /// The certificate has expired.
    #[error("has a certificate that expired at {since}; ask for a new one")]
    Expired {
        /// When, as in RFC 3339.
        since: String,
    },
    /// The certificate is not valid yet.
    #[error("has a certificate that is valid from {from} on; check the clock, or wait")]
    NotYetValid {
        /// When, as in RFC 3339.
        from: String,
    },
}

impl PairError {
    /// Which of the two is at fault.
    #[must_use]
    pub fn part(&self) -> Part {
        match self {
            Self::NotPem { part, .. } | Self::BrokenPem { part, .. } => *part,
            Self::NoCertificate
            | Self::BadCertificate { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. } => Part::Certificate,
            Self::NoKey
            | Self::SeveralKeys { .. }
            | Self::EncryptedKey
            | Self::UnusableKey { .. }
            | Self::Mismatch => Part::Key,
        }
    }

    /// The reason for programs, in capitals.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPem { .. } | Self::BrokenPem { .. } => "NOT_PEM",
            Self::NoCertificate => "NO_CERTIFICATE",
            Self::BadCertificate { .. } => "INVALID_CERTIFICATE",
            Self::NoKey => "NO_KEY",
            Self::SeveralKeys { .. } => "SEVERAL_KEYS",
            Self::EncryptedKey => "ENCRYPTED_KEY",
            Self::UnusableKey { .. } => "INVALID_KEY",
            Self::Mismatch => "KEY_MISMATCH",
            Self::Expired { .. } => "CERTIFICATE_EXPIRED",
            Self::NotYetValid { .. } => "CERTIFICATE_NOT_YET_VALID",
        }
    }
}

/// Why a certificate cannot be loaded from its files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("certificate `{name}`: {}: cannot be read: {source}; {}", path.display(), remedy(source))]
    Unreadable {
        /// The certificate.
        name: Arc<str>,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The files are not a pair that can be used.
    #[error("certificate `{name}`: {} {problem}", path.display())]
    Unusable {
        /// The certificate.
        name: Arc<str>,
        /// The file at fault.
        path: PathBuf,
        /// The problem.
        problem: PairError,
    },
    /// Something is wrong with the certificate's entry.
    #[error("certificate `{name}`: {problem}")]
    Entry {
        /// The certificate.
        name: Arc<str>,
        /// The problem.
        problem: String,
    },
}

impl LoadError {
    /// The file at fault, if one is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. } | Self::Unusable { path, .. } => Some(path),
            Self::Entry { .. } => None,
        }
    }
}

pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "let the proxy's user read it",
        io::ErrorKind::IsADirectory => "name the file in it",
        _ => "see what the system says",
    }
}

/// Why the folder of certificates cannot be used.
#[derive(Debug, Error)]
#[error("{}: cannot {what}: {source}", path.display())]
#[non_exhaustive]
pub struct StoreError {
    /// The file or folder.
    pub path: PathBuf,
    /// The action that has failed, such as `write the file`.
    pub what: &'static str,
    /// The system's error.
    pub source: io::Error,
}

impl StoreError {
    /// Whether the disk, the quota or the file's largest size is exhausted.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind as E;
        matches!(
            self.source.kind(),
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge
        )
    }
}

/// Why a certificate is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The name cannot be one.
    #[error(
        "a certificate's name has 1 to 64 letters, digits and any of - _ . and begins with a letter \
         or digit"
    )]
    Name,
    /// The two are not a pair that can be used.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// The certificate is the configuration's.
    #[error(
        "the certificate `{0}` is from the configuration; change its files, which are read again, or \
         choose another name"
    )]
    Configured(Arc<str>),
    /// Another certificate, of the configuration, is the default.
    #[error("the default is `{0}`, from the configuration; take `default` out of one of the two")]
    DefaultConfigured(Arc<str>),
    /// Whoever gave it may not.
    #[error("this certificate is not theirs to give")]
    Forbidden,
    /// Another process has taken over.
    #[error("another process has taken over; try again")]
    Closed,
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a certificate is not removed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// There is none of this name.
    #[error("there is no certificate `{0}`")]
    Unknown(Box<str>),
    /// The certificate is the configuration's.
    #[error("the certificate `{0}` is from the configuration; remove it there, and start again")]
    Configured(Arc<str>),
    /// Whoever asks may not.
    #[error("this certificate is not theirs to remove")]
    Forbidden,
    /// Another process has taken over.
    #[error("another process has taken over; try again")]
    Closed,
    /// It cannot be removed from the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}
