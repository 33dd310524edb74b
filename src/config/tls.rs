//! `tls`: where TLS is listened on, and with which certificates.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::control::{Control, ControlListen, meet};
use super::error::{ConfigError, Located};
use super::listen::{self, Entry, Keys, Listen};
use super::network::ListenAddress;
use super::source::{Source, refuse};
use super::text;

/// The port of https.
const HTTPS: u16 = 443;

/// The longest name of a certificate.
const LONGEST_NAME: usize = 64;

/// `tls`: TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Where TLS is listened on. Default: nowhere.
    pub listen: Vec<TlsListen>,
    /// The public port of https, which redirects name. Default: that of the first listener, which is
    /// 0 if it is to be any free port; without listeners, 443.
    pub redirect_port: u16,
    /// The certificates, besides those that come over the control API; at most one is the default.
    /// Default: none.
    pub certificates: Vec<TlsCertificate>,
    /// The oldest version that is spoken. Default: 1.2.
    pub min_version: TlsVersion,
    /// Whether clients show certificates. Default: they are not asked.
    pub client_auth: TlsClientAuth,
    /// The treatment of requests in cleartext, for routes that do not say: optional, redirect or
    /// require, as written. Default: optional.
    pub routes: Option<Located<String>>,
    /// Strict-Transport-Security for later requests, by routes that do not say: off, or the value of
    /// `Strict-Transport-Security`, as written. Default: off.
    pub hsts: Option<Located<String>>,
}

impl Default for Tls {
    fn default() -> Self {
        TlsKeys::default().resolve(&[], &Arc::from(""))
    }
}

/// An entry of `tls.listen`: an address to listen on, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsListen {
    /// The address, as that of [`Listen`].
    pub address: SocketAddr,
    /// The oldest version that is spoken. Default: `tls.min_version`.
    pub min_version: TlsVersion,
    /// Whether clients show certificates. Default: `tls.client_auth`.
    pub client_auth: TlsClientAuth,
    /// The peers that begin every connection with a header of the PROXY protocol, and have to.
    /// Default: `proxy_protocol.trusted`.
    pub proxy_protocol: Vec<IpNet>,
}

/// An entry of `tls.certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsCertificate {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`, a letter or digit first.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The file of the certificate and its chain, PEM.
    #[serde(deserialize_with = "text::path")]
    pub certificate: PathBuf,
    /// The file of its private key, PEM.
    #[serde(deserialize_with = "text::path")]
    pub key: PathBuf,
    /// Whether it serves clients that no other certificate is for. Default: false.
    #[serde(default)]
    pub default: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// `tls.client_auth`: whether clients show certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked, and may have none; the file has the authorities that are believed, PEM.
    Optional(PathBuf),
    /// They have to.
    Require(PathBuf),
}

/// `tls` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TlsKeys {
    #[serde(deserialize_with = "text::given")]
    listen: Option<Vec<Entry<TlsListenKeys>>>,
    #[serde(deserialize_with = "listen::given_port")]
    redirect_port: Option<u16>,
    #[serde(deserialize_with = "text::or_blank")]
    certificates: Vec<TlsCertificate>,
    #[serde(deserialize_with = "version")]
    min_version: TlsVersion,
    #[serde(deserialize_with = "text::or_blank")]
    client_auth: ClientAuthKeys,
    #[serde(deserialize_with = "text::given")]
    routes: Option<Spanned<String>>,
    #[serde(deserialize_with = "text::given")]
    hsts: Option<Spanned<String>>,
}

/// An entry of `tls.listen` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsListenKeys {
    address: ListenAddress,
    #[serde(default, deserialize_with = "given_version")]
    min_version: Option<TlsVersion>,
    #[serde(default, deserialize_with = "text::given")]
    client_auth: Option<ClientAuthKeys>,
    #[serde(default, deserialize_with = "listen::given_networks")]
    proxy_protocol: Option<Vec<IpNet>>,
}

impl Keys for TlsListenKeys {
    fn of(address: ListenAddress) -> Self {
        Self {
            address,
            min_version: None,
            client_auth: None,
            proxy_protocol: None,
        }
    }

    fn address(&self) -> SocketAddr {
        self.address.0
    }
}

/// `client_auth`, in general or of a listener, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientAuthKeys {
    #[serde(deserialize_with = "text::given")]
    mode: Option<Mode>,
    #[serde(deserialize_with = "text::given_path")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Off,
    Optional,
    Require,
}

