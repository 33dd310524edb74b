//! Certificates from an authority: from the configuration's `acme` to what runs.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use log::error;

use super::error::StartError;
use super::options as server;
use crate::acme::{Acme, Answers, Binding, Challenge, Options};
use crate::config::{AcmeChallenge, Config, TlsClientAuth, TlsListen};
use crate::proxy::Challenges;
use crate::registry::Registry;
use crate::route::HostPattern;
use crate::tls::Authorities;

/// The ports at which an authority looks.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// The ACME client of the server, if it gets certificates from an authority.
#[derive(Clone)]
pub(super) struct Issuer(Option<Arc<Acme>>);

impl Issuer {
    /// Takes the options of ACME out of those of a proxy, whose challenges it answers from now on.
    pub(super) fn of(options: &mut server::Options, registry: &Arc<Registry>) -> Self {
        Self(options.acme.take().map(|wanted| {
            let answers = Answers::default();
            let given = answers.clone();
            options.gateway.challenges = Challenges::new(move |token| given.get(token));
            let (certificates, registry) =
                (Arc::clone(&options.certificates), Arc::clone(registry));
            Arc::new(Acme::new(wanted, answers, certificates, registry))
        }))
    }

    /// Begins to order and to renew, on a thread of its own.
    pub(super) fn start(&self) {
        if let Some(Err(error)) = self.0.as_ref().map(Acme::start) {
            error!("no certificates are got from an authority: {error}");
        }
    }

    /// Takes the certificates that an authority has given before.
    pub(super) fn load(&self) {
        if let Some(acme) = &self.0 {
            acme.load();
        }
    }

    /// Gives the folder of certificates up.
    pub(super) fn close(&self) {
        if let Some(acme) = &self.0 {
            acme.close();
        }
    }
}

/// Returns the options of ACME in a configuration; `None` if it wants no certificates from an authority.
pub(super) fn options(config: &Config) -> Result<Option<Options>, StartError> {
    let acme = &config.acme;
    if !acme.is_on() {
        return Ok(None);
    }
    let setting = |key, error: &dyn std::error::Error| StartError::Setting(key, error.to_string());
    let patterns = acme.registered_hosts.iter();
    let patterns = patterns.map(|text| HostPattern::parse(text));
    let authorities = acme.ca.as_deref().map(Authorities::load).transpose();
    let binding = acme.eab.as_ref().map(|eab| {
        Ok::<_, StartError>(Binding {
            key_id: eab.key_id.clone(),
            key: hmac_key(&eab.hmac_key_file)?,
        })
    });
    Ok(Some(Options {
        directory: acme.directory.clone(),
        authorities: authorities.map_err(StartError::AcmeAuthorities)?,
        contact: acme.contact.clone(),
        hosts: acme.hosts.clone(),
        registered_hosts: patterns
            .collect::<Result<_, _>>()
            .map_err(|error| setting("acme.registered_hosts", &error))?,
        challenges: challenges(config),
        binding: binding.transpose()?,
        folder: std::path::absolute(&config.state_directory)
            .map_err(|error| setting("state_directory", &error))?
            .join("acme"),
    }))
}

/// The challenges that can be met, the one first whose port is listened on.
fn challenges(config: &Config) -> Vec<Challenge> {
    match config.acme.challenge {
        AcmeChallenge::Http01 => vec![Challenge::Http01],
        AcmeChallenge::TlsAlpn01 => vec![Challenge::TlsAlpn01],
        AcmeChallenge::Any => {
            // An authority shows no certificate.
            let is_open = |at: &&TlsListen| !matches!(at.client_auth, TlsClientAuth::Require(_));
            let mut open = config.tls.listen.iter().filter(is_open);
            let is_at = |port| config.listen.iter().any(|at| at.address.port() == port);
            let mut is_secured_at = |port| open.any(|at| at.address.port() == port);
            if !config.tls.listen.iter().any(|at| is_open(&at)) {
                vec![Challenge::Http01]
            } else if is_secured_at(HTTPS) && !is_at(HTTP) {
                vec![Challenge::TlsAlpn01, Challenge::Http01]
            } else {
                vec![Challenge::Http01, Challenge::TlsAlpn01]
            }
        }
    }
}

/// Whether TLS listeners answer challenges.
pub(super) fn has_tls_challenges(config: &Config) -> bool {
    config.acme.is_on() && challenges(config).contains(&Challenge::TlsAlpn01)
}

/// The key of the HMAC: base64url, or plain base64, with or without padding.
fn hmac_key(path: &Path) -> Result<Vec<u8>, StartError> {
    const KEY: &str = "acme.eab.hmac_key_file";
    let text = fs::read_to_string(path).map_err(|source| StartError::File {
        key: KEY,
        path: path.display().to_string(),
        source,
    })?;
    let engine = GeneralPurpose::new(
        &alphabet::URL_SAFE,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = text.trim().replace('+', "-").replace('/', "_");
    match engine.decode(text) {
        Ok(key) if !key.is_empty() => Ok(key),
        // The error would quote the key.
        _ => {
            let path = path.display();
            let problem =
                format!("{path} has no key in base64url; write it as the authority shows it");
            Err(StartError::Setting(KEY, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_yaml("x.yaml", text, |_| None).unwrap()
    }

    #[test]
    fn the_challenge_whose_port_is_listened_on_comes_first() {
        let of = |port: u16, tls: u16, more: &str| {
            challenges(&config(&format!(
                "port: {port}\ntls:\n  listen: ['0.0.0.0:{tls}']\n{more}"
            )))
        };
        let both = [Challenge::Http01, Challenge::TlsAlpn01];
        assert_eq!(of(80, 443, ""), both);
        assert_eq!(of(3000, 8443, ""), both);
        assert_eq!(of(80, 8443, ""), both);
        assert_eq!(of(3000, 443, ""), [Challenge::TlsAlpn01, Challenge::Http01]);
        let client_auth = "  client_auth: {mode: require, ca: ca.pem}\n";
        assert_eq!(of(3000, 443, client_auth), [Challenge::Http01]);
        let one = "acme:\n  challenge: tls-alpn-01\n";
        assert_eq!(of(80, 443, one), [Challenge::TlsAlpn01]);
    }

    #[test]
    fn a_key_is_base64_of_either_kind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, expected) in [
            ("-_8", Some(vec![0xfb, 0xff])),
            ("+/8=\n", Some(vec![0xfb, 0xff])),
            ("", None),
            ("not base64!", None),
        ] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(hmac_key(file.path()).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_is_wanted_without_a_host() {
        assert!(options(&Config::default()).unwrap().is_none());
        assert!(!has_tls_challenges(&Config::default()));
    }
}
