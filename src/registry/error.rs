//! Why a registration is refused.

use thiserror::Error;

use super::{ChangeError, TtlError, UnixSocketError};
use crate::route::{HostError, PrefixError, SecurityError};

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
        /// What to send.
        reason: String,
    },
    /// Only `POST` registers.
    #[error("register with POST")]
    MethodNotAllowed,
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// The prefix, the port or both are missing.
    #[error("{0}")]
    Incomplete(String),
    /// A field that is not part of a registration.
    #[error(
        "unknown field `{field}`{}; a registration has prefix, port, host, unix, \
         protocol, https, reqHostNames, tls, hsts, client_certificate, instance, owner and ttl",
        nearest.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
    )]
    UnknownField {
        /// The field as it was sent.
        field: String,
        /// The known field that it resembles.
        nearest: Option<&'static str>,
    },
    /// The prefix cannot be routed.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The prefix is not a string.
    #[error("prefix: {0} is not a string; write it like \"/shop\"")]
    PrefixType(String),
    /// The prefix belongs to the proxy.
    #[error("prefix: {prefix} is the path that apps register at; choose another")]
    Reserved {
        /// The prefix, normalised.
        prefix: String,
    },
    /// The port is not one.
    #[error("port: {0} is not a port; write a number from 1 to 65535")]
    Port(String),
    /// The target's host is not one.
    #[error("host: {0} is not a host; write a name or an IP address, without a port")]
    Host(String),
    /// One of the request hosts is not one.
    #[error("reqHostNames: {name:?}: {source}")]
    RequestHost {
        /// The entry.
        name: String,
        /// What is wrong with it.
        source: HostError,
    },
    /// The request hosts are not a list of strings.
    #[error(
        "reqHostNames: {0} is not a list of host names; write [\"example.com\"], \
         or leave the field out for any host"
    )]
    RequestHosts(String),
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
        /// What the resolver said.
        reason: String,
    },
    /// The target is the proxy.
    #[error("the target {target} is this proxy itself; register where the app listens")]
    TargetIsProxy {
        /// The target as it was registered.
        target: String,
    },
    /// The instance's name is not one.
    #[error(
        "instance: {0}: an instance's id has 1 to 64 letters, digits, `-`, `_`, `.` or `~`, and is \
         not `.` or `..`"
    )]
    Instance(String),
    /// The owner is not one.
    #[error("owner: {0} is not an owner; write a name of 1 to 64 characters")]
    Owner(String),
    /// The lease is not one.
    #[error("ttl: {0}")]
    Ttl(#[from] TtlError),
    /// It was understood, but cannot be done.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The Unix socket is not one, or stands beside a port.
    #[error("unix: {0}")]
    Unix(String),
    /// The protocol is not one, or does not go with the rest.
    #[error("protocol: {0}")]
    Protocol(String),
    /// What is asked for about TLS cannot be.
    #[error("https: {0}")]
    Https(String),
    /// What is asked of clients' connections is not understood.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The Unix socket is outside what the configuration allows.
    #[error(
        "the target unix:{path} is not allowed{}; to allow it, put `unix:` and its folder or itself \
         into `targets.allow` of the proxy's configuration",
        if *is_link { ", for it leads elsewhere: it, or a folder before it, is a link" } else { "" }
    )]
    UnixNotAllowed {
        /// The socket's path.
        path: String,
        /// Whether it leads elsewhere than it says. Where to is not for those who register: they may not be
        /// able to see it.
        is_link: bool,
    },
    /// The body is larger than allowed.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("the body was not complete after {after:?}")]
    TooSlow {
        /// The limit.
        after: std::time::Duration,
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
            UnixSocketError::Io { path, source } => Self::Unix(format!(
                "{path:?} cannot be looked at: {source}; let the proxy's user search its folders"
            )),
        }
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
            Self::NotJson(_) | Self::Truncated => "BAD_REQUEST",
            Self::Incomplete(_) => "INCOMPLETE_REQUEST",
            Self::UnknownField { .. } => "UNKNOWN_FIELD",
            Self::Prefix(_) | Self::PrefixType(_) => "INVALID_PREFIX",
            Self::Reserved { .. } => "RESERVED_PREFIX",
            Self::Port(_) => "INVALID_PORT",
            Self::Host(_) => "INVALID_HOST",
            Self::RequestHost { .. } | Self::RequestHosts(_) => "INVALID_REQ_HOST_NAMES",
            Self::TargetNotAllowed { .. } | Self::UnixNotAllowed { .. } => "TARGET_NOT_ALLOWED",
            Self::TargetUnresolved { .. } => "TARGET_UNRESOLVED",
            Self::TargetIsProxy { .. } => "TARGET_IS_PROXY",
            Self::Instance(_) => "INVALID_INSTANCE",
            Self::Owner(_) => "INVALID_OWNER",
            Self::Ttl(_) => "INVALID_TTL",
            Self::Change(error) => error.code(),
            Self::Unix(_) => "INVALID_UNIX",
            Self::Protocol(_) => "INVALID_PROTOCOL",
            Self::Https(_) => "INVALID_HTTPS",
            Self::Security(SecurityError::Tls(_)) => "INVALID_TLS",
            Self::Security(SecurityError::Hsts { .. }) => "INVALID_HSTS",
            Self::Security(SecurityError::ClientCertificate(_)) => "INVALID_CLIENT_CERTIFICATE",
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::TooSlow { .. } => "BODY_TIMEOUT",
        }
    }
}
