//! Why a registration is refused.

use thiserror::Error;

use super::{ChangeError, UnixSocketError};
use crate::route::{FieldError, SpecError, TtlError, bad_unix};

/// Why a registration is refused. Nothing has changed when one of these comes back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The caller is not on this machine, or cannot be told from somebody who is not.
    #[error("{reason}")]
    Forbidden {
        /// The rule that says so.
        reason: String,
    },
    /// A token is missing or wrong.
    #[error("{reason}")]
    Unauthenticated {
        /// The problem, and the credentials to send.
        reason: String,
    },
    /// Only `POST` registers.
    #[error("register with POST")]
    MethodNotAllowed,
    /// The object is not a registration.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The prefix belongs to the proxy.
    #[error("prefix: {prefix} is the path that apps register at; choose another")]
    Reserved {
        /// The prefix, normalised.
        prefix: String,
    },
    /// Health probes are answered at the prefix.
    #[error(
        "prefix: {prefix} is where the proxy answers health probes; choose another, or change `health` in the \
         proxy's configuration"
    )]
    ReservedForProbes {
        /// The prefix, normalised.
        prefix: String,
    },
    /// The target is outside what the configuration allows.
    #[error(
        "the target {target} is not on a loopback address; to allow it, put its address or name \
         into `targets.allow` of the proxy's configuration"
    )]
    TargetNotAllowed {
        /// The target as it was registered.
        target: String,
    },
    /// The target's name does not resolve.
    #[error("the target's host {host} does not resolve to an address: {reason}")]
    TargetUnresolved {
        /// The host.
        host: String,
        /// The resolver's error.
        reason: String,
    },
    /// The target is the proxy.
    #[error("the target {target} is this proxy itself; register where the app listens")]
    TargetIsProxy {
        /// The target as it was registered.
        target: String,
    },
    /// The length of a drain is not one.
    #[error("drain: {0}")]
    Ttl(#[from] TtlError),
    /// It was understood, but cannot be done.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The Unix socket is outside what the configuration allows.
    #[error(
        "the target unix:{path} is not allowed{} into `targets.allow` of the proxy's configuration",
        if *is_link {
            ", for it leads elsewhere: it, or a folder before it, is a link; to allow it, put `unix:` and the \
             path without links, as `realpath` prints it,"
        } else {
            "; to allow it, put `unix:` and its folder or itself"
        }
    )]
    UnixNotAllowed {
        /// The socket's path.
        path: String,
        /// Whether it leads elsewhere than it says. Where to is not for those who register: they may not be
        /// able to see it.
        is_link: bool,
    },
    /// The body is larger than allowed.
    #[error("the body is larger than {limit} bytes ({key})")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// The key of the configuration that sets it.
        key: &'static str,
    },
    /// The body did not come in time.
    #[error("the body was not complete after {after:?} ({key})")]
    TooSlow {
        /// The limit.
        after: std::time::Duration,
        /// The key of the configuration that sets it.
        key: &'static str,
    },
    /// The body ended before its time.
    #[error("the body ended before it was complete")]
    Truncated,
}

impl From<UnixSocketError> for RegisterError {
    fn from(error: UnixSocketError) -> Self {
        let is_link = error.is_link();
        match error {
            UnixSocketError::NotAllowed { path, .. } => Self::UnixNotAllowed { path, is_link },
            UnixSocketError::Own { path, .. } => Self::TargetIsProxy {
                target: format!("unix:{path}"),
            },
            UnixSocketError::Io { path, source } => bad_unix(format!(
                "{path:?} cannot be looked at: {source}; let the proxy's user search its folders"
            ))
            .into(),
        }
    }
}

impl From<FieldError> for RegisterError {
    fn from(error: FieldError) -> Self {
        Self::Spec(error.into())
    }
}

impl RegisterError {
    /// The code of the contract, or one of ours, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::Unauthenticated { .. } => "UNAUTHENTICATED",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Spec(error) => error.code(),
            Self::Truncated => "BAD_REQUEST",
            Self::Reserved { .. } | Self::ReservedForProbes { .. } => "RESERVED_PREFIX",
            Self::TargetNotAllowed { .. } | Self::UnixNotAllowed { .. } => "TARGET_NOT_ALLOWED",
            Self::TargetUnresolved { .. } => "TARGET_UNRESOLVED",
            Self::TargetIsProxy { .. } => "TARGET_IS_PROXY",
            Self::Ttl(_) => "INVALID_TTL",
            Self::Change(error) => error.code(),
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::TooSlow { .. } => "BODY_TIMEOUT",
        }
    }
}
