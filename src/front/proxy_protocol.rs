//! The PROXY protocol, versions 1 and 2, as a receiver reads it (HAProxy's proxy-protocol.txt): which
//! client a load balancer in front passes on.
//!
//! A parser of our own: it is small, takes one spelling alone, bounds what it waits for, and tells what
//! is no header from what is not complete.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// How a header of version 1 begins.
const V1: &[u8] = b"PROXY ";

/// The longest header of version 1, with its CRLF.
const V1_LONGEST: usize = 107;

/// How a header of version 2 begins.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of what every header of version 2 has: signature, command, family, length.
const V2_FIXED: usize = 16;

/// The most bytes that are taken of addresses and TLVs; senders use some hundred.
const V2_MOST: usize = 4096;

/// Whom a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The client that the connection was made for.
    Client(SocketAddr),
    /// Nobody with an address: the sender's own connection (`LOCAL`), or a client that it does not
    /// know, or one of a Unix socket. The peer counts.
    Nobody,
}

/// The kind of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// They begin a header.
    Header,
    /// They do not.
    Other,
    /// More is needed to tell.
    Open,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum HeaderError {
    #[error("there is no PROXY protocol header")]
    Missing,
    #[error("the PROXY protocol header is not valid")]
    Invalid,
    #[error("the PROXY protocol header is longer than is read")]
    TooLong,
}

/// The kind of the first bytes of a connection.
pub(super) fn beginning(bytes: &[u8]) -> Beginning {
    for signature in [V1, V2] {
        if bytes.starts_with(signature) {
            return Beginning::Header;
        }
        if signature.starts_with(bytes) {
            return Beginning::Open;
        }
    }
    Beginning::Other
}

/// Reads the header at the front of `bytes`: its length and whom it names; `None` if more is needed.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(usize, Announced)>, HeaderError> {
    match beginning(bytes) {
        Beginning::Open => Ok(None),
        Beginning::Other => Err(HeaderError::Missing),
        Beginning::Header if bytes.starts_with(V1) => first_version(bytes),
        Beginning::Header => second_version(bytes),
    }
}

fn first_version(bytes: &[u8]) -> Result<Option<(usize, Announced)>, HeaderError> {
    let within = bytes.get(..V1_LONGEST).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', within) else {
        let is_full = bytes.len() >= V1_LONGEST;
        return if is_full {
            Err(HeaderError::TooLong)
        } else {
            Ok(None)
        };
    };
    let line = within
        .get(V1.len()..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(HeaderError::Invalid)?;
    Ok(Some((end + 1, of_line(line)?)))
}

/// The rest of a line of version 1: `TCP4 SOURCE DESTINATION PORT PORT`.
fn of_line(line: &str) -> Result<Announced, HeaderError> {
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(HeaderError::Invalid);
    let family = word()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored.
        return Ok(Announced::Nobody);
    }
    let (source, destination) = (word()?, word()?);
    let (source_port, _destination_port) = (port(word()?)?, port(word()?)?);
    let source = match family {
        "TCP4" => IpAddr::V4(both::<Ipv4Addr>(source, destination)?),
        "TCP6" => IpAddr::V6(both::<Ipv6Addr>(source, destination)?),
        _ => return Err(HeaderError::Invalid),
    };
    match words.next() {
        None => Ok(Announced::Client(SocketAddr::new(source, source_port))),
        Some(_more) => Err(HeaderError::Invalid),
    }
}

/// The first of two addresses that both have to be of one family.
fn both<A: FromStr>(source: &str, destination: &str) -> Result<A, HeaderError> {
    match (source.parse(), destination.parse::<A>()) {
        (Ok(source), Ok(_)) => Ok(source),
        _ => Err(HeaderError::Invalid),
    }
}

/// A port: digits without a leading zero.
fn port(text: &str) -> Result<u16, HeaderError> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    match text.parse() {
        Ok(port) if is_plain => Ok(port),
        _ => Err(HeaderError::Invalid),
    }
}

fn second_version(bytes: &[u8]) -> Result<Option<(usize, Announced)>, HeaderError> {
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_FIXED) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MOST {
        return Err(HeaderError::TooLong);
    }
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Invalid),
    };
    let total = V2_FIXED + length;
    let Some(rest) = bytes.get(V2_FIXED..total) else {
        return Ok(None);
    };
    if is_local {
        // The family and the addresses are to be ignored.
        return Ok(Some((total, Announced::Nobody)));
    }
    // TLVs may follow the addresses; none is used.
    let announced = match family {
        // UNSPEC, and a stream of a Unix socket with two paths of 108 bytes.
        0x00 => Announced::Nobody,
        0x31 if rest.len() >= 216 => Announced::Nobody,
        0x11 => of_addresses::<4>(rest, |source| IpAddr::V4(source.into()))?,
        0x21 => of_addresses::<16>(rest, |source| IpAddr::V6(source.into()))?,
        _ => return Err(HeaderError::Invalid),
    };
    Ok(Some((total, announced)))
}

