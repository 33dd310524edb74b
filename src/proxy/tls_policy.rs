//! The TLS policy of a route: its requirements on the connection of a request, and its HSTS for later ones.

use http::{HeaderValue, Method, StatusCode};

use super::https;
use super::options::SecurityDefaults;
use crate::reply::Refusal;
use crate::route::{ClientCertificate, Route, Settings, TlsPolicy};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport<'a> {
    /// Whether its client's side is encrypted.
    pub(super) is_encrypted: bool,
    /// Whether its client has shown a certificate.
    pub(super) has_certificate: bool,
    /// The host that it is for, without port.
    pub(super) host: &'a str,
    /// Its method.
    pub(super) method: &'a Method,
    /// Its target as the client wrote it.
    pub(super) target: &'a [u8],
}

/// The defaults of the routes' TLS policies, with the HSTS field ready for use.
#[derive(Clone, Debug)]
pub(super) struct TlsPolicies {
    tls: TlsPolicy,
    hsts: Option<HeaderValue>,
    https_port: u16,
}

/// Why a request is not passed on.
pub(super) enum Denied {
    /// It is sent to this URL.
    Redirect(String),
    /// It is refused.
    Refused(Refusal),
}

impl Denied {
    /// The refusal, for whoever cannot be sent elsewhere.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Redirect(_) => tls_required(),
            Self::Refused(refusal) => refusal,
        }
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl TlsPolicies {
    pub(super) fn new(defaults: &SecurityDefaults, https_port: u16) -> Self {
        // The value has only the characters of its directives.
        let field = defaults.hsts.value().map(HeaderValue::from_str);
        Self {
            tls: defaults.tls,
            hsts: field.and_then(Result::ok),
            https_port,
        }
    }

    /// Whether a route asks for nothing.
    pub(super) fn are_none_of(&self, route: &Route) -> bool {
        route.settings().is_none() && self.tls == TlsPolicy::Optional
    }

    /// Whether answers may say anything about later requests.
    pub(super) fn may_have_hsts(&self, own: Option<&Settings>) -> bool {
        own.is_some() || self.hsts.is_some()
    }

    /// Whether a request meets what its route asks.
    pub(super) fn check(&self, route: &Route, transport: Transport<'_>) -> Result<(), Denied> {
        let own = route.settings();
        let tls = own.and_then(|own| own.tls).unwrap_or(self.tls);
        let certificate = own.and_then(|own| own.client_certificate);
        if !transport.is_encrypted {
            if https::is_challenge(transport.method, transport.target) {
                // An authority asks in cleartext and shows no certificate; what it is told is no
                // secret (RFC 8555, 8.3).
                return Ok(());
            }
            match tls {
                TlsPolicy::Optional => {}
                TlsPolicy::Redirect => {
                    return Err(redirect(transport.host, transport.target, self.https_port));
                }
                TlsPolicy::Require => return Err(Denied::Refused(tls_required())),
            }
        }
        if certificate == Some(ClientCertificate::Require) && !transport.has_certificate {
            return Err(Denied::Refused(certificate_required()));
        }
        Ok(())
    }

    /// The value of `Strict-Transport-Security` for an answer over TLS whose app has not set it.
    pub(super) fn hsts(&self, own: Option<&Settings>) -> Option<HeaderValue> {
        match own.and_then(|own| own.hsts.as_ref()) {
            Some(own) => HeaderValue::from_str(own.value()?).ok(),
            None => self.hsts.clone(),
        }
    }
}

/// A request that ought to come over TLS is sent there, if it says where it wants to go.
pub(super) fn redirect(host: &str, target: &[u8], https_port: u16) -> Denied {
    match https::location(host, target, https_port) {
        Some(location) => Denied::Redirect(location),
        None => Denied::Refused(https::no_host()),
    }
}

fn tls_required() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "TLS_REQUIRED",
        "this is served over TLS alone; use https instead of http",
    )
}

