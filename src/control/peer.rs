//! Who may register: the machine that the proxy runs on, and nobody who only looks like it.
//!
//! A loopback peer is not proof enough. Another proxy on this machine relays strangers, and a
//! browser on this machine carries out what a web page wants; both are told apart here.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};

use super::relay;
use crate::front::RequestId;
use crate::registry::{Actor, RegisterError};

/// The peer of a control request, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A TCP connection.
    Inet(SocketAddr),
    /// A TCP connection that a load balancer relays (PROXY protocol): its own address, not the
    /// client's. Even if it is this machine's, whoever is behind it may be anybody.
    Relayed(SocketAddr),
    /// A Unix socket: always this machine.
    Unix,
    /// The connection is gone, or its peer cannot be told.
    Unknown,
}

impl Peer {
    /// The peer's address, if it has one.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) | Self::Relayed(address) => Some(address.ip().to_canonical()),
            Self::Unix | Self::Unknown => None,
        }
    }

    pub(super) fn is_this_machine(self) -> bool {
        match self {
            Self::Inet(address) | Self::Relayed(address) => {
                address.ip().to_canonical().is_loopback()
            }
            Self::Unix => true,
            Self::Unknown => false,
        }
    }
}

/// Who asks, and by which request.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    /// The address that was connected to, if it is TCP.
    pub(super) local: Option<SocketAddr>,
    /// The kernel's cookie of this end of the connection, if that is local: a Unix socket, or TCP on loopback.
    pub(super) cookie: Option<u64>,
    /// The id of the request.
    pub(super) id: RequestId,
}

impl Asker {
    /// Where the request came from, for the log.
    pub(super) fn from(&self) -> String {
        match self.peer {
            Peer::Inet(address) | Peer::Relayed(address) => address.ip().to_canonical().to_string(),
            Peer::Unix => "unix".to_owned(),
            Peer::Unknown => "unknown".to_owned(),
        }
    }

    /// Somebody who is trusted without a token.
    pub(super) fn as_local(&self) -> Actor {
        self.named(Actor::local(self.from()))
    }

    /// The actor with the id of this request.
    pub(super) fn named(&self, actor: Actor) -> Actor {
        Actor {
            request: Some(self.id.as_str().into()),
            ..actor
        }
    }
}

/// Content types that a page's form can send across sites without asking (Fetch, 2.2.2).
const FORMS: [&str; 3] = [
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
];

/// Refuses everybody who is not this machine or cannot be told from somebody who is not.
pub(crate) fn check(peer: Peer, fields: &HeaderMap) -> Result<(), RegisterError> {
    if !peer.is_this_machine() {
        return refuse("only the machine that the proxy runs on may register");
    }
    if let Peer::Relayed(_) = peer {
        return refuse(
            "the connection was relayed (PROXY protocol); register directly from this machine, \
             or with a token",
        );
    }
    check_relay(fields)?;
    check_browser(fields)
}

/// Refuses what another proxy passes on: whoever has sent it may be anybody.
pub(super) fn check_relay(fields: &HeaderMap) -> Result<(), RegisterError> {
    match relay::field(fields) {
        Some(name) => refuse(&format!(
            "the request was relayed (it has {name}); ask directly from this machine, or with a token"
        )),
        None => Ok(()),
    }
}

/// Refuses what a web page in a browser on this machine could make it send. Every field of a name
/// has to be good, not only its first.
fn check_browser(fields: &HeaderMap) -> Result<(), RegisterError> {
    let host = fields.get(HOST).map(HeaderValue::as_bytes);
    if !fields
        .get_all(ORIGIN)
        .iter()
        .all(|origin| is_own_origin(origin.as_bytes(), host))
    {
        return refuse("the request comes from a web page (it has a foreign Origin)");
    }
    let mut sites = fields
        .get_all("sec-fetch-site")
        .iter()
        .map(HeaderValue::as_bytes);
    if !sites.all(|site| matches!(site, b"same-origin" | b"none")) {
        return refuse("the request comes from a web page of another site (Sec-Fetch-Site)");
    }
    match fields.get_all(CONTENT_TYPE).iter().find_map(form) {
        Some(form) => refuse(&format!(
            "the content type {form} is what a web page's form sends; \
             send Content-Type: application/json, or none (curl: --json)"
        )),
        None => Ok(()),
    }
}

