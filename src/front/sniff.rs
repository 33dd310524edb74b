//! Detection of the protocol that a client speaks, by the first bytes that it sends.

/// How a client of HTTP/2 that knows that it will be understood begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of the record with which every TLS client begins (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// The answer to TLS where none is spoken: a fatal `handshake_failure` (RFC 8446, 6.2).
pub(super) const ALERT: &[u8] = &[21, 3, 1, 0, 2, 2, 40];

/// The protocols that the first bytes of a connection may be of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sniff {
    /// HTTP/1, or TLS by mistake.
    Http1,
    /// HTTP/1, HTTP/2, or TLS by mistake.
    AnyHttp,
    /// Nothing: the protocol is known.
    #[default]
    Over,
}

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// HTTP/1, or nothing at all: its own parser says.
    Http1,
    Http2,
    Tls,
    /// More is needed to tell.
    Open,
}

impl Sniff {
    /// Detects the protocol of the client whose first bytes are these.
    pub(super) fn sniff(self, bytes: &[u8]) -> Sniffed {
        match (self, bytes.first()) {
            (Self::Over, _) | (_, None) => Sniffed::Http1,
            (_, Some(&HANDSHAKE)) => Sniffed::Tls,
            (Self::AnyHttp, Some(b'P')) if bytes.starts_with(PREFACE) => Sniffed::Http2,
            (Self::AnyHttp, Some(b'P')) if PREFACE.starts_with(bytes) => Sniffed::Open,
            _ => Sniffed::Http1,
        }
    }
}

/// Whether a first byte is one of TLS.
pub(super) fn is_tls(first: u8) -> bool {
    first == HANDSHAKE
}

/// Whether a first byte begins a request of HTTP/1, or an empty line before it.
pub(super) fn is_http(first: u8) -> bool {
    first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        let cases: [(Sniff, &[u8], Sniffed); 11] = [
            (Sniff::AnyHttp, PREFACE, Sniffed::Http2),
            (
                Sniff::AnyHttp,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0",
                Sniffed::Http2,
            ),
            (Sniff::AnyHttp, b"P", Sniffed::Open),
            (Sniff::AnyHttp, b"PRI * HTTP/2.0\r\n\r\n", Sniffed::Open),
            (Sniff::AnyHttp, b"POST /", Sniffed::Http1),
            (Sniff::AnyHttp, b"GET / HTTP/1.0\r\n\r\n", Sniffed::Http1),
            (Sniff::AnyHttp, b"\x16\x03", Sniffed::Tls),
            (Sniff::Http1, PREFACE, Sniffed::Http1),
            (Sniff::Http1, b"\x16", Sniffed::Tls),
            (Sniff::Over, PREFACE, Sniffed::Http1),
            (Sniff::Over, b"\x16", Sniffed::Http1),
        ];
        for (sniff, bytes, sniffed) in cases {
            assert_eq!(sniff.sniff(bytes), sniffed, "{sniff:?} {bytes:?}");
        }
    }
}
