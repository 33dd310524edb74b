//! Who speaks what: the two sides of a cell.

use std::fmt;

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Http10,
    Http11,
    /// HTTP/2 in cleartext, by prior knowledge (RFC 9113, 3.3).
    Http2,
    Http2Tls,
}

/// What the upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    Http1,
    Https,
    Unix,
    H2c,
    H2Tls,
}

/// A client and an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) upstream: Upstream,
}

impl Client {
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    pub(crate) fn has_tls(self) -> bool {
        self == Self::Http2Tls
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http10",
            Self::Http11 => "http11",
            Self::Http2 => "http2",
            Self::Http2Tls => "http2_tls",
        }
    }
}

impl Upstream {
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::H2Tls)
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2Tls)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::H2c => "h2c",
            Self::H2Tls => "h2_tls",
        }
    }
}

impl Pair {
    /// Whether both sides speak HTTP/1.1, between which interim responses and upgrades pass.
    pub(crate) fn is_http11(self) -> bool {
        self.client == Client::Http11 && !self.upstream.is_http2()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.client.name(), self.upstream.name())
    }
}