/// The content type of a form that a field names, if it names one.
fn form(content_type: &HeaderValue) -> Option<&'static str> {
    let value = content_type.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    FORMS
        .into_iter()
        .find(|form| form.eq_ignore_ascii_case(essence))
}

/// Whether an origin is the loopback host that the request itself is for. A name that only
/// resolves to loopback is not enough: that is what DNS rebinding looks like.
fn is_own_origin(origin: &[u8], host: Option<&[u8]>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (std::str::from_utf8(origin), host.map(std::str::from_utf8))
    else {
        return false;
    };
    let Some((_scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let Ok(name) = authority.parse::<http::uri::Authority>() else {
        return false;
    };
    let bare = name.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
    is_loopback && authority.eq_ignore_ascii_case(host)
}

fn refuse(reason: &str) -> Result<(), RegisterError> {
    Err(RegisterError::Forbidden {
        reason: reason.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn allowed(peer: &str, fields: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        check(Peer::Inet(peer.parse().unwrap()), &map).is_ok()
    }

    #[test]
    fn this_machine_has_many_addresses() {
        for peer in [
            "127.0.0.1:1",
            "127.0.0.2:1",
            "127.255.255.254:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(allowed(peer, &[]), "{peer}");
        }
        for peer in [
            "10.0.0.1:1",
            "192.0.2.1:1",
            "[2001:db8::1]:1",
            "[::ffff:10.0.0.1]:1",
            "0.0.0.0:1",
        ] {
            assert!(!allowed(peer, &[]), "{peer}");
        }
        assert!(check(Peer::Unix, &HeaderMap::new()).is_ok());
        assert!(check(Peer::Unknown, &HeaderMap::new()).is_err());
        let relayed = Peer::Relayed("127.0.0.1:1".parse().unwrap());
        assert!(check(relayed, &HeaderMap::new()).is_err());
    }

    #[test]
    fn relayed_requests_are_not_local() {
        for name in [
            "forwarded",
            "via",
            "x-real-ip",
            "x-forwarded-for",
            "x_client_ip",
        ] {
            assert!(!allowed("127.0.0.1:1", &[(name, "127.0.0.1")]), "{name}");
        }
    }

    #[test]
    fn web_pages_are_not_apps() {
        let cases: [(&[(&str, &str)], bool); 13] = [
            (
                &[
                    ("origin", "https://evil.example"),
                    ("host", "localhost:3000"),
                ],
                false,
            ),
            (&[("origin", "null"), ("host", "localhost:3000")], false),
            (
                &[
                    ("origin", "http://evil.example:3000"),
                    ("host", "evil.example:3000"),
                ],
                false,
            ),
            (
                &[
                    ("origin", "http://localhost:8080"),
                    ("host", "localhost:3000"),
                ],
                false,
            ),
            (
                &[
                    ("origin", "http://localhost:3000"),
                    ("host", "localhost:3000"),
                ],
                true,
            ),
            (
                &[("origin", "http://[::1]:3000"), ("host", "[::1]:3000")],
                true,
            ),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (
                &[("content-type", "application/x-www-form-urlencoded")],
                false,
            ),
            (&[("content-type", "Text/Plain; charset=utf-8")], false),
            (
                &[("content-type", "multipart/form-data; boundary=x")],
                false,
            ),
            (&[("content-type", "application/json; charset=utf-8")], true),
        ];
        for (fields, expected) in cases {
            assert_eq!(allowed("127.0.0.1:1", fields), expected, "{fields:?}");
        }
    }
}
