//! Where the control API is.

use std::fmt;
use std::path::PathBuf;

use http::{HeaderValue, Uri};

/// The address of a control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `http://HOST:PORT`.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        port: u16,
        /// Host and port for the field `Host`.
        authority: HeaderValue,
    },
    /// `unix:/PATH`.
    Unix(PathBuf),
}

/// The port of the control API when nothing says otherwise.
const DEFAULT_PORT: u16 = 3001;

impl Endpoint {
    /// Reads `http://HOST:PORT` or `unix:/PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write http://127.0.0.1:3001 or unix:/run/proxy.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(format!("{text:?} has no absolute path; {FORMS}"));
            }
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with("https:") {
            return Err(format!(
                "{text:?}: the control API speaks no TLS; {FORMS}, or a tunnel of SSH"
            ));
        }
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("{text:?} is not an address ({error}); {FORMS}"))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{text:?} is not an address; {FORMS}"));
        };
        if authority.as_str().contains('@') {
            return Err(format!("{text:?} has a user; a token goes into a file"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(format!("{text:?} has a path; {FORMS}"));
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self::Tcp {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|error| format!("{text:?}: {error}"))?,
        })
    }

    /// The default: this machine, the port after the proxy's own.
    pub(super) fn beside(port: Option<&str>) -> Result<Self, String> {
        let control = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port != 0)
                .and_then(|port| port.checked_add(1))
                .ok_or_else(|| {
                    format!("PORT is {port:?}, so the control API's port is not known; say --api")
                })?,
        };
        Self::parse(&format!("http://127.0.0.1:{control}"))
    }

    /// The field `Host`.
    pub(super) fn authority(&self) -> HeaderValue {
        match self {
            Self::Tcp { authority, .. } => authority.clone(),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => {
                write!(f, "http://[{host}]:{port}")
            }
            Self::Tcp { host, port, .. } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:3001", "http://127.0.0.1:3001"),
            ("http://localhost:1/", "http://localhost:1"),
            ("http://[::1]:3001", "http://[::1]:3001"),
            ("http://edge", "http://edge:80"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_forms() {
        for text in [
            "",
            "3001",
            "localhost:3001",
            "https://a",
            "ftp://a",
            "http://",
            "unix:a.sock",
            "http://a/v1",
            "http://a?b",
            "http://user:secret@a",
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(
                error.contains("write http") || error.contains("user"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_default_is_the_next_port() {
        let shown = |port| Endpoint::beside(port).map(|endpoint| endpoint.to_string());
        assert_eq!(shown(None).unwrap(), "http://127.0.0.1:3001");
        assert_eq!(shown(Some("8000")).unwrap(), "http://127.0.0.1:8001");
        for port in ["", "0", "65535", "http"] {
            assert!(shown(Some(port)).unwrap_err().contains("--api"), "{port}");
        }
    }
}