impl TlsKeys {
    /// The section with its defaults; `proxy_protocol` is the general key.
    pub(super) fn resolve(self, proxy_protocol: &[IpNet], file: &Arc<str>) -> Tls {
        let client_auth = self.client_auth.resolve();
        let entries = self.listen.as_deref().unwrap_or_default();
        let listen: Vec<_> = Entry::all(entries)
            .map(|entry| TlsListen {
                address: entry.address.0,
                min_version: entry.min_version.unwrap_or(self.min_version),
                client_auth: match &entry.client_auth {
                    Some(own) => own.resolve(),
                    None => client_auth.clone(),
                },
                proxy_protocol: match &entry.proxy_protocol {
                    Some(own) => own.clone(),
                    None => proxy_protocol.to_vec(),
                },
            })
            .collect();
        let first = listen.first().map(|first| first.address.port());
        Tls {
            redirect_port: self.redirect_port.or(first).unwrap_or(HTTPS),
            listen,
            certificates: self.certificates,
            min_version: self.min_version,
            client_auth,
            routes: self.routes.map(|text| Located::of(text, file)),
            hsts: self.hsts.map(|text| Located::of(text, file)),
        }
    }
}

impl ClientAuthKeys {
    fn resolve(&self) -> TlsClientAuth {
        match (self.mode, &self.ca) {
            (Some(Mode::Optional), Some(ca)) => TlsClientAuth::Optional(ca.clone()),
            (Some(Mode::Require), Some(ca)) => TlsClientAuth::Require(ca.clone()),
            // `check_client_auth` refuses the others.
            _ => TlsClientAuth::Off,
        }
    }
}

/// Checks what the keys are together.
pub(super) fn check_keys(keys: &TlsKeys, source: &Source<'_>) -> Result<(), ConfigError> {
    check_certificates(&keys.certificates, source)?;
    check_client_auth("tls.client_auth", &keys.client_auth, source)?;
    let Some(entries) = &keys.listen else {
        return Ok(());
    };
    listen::check_entries("tls.listen", entries, source)?;
    for (index, entry) in Entry::all(entries).enumerate() {
        let Some(client_auth) = &entry.client_auth else {
            continue;
        };
        let key = format!("tls.listen[{index}].client_auth");
        if client_auth.mode.is_none() && client_auth.ca.is_none() {
            let problem = "says nothing; write `mode: off`, or remove the key for the general one";
            return Err(refuse(&key, problem, source));
        }
        check_client_auth(&key, client_auth, source)?;
    }
    Ok(())
}

fn check_client_auth(
    key: &str,
    keys: &ClientAuthKeys,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let ClientAuthKeys { mode, ca } = keys;
    match (mode, ca) {
        (None, Some(_)) => {
            let problem = "is given, but nobody is asked for a certificate; write \
                           `mode: require` or `mode: optional` beside it";
            Err(refuse(&format!("{key}.ca"), problem, source))
        }
        (Some(Mode::Optional | Mode::Require), None) => {
            let problem = "needs the authorities that are believed; write `ca: FILE` beside it";
            Err(refuse(&format!("{key}.mode"), problem, source))
        }
        _ => Ok(()),
    }
}

fn check_certificates(
    certificates: &[TlsCertificate],
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let mut default: Option<&str> = None;
    for (index, certificate) in certificates.iter().enumerate() {
        let name = &certificate.name;
        let mut earlier = certificates.iter().take(index);
        if earlier.any(|earlier| earlier.name == *name) {
            let key = format!("tls.certificates[{index}].name");
            let problem = "is the name of an earlier certificate too; rename one";
            return Err(refuse(&key, problem, source));
        }
        if !certificate.default {
            continue;
        }
        if let Some(other) = default {
            let key = format!("tls.certificates[{index}].default");
            let problem = format!("is true, and `{other}` is the default already; keep one");
            return Err(refuse(&key, problem, source));
        }
        default = Some(name);
    }
    Ok(())
}

/// Checks what the listeners are together with all others.
pub(super) fn check(
    tls: &Tls,
    traffic: &[Listen],
    control: &Control,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    for (index, listen) in tls.listen.iter().enumerate() {
        let address = &listen.address;
        let refuse = |problem: String| {
            let key = format!("tls.listen[{index}]");
            Err(refuse(&key, problem, source))
        };
        let other = traffic.iter().find(|other| meet(other.address, *address));
        if let Some(other) = other {
            return refuse(format!(
                "is where HTTP without TLS is listened on ({}); choose another port",
                other.address
            ));
        }
        let other = control.listen.iter().find_map(|listen| match listen {
            ControlListen::Tcp(other) if meet(*other, *address) => Some(other),
            _ => None,
        });
        if let Some(other) = other {
            return refuse(format!(
                "is where the control API is ({other}); choose another port"
            ));
        }
    }
    Ok(())
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::parse_with(deserializer, |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let valid = (1..=LONGEST_NAME).contains(&text.len())
            && text.bytes().all(plain)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if valid {
            return Ok(text.to_owned());
        }
        Err(format!(
            "is not a name: {}; write 1 to {LONGEST_NAME} letters, digits and -_., a letter or \
             digit first",
            text::shown(text)
        ))
    })
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TlsVersion, D::Error> {
    text::parse_with(deserializer, |text| match text {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        _ => Err(format!(
            "is not a version of TLS that is spoken: {}; write 1.2 or 1.3",
            text::shown(text)
        )),
    })
}

fn given_version<'de, D>(deserializer: D) -> Result<Option<TlsVersion>, D::Error>
where
    D: Deserializer<'de>,
{
    version(deserializer).map(Some)
}
