//! The setting `tls`: the treatment of requests in cleartext.

use std::fmt;
use std::str::FromStr;

use super::setting::{Setting, by_text};
use crate::route::texts::describe_text;
use crate::route::{FieldError, clip_value};

/// The treatment of a request in cleartext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// It is served like any other.
    #[default]
    Optional,
    /// It is sent on to the same place over TLS: 308, whatever its method (RFC 9110, 15.4.9).
    Redirect,
    /// It is refused: 403.
    Require,
}

impl TlsPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Optional, Self::Redirect, Self::Require];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Redirect => "redirect",
            Self::Require => "require",
        }
    }
}

impl Setting for TlsPolicy {
    const CODE: &'static str = "INVALID_TLS";
    const HELP: &'static str = "What becomes of requests in cleartext: optional (they are served), redirect \
        (308 to https) or require (403); by default what `tls.routes` of the proxy's configuration says";
    const VALUE: &'static str = "POLICY";
    const VALUES: &'static [&'static str] = &["optional", "redirect", "require"];
}

describe_text!(
    TlsPolicy,
    "What becomes of requests in cleartext: they are served, sent on to https with a 308, or refused with a \
     403.",
    |text| text.enum_values(Some(TlsPolicy::VALUES.iter().copied()))
);

by_text!(TlsPolicy);

impl FromStr for TlsPolicy {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let mut all = Self::ALL.into_iter();
        all.find(|policy| policy.name() == text).ok_or_else(|| {
            let text = clip_value(text);
            let problem = format!("{text:?} is not a policy; write optional, redirect or require");
            FieldError::new("tls", Self::CODE, problem)
        })
    }
}

impl fmt::Display for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