/// Source, destination, source port, destination port.
fn of_addresses<const LENGTH: usize>(
    bytes: &[u8],
    address: impl Fn([u8; LENGTH]) -> IpAddr,
) -> Result<Announced, HeaderError> {
    let (source, rest) = bytes
        .split_first_chunk::<LENGTH>()
        .ok_or(HeaderError::Invalid)?;
    let (_destination, rest) = rest
        .split_first_chunk::<LENGTH>()
        .ok_or(HeaderError::Invalid)?;
    match rest {
        [high, low, _, _, ..] => {
            let port = u16::from_be_bytes([*high, *low]);
            Ok(Announced::Client(SocketAddr::new(address(*source), port)))
        }
        _ => Err(HeaderError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn v2_inet(source: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
        let (family, address) = match source.ip() {
            IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
            IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
        };
        let mut rest = address.repeat(2);
        rest.extend(source.port().to_be_bytes());
        rest.extend(443_u16.to_be_bytes());
        rest.extend(tlvs);
        v2(0x21, family, &rest)
    }

    #[test]
    fn headers_name_the_client() {
        let client = |text: &str| Announced::Client(text.parse().unwrap());
        let cases = [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n".to_vec(),
                client("192.0.2.7:51234"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n".to_vec(),
                client("[2001:db8::7]:1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Nobody),
            (
                b"PROXY UNKNOWN ff:: x 1 2 3\r\n".to_vec(),
                Announced::Nobody,
            ),
            (v2(0x20, 0x00, b""), Announced::Nobody),
            (v2(0x20, 0x11, b"anything"), Announced::Nobody),
            (v2(0x21, 0x00, b"\x04\x00\x01x"), Announced::Nobody),
            (v2(0x21, 0x31, &[b'/'; 216]), Announced::Nobody),
            (
                v2_inet("192.0.2.7:80".parse().unwrap(), b"\x04\x00\x02ab"),
                client("192.0.2.7:80"),
            ),
            (
                v2_inet("[2001:db8::7]:80".parse().unwrap(), b""),
                client("[2001:db8::7]:80"),
            ),
        ];
        for (bytes, announced) in cases {
            let whole = bytes.len();
            let mut with_more = bytes.clone();
            with_more.extend(b"GET / HTTP/1.1\r\n");
            assert_eq!(parse(&with_more), Ok(Some((whole, announced))), "{bytes:?}");
            for end in 0..whole {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        let cases = [
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Missing),
            (b"proxy TCP4".to_vec(), HeaderError::Missing),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 1 +2\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), HeaderError::Invalid),
            (
                b"PROXY TCP4 192.0.2.7 ::1 1 2\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (
                b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
                HeaderError::Invalid,
            ),
            (b"PROXY TCP4\r\n".to_vec(), HeaderError::Invalid),
            (long, HeaderError::TooLong),
            (v2(0x21, 0x12, &[0; 12]), HeaderError::Invalid),
            (v2(0x21, 0x11, &[0; 11]), HeaderError::Invalid),
            (v2(0x21, 0x21, &[0; 35]), HeaderError::Invalid),
            (v2(0x21, 0x31, &[0; 215]), HeaderError::Invalid),
            (v2(0x22, 0x11, &[0; 12]), HeaderError::Invalid),
            (v2(0x11, 0x11, &[0; 12]), HeaderError::Invalid),
            (v2(0x21, 0x11, &[0; 4097]), HeaderError::TooLong),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                parse(&bytes),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_written_is_read(
            noise in prop::collection::vec(any::<u8>(), 0..64),
            is_v4 in any::<bool>(), low in any::<u32>(), high in any::<u32>(), port in any::<u16>(),
            tlvs in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            for start in [&b""[..], V1, V2] {
                let bytes = [start, &noise].concat();
                if let Ok(Some((length, _))) = parse(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
            let ip = if is_v4 {
                IpAddr::V4(Ipv4Addr::from_bits(low))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 96 | u128::from(low)))
            };
            let source = SocketAddr::new(ip, port);
            let family = if is_v4 { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {ip} {ip} {port} 443\r\n");
            let named = Announced::Client(source);
            prop_assert_eq!(parse(line.as_bytes()), Ok(Some((line.len(), named))));
            let binary = v2_inet(source, &tlvs);
            prop_assert_eq!(parse(&binary), Ok(Some((binary.len(), named))));
        }
    }
}
