//! What a route asks of its clients' connections: encryption, a certificate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a route asks of its clients' connections. What is `None` is as the configuration says for all
/// routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// What becomes of a request in cleartext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPolicy>,
    /// What is said to browsers about later requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// Whether clients have to show a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

/// What becomes of a request in cleartext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&str")]
pub enum TlsPolicy {
    /// It is served like any other.
    #[default]
    Optional,
    /// It is sent on to the same place over TLS: 308, whatever its method (RFC 9110, 15.4.9).
    Redirect,
    /// It is refused: 403.
    Require,
}

/// Whether clients have to show a certificate of their own, which their listener has verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&str")]
pub enum ClientCertificate {
    /// Those that show none are served too.
    #[default]
    Optional,
    /// Those that show none are refused: 403.
    Require,
}

/// The field `Strict-Transport-Security` of answers over TLS (RFC 6797, 6.1), or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hsts(Option<Box<str>>);

/// Why a text is none of these settings. The message says what would be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecurityError {
    /// It is no [`TlsPolicy`].
    #[error("tls: {0:?} is not a policy; write optional, redirect or require")]
    Tls(String),
    /// It is no [`ClientCertificate`].
    #[error("client_certificate: {0:?} is not a wish; write optional or require")]
    ClientCertificate(String),
    /// It is no [`Hsts`].
    #[error(
        "hsts: {text:?} {problem}; write off, or for example max-age=31536000; includeSubDomains, with the \
         time in seconds"
    )]
    Hsts {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The longest text that a message repeats, in characters.
const SHOWN: usize = 80;

impl Security {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The same with what `other` says instead.
    #[must_use]
    pub fn overridden_by(&self, other: &Self) -> Self {
        Self {
            tls: other.tls.or(self.tls),
            hsts: other.hsts.clone().or_else(|| self.hsts.clone()),
            client_certificate: other.client_certificate.or(self.client_certificate),
        }
    }
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

impl ClientCertificate {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Require => "require",
        }
    }
}

impl Hsts {
    /// No field.
    pub const OFF: Self = Self(None);

    /// The field's value; `None` for no field.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for TlsPolicy {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let mut all = Self::ALL.into_iter();
        all.find(|policy| policy.name() == text)
            .ok_or_else(|| SecurityError::Tls(shown(text)))
    }
}

impl FromStr for ClientCertificate {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        match text {
            "optional" => Ok(Self::Optional),
            "require" => Ok(Self::Require),
            _ => Err(SecurityError::ClientCertificate(shown(text))),
        }
    }
}

/// `off`, or the directives of RFC 6797, 6.1, and `preload`, in any case and order; they are put into
/// one spelling.
impl FromStr for Hsts {
    type Err = SecurityError;

    fn from_str(text: &str) -> Result<Self, SecurityError> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let problem = |problem| SecurityError::Hsts {
            text: shown(text),
            problem,
        };
        let (mut max_age, mut subdomains, mut preload) = (None, false, false);
        for directive in text.split(';').map(str::trim) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
                None => (directive, None),
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("max-age", Some(value)) if max_age.is_none() => {
                    let seconds = value
                        .strip_prefix('"')
                        .and_then(|rest| rest.strip_suffix('"'))
                        .unwrap_or(value);
                    let is_number = seconds.bytes().all(|byte| byte.is_ascii_digit());
                    let seconds = seconds.parse::<u32>().ok().filter(|_| is_number);
                    max_age = Some(seconds.ok_or_else(|| problem("has no time in max-age"))?);
                }
                ("includesubdomains", None) if !subdomains => subdomains = true,
                ("preload", None) if !preload => preload = true,
                ("", None) => {}
                ("max-age" | "includesubdomains" | "preload", _) => {
                    return Err(problem("has a directive twice, or one with a wrong value"));
                }
                _ => return Err(problem("has a directive that is not known")),
            }
        }
        let max_age = max_age.ok_or_else(|| problem("has no max-age"))?;
        let mut value = format!("max-age={max_age}");
        for (is, directive) in [(subdomains, "includeSubDomains"), (preload, "preload")] {
            if is {
                value.push_str("; ");
                value.push_str(directive);
            }
        }
        Ok(Self(Some(value.into())))
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.value().unwrap_or("off"))
    }
}

/// Reading and writing by the text.
macro_rules! by_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = SecurityError;

            fn try_from(text: String) -> Result<Self, SecurityError> {
                text.parse()
            }
        }
    )*};
}

by_text!(TlsPolicy, ClientCertificate, Hsts);

impl From<TlsPolicy> for &'static str {
    fn from(policy: TlsPolicy) -> Self {
        policy.name()
    }
}

impl From<ClientCertificate> for &'static str {
    fn from(wish: ClientCertificate) -> Self {
        wish.name()
    }
}

impl From<Hsts> for String {
    fn from(hsts: Hsts) -> Self {
        hsts.to_string()
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_put_into_one_spelling() {
        let year = "max-age=31536000";
        for (text, expected) in [
            ("off", "off".to_owned()),
            ("max-age=0", "max-age=0".to_owned()),
            ("Max-Age=\"31536000\"", year.to_owned()),
            (
                "includesubdomains;max-age=31536000 ;",
                format!("{year}; includeSubDomains"),
            ),
            (
                "preload; max-age = 31536000; includeSubDomains",
                format!("{year}; includeSubDomains; preload"),
            ),
        ] {
            let hsts: Hsts = text.parse().unwrap();
            assert_eq!(hsts.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Hsts>().unwrap(), hsts);
        }
    }

    #[test]
    fn what_is_no_hsts_says_why() {
        for (text, problem) in [
            ("", "no max-age"),
            ("on", "not known"),
            ("includeSubDomains", "no max-age"),
            ("max-age", "wrong value"),
            ("max-age=", "no time"),
            ("max-age=1y", "no time"),
            ("max-age=+1", "no time"),
            ("max-age=-1", "no time"),
            ("max-age=99999999999", "no time"),
            ("max-age=1; max-age=1", "twice"),
            ("max-age=1; preload=1", "wrong value"),
            ("max-age=1\r\nx: y", "no time"),
            ("max-age=1; é", "not known"),
        ] {
            let error = text.parse::<Hsts>().expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn what_one_says_overrides_what_the_other_does() {
        let all = Security {
            tls: Some(TlsPolicy::Require),
            hsts: Some(Hsts::OFF),
            client_certificate: Some(ClientCertificate::Require),
        };
        let none = Security::default();
        assert_eq!(all.overridden_by(&none), all);
        assert_eq!(none.overridden_by(&all), all);
        let redirect = Security {
            tls: Some(TlsPolicy::Redirect),
            ..Security::default()
        };
        let mixed = all.overridden_by(&redirect);
        assert_eq!(mixed.tls, Some(TlsPolicy::Redirect));
        assert_eq!(mixed.client_certificate, all.client_certificate);
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let text = r#"{"tls":"redirect","hsts":"max-age=1","client_certificate":"require"}"#;
        let security: Security = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&security).unwrap(), text);
        assert_eq!(serde_json::to_string(&Security::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<Security>(r#"{"tls":"on"}"#).is_err());
    }
}
