//! `acme`: certificates from a certificate authority (RFC 8555).

use std::path::PathBuf;

use http::Uri;
use serde::{Deserialize, Deserializer};

use super::error::ConfigError;
use super::network::host;
use super::source::{Source, refuse};
use super::text;
use super::tls::{Tls, TlsClientAuth, TlsListen};

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The longest host that a certificate is asked for: it is a file's name, too.
const LONGEST_HOST: usize = 240;

/// `acme`: certificates from an authority. There is none of it without a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acme {
    /// The URL of the authority's directory. Default: Let's Encrypt's.
    pub directory: String,
    /// The file of authorities that are trusted as the directory's server, besides the system's, PEM.
    /// Default: none.
    pub ca: Option<PathBuf>,
    /// How the authority reaches the operator: `mailto:` URLs. Default: not at all.
    pub contact: Vec<String>,
    /// Whether the operator has agreed to the authority's terms of service. Default: false.
    pub terms_agreed: bool,
    /// The hosts that are to have a certificate each. Default: none.
    pub hosts: Vec<String>,
    /// The hosts that get one when an app registers for them: names, and `*.NAME` for every name below
    /// it. Default: none.
    pub registered_hosts: Vec<String>,
    /// How a host is proven to be ours. Default: any way.
    pub challenge: AcmeChallenge,
    /// The account at the authority that ours is to belong to. Default: none.
    pub eab: Option<AcmeEab>,
}

/// `acme.challenge`: how a host is proven to be ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub enum AcmeChallenge {
    /// Whichever the listeners allow; after a failure the other one.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// A file, asked for at port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate, asked for at port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// `acme.eab`: an account at the authority that was made elsewhere (external account binding).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AcmeEab {
    /// The name of its key.
    #[serde(deserialize_with = "key_id")]
    pub key_id: String,
    /// The file with the key of the HMAC, in base64url as the authority shows it.
    #[serde(deserialize_with = "text::path")]
    pub hmac_key_file: PathBuf,
}

impl Acme {
    /// Whether there is anything to ask for.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.hosts.is_empty() || !self.registered_hosts.is_empty()
    }
}

/// `acme` as it is written.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AcmeKeys {
    #[serde(deserialize_with = "directory")]
    directory: String,
    #[serde(deserialize_with = "text::given_path")]
    ca: Option<PathBuf>,
    #[serde(deserialize_with = "text::or_blank")]
    contact: Vec<Contact>,
    terms_agreed: bool,
    #[serde(deserialize_with = "text::or_blank")]
    hosts: Vec<Name>,
    #[serde(deserialize_with = "text::or_blank")]
    registered_hosts: Vec<Pattern>,
    challenge: AcmeChallenge,
    #[serde(deserialize_with = "text::given")]
    eab: Option<AcmeEab>,
}

impl Default for AcmeKeys {
    fn default() -> Self {
        Self {
            directory: DIRECTORY.to_owned(),
            ca: None,
            contact: Vec::new(),
            terms_agreed: false,
            hosts: Vec::new(),
            registered_hosts: Vec::new(),
            challenge: AcmeChallenge::default(),
            eab: None,
        }
    }
}

impl AcmeKeys {
    pub(super) fn resolve(self) -> Acme {
        Acme {
            directory: self.directory,
            ca: self.ca,
            contact: self.contact.into_iter().map(|contact| contact.0).collect(),
            terms_agreed: self.terms_agreed,
            hosts: self.hosts.into_iter().map(|name| name.0).collect(),
            registered_hosts: self
                .registered_hosts
                .into_iter()
                .map(|pattern| pattern.0)
                .collect(),
            challenge: self.challenge,
            eab: self.eab,
        }
    }
}

/// Checks what the keys are together with others.
pub(super) fn check(acme: &Acme, tls: &Tls, source: &Source<'_>) -> Result<(), ConfigError> {
    for (index, host) in acme.hosts.iter().enumerate() {
        if acme.hosts.iter().take(index).any(|earlier| earlier == host) {
            let problem = "is in the list twice; keep one";
            return Err(refuse(&format!("acme.hosts[{index}]"), problem, source));
        }
    }
    if !acme.is_on() {
        if acme.terms_agreed {
            let problem = "is true, but no host is to have a certificate; name some in `acme.hosts` \
                           or `acme.registered_hosts`, or remove the line";
            return Err(refuse("acme.terms_agreed", problem, source));
        }
        return Ok(());
    }
    // The one that is there.
    let hosts = if acme.hosts.is_empty() {
        "acme.registered_hosts"
    } else {
        "acme.hosts"
    };
    if !acme.terms_agreed {
        let problem = "needs your agreement to the terms of service of the authority; read them, and write \
                       `terms_agreed: true` beside it";
        return Err(refuse(hosts, problem, source));
    }
    if tls.listen.is_empty() {
        let problem = "is to have certificates, but TLS is listened on nowhere; set `tls.listen`";
        return Err(refuse(hosts, problem, source));
    }
    let asks_clients = |at: &TlsListen| matches!(at.client_auth, TlsClientAuth::Require(_));
    let asks_everywhere = tls.listen.iter().all(asks_clients);
    if acme.challenge == AcmeChallenge::TlsAlpn01 && asks_everywhere {
        let problem = "cannot be met where every client has to show a certificate \
                       (`client_auth.mode: require`, at every listener of `tls.listen`); write http-01";
        return Err(refuse("acme.challenge", problem, source));
    }
    Ok(())
}

fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::parse_with(deserializer, |text| {
        let is_url = text.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
        });
        if is_url {
            return Ok(text.to_owned());
        }
        Err(format!(
            "is not a URL of https: {}; write the authority's, such as {DIRECTORY}",
            text::shown(text)
        ))
    })
}

fn key_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::parse_with(deserializer, |text| {
        if text.is_empty() {
            return Err("is empty; write the name of the key that the authority gave".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// An entry of `acme.contact`.
#[derive(Debug)]
struct Contact(String);

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| {
            let address = text.strip_prefix("mailto:").unwrap_or_default();
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?');
            let is_one = address
                .split_once('@')
                .is_some_and(|(user, domain)| !user.is_empty() && host(domain).is_some());
            if is_one && address.chars().all(plain) {
                return Ok(Self(text.to_owned()));
            }
            Err(format!(
                "is not a mail address as a URL: {}; write one such as mailto:admin@example.com",
                text::shown(text)
            ))
        })
    }
}

/// An entry of `acme.hosts`.
#[derive(Debug)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| {
            if text.starts_with("*.") {
                return Err(format!(
                    "is a wildcard: {}, which takes a challenge by DNS that the proxy does not do; \
                     name each host, or put a wildcard certificate into `tls.certificates`",
                    text::shown(text)
                ));
            }
            named(text).map(Self)
        })
    }
}

/// An entry of `acme.registered_hosts`.
#[derive(Debug)]
struct Pattern(String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| match text.strip_prefix("*.") {
            Some(domain) => public(domain).map(|domain| Self(format!("*.{domain}"))),
            None => named(text).map(Self),
        })
    }
}

/// A host name that is for a certificate by itself: one without a dot is known to nobody else.
fn named(text: &str) -> Result<String, String> {
    let name = public(text)?;
    if name.contains('.') {
        return Ok(name);
    }
    Err(format!(
        "is a name without a dot: {}, for which no authority gives a certificate; write the whole name, \
         such as www.example.com",
        text::shown(text)
    ))
}

/// A host name that an authority may take: no address, no underscore, and not too long.
fn public(text: &str) -> Result<String, String> {
    let name = host(text).filter(|name| !name.contains('_') && name.len() <= LONGEST_HOST);
    name.ok_or_else(|| {
        format!(
            "is not a host name for a certificate: {}; write one such as www.example.com, without \
             port, and an international one in punycode (xn--...)",
            text::shown(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(tls: &str, acme: &str) -> Result<Config, String> {
        let text = format!("tls:\n{tls}\nacme:\n  terms_agreed: true\n{acme}\n");
        Config::from_yaml("x.yaml", &text, |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn a_challenge_by_tls_needs_a_listener_that_asks_for_no_certificate() {
        let acme = "  hosts: [a.example]\n  challenge: tls-alpn-01";
        let require = "{mode: require, ca: ca.pem}";
        let all = format!("  client_auth: {require}");
        for (tls, is_right) in [
            ("  listen: ['0.0.0.0:443']".to_owned(), true),
            (format!("{all}\n  listen: ['0.0.0.0:443']"), false),
            (
                format!(
                    "{all}\n  listen: [{{address: '0.0.0.0:443', client_auth: {{mode: off}}}}]"
                ),
                true,
            ),
            (
                format!("  listen: [{{address: '0.0.0.0:443', client_auth: {require}}}]"),
                false,
            ),
            (
                format!(
                    "  listen: [{{address: '0.0.0.0:443', client_auth: {require}}}, '0.0.0.0:444']"
                ),
                true,
            ),
        ] {
            let parsed = parse(&tls, acme);
            assert_eq!(parsed.is_ok(), is_right, "{tls}: {parsed:?}");
            let problem = parsed.err().unwrap_or_else(|| "tls.listen".to_owned());
            assert!(problem.contains("tls.listen"), "{problem}");
        }
    }

    #[test]
    fn a_host_has_a_dot() {
        let listen = "  listen: ['0.0.0.0:443']";
        for (acme, is_right) in [
            ("  hosts: [a.example]", true),
            ("  hosts: [localhost]", false),
            ("  hosts: [a.example, localhost.]", false),
            ("  registered_hosts: [localhost]", false),
            ("  registered_hosts: ['*.test']", true),
        ] {
            let parsed = parse(listen, acme);
            assert_eq!(parsed.is_ok(), is_right, "{acme}: {parsed:?}");
            let problem = parsed.err().unwrap_or_else(|| "dot".to_owned());
            assert!(problem.contains("dot"), "{problem}");
        }
    }
}