fn certificate_required() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "CLIENT_CERTIFICATE_REQUIRED",
        "this is served to clients with a certificate alone; show one in the TLS handshake",
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::sync::Arc;

    use super::*;
    use crate::route::{Generation, HostPattern, Hsts, Instance, PathPrefix, RouteKey, Target};

    fn route(settings: &Settings) -> Route {
        let target = Target::new("localhost", NonZeroU16::new(1).unwrap(), Vec::new());
        let key = RouteKey {
            host: HostPattern::Any,
            prefix: PathPrefix::parse("/").unwrap(),
        };
        let instance = Arc::new(Instance::new(target));
        Route::new(key, instance, Generation(1)).with_settings(Some(settings))
    }

    fn policies(tls: TlsPolicy, hsts: &str) -> TlsPolicies {
        let defaults = SecurityDefaults {
            tls,
            hsts: hsts.parse().unwrap(),
        };
        TlsPolicies::new(&defaults, 8443)
    }

    fn cleartext(path: &str) -> Transport<'_> {
        Transport {
            is_encrypted: false,
            has_certificate: false,
            host: "a.test",
            method: &Method::GET,
            target: path.as_bytes(),
        }
    }

    fn outcome(policies: &TlsPolicies, route: &Route, transport: Transport<'_>) -> String {
        match policies.check(route, transport) {
            Ok(()) => "served".to_owned(),
            Err(Denied::Refused(refusal)) => refusal.code.to_owned(),
            Err(Denied::Redirect(location)) => location,
        }
    }

    #[test]
    fn a_routes_own_word_goes_before_the_general_one() {
        use TlsPolicy::{Optional, Redirect, Require};
        let cases = [
            (Optional, None, "served"),
            (Redirect, None, "https://a.test:8443/b"),
            (Require, None, "TLS_REQUIRED"),
            (Require, Some(Optional), "served"),
            (Optional, Some(Redirect), "https://a.test:8443/b"),
            (Redirect, Some(Require), "TLS_REQUIRED"),
        ];
        for (general, own, expected) in cases {
            let policies = policies(general, "off");
            let route = route(&Settings {
                tls: own,
                ..Settings::default()
            });
            let found = outcome(&policies, &route, cleartext("/b"));
            assert_eq!(found, expected, "{general:?} {own:?}");
            let encrypted = Transport {
                is_encrypted: true,
                ..cleartext("/b")
            };
            assert_eq!(outcome(&policies, &route, encrypted), "served");
            let challenge = cleartext("/.well-known/acme-challenge/t");
            assert_eq!(outcome(&policies, &route, challenge), "served");
        }
    }

    #[test]
    fn without_a_host_there_is_nowhere_to_go() {
        let nowhere = Transport {
            host: "",
            ..cleartext("/b")
        };
        let policies = policies(TlsPolicy::Redirect, "off");
        let found = outcome(&policies, &route(&Settings::default()), nowhere);
        assert_eq!(found, "BAD_HOST");
    }

    #[test]
    fn a_certificate_may_be_asked_for() {
        let policies = policies(TlsPolicy::Optional, "off");
        let route = route(&Settings {
            client_certificate: Some(ClientCertificate::Require),
            ..Settings::default()
        });
        let transport = Transport {
            is_encrypted: true,
            ..cleartext("/b")
        };
        let found = outcome(&policies, &route, transport);
        assert_eq!(found, "CLIENT_CERTIFICATE_REQUIRED");
        let shown = Transport {
            has_certificate: true,
            ..transport
        };
        assert_eq!(outcome(&policies, &route, shown), "served");
    }

    #[test]
    fn hsts_is_the_routes_or_the_general_one() {
        let policies = policies(TlsPolicy::Optional, "max-age=1");
        let own = |hsts: &str| Settings {
            hsts: Some(hsts.parse::<Hsts>().unwrap()),
            ..Settings::default()
        };
        let value = |own: Option<&Settings>| {
            let value = policies.hsts(own);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(value(None).as_deref(), Some("max-age=1"));
        assert_eq!(
            value(Some(&Settings::default())).as_deref(),
            Some("max-age=1")
        );
        assert_eq!(value(Some(&own("max-age=2"))).as_deref(), Some("max-age=2"));
        assert_eq!(value(Some(&own("off"))), None);
    }
}
