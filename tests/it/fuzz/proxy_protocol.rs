//! Headers of the PROXY protocol, versions 1 and 2.

use std::net::{IpAddr, SocketAddr};

use dynamic_reverse_proxy::internals::front::{Verdict, begins_with_proxy_header, proxy_header};

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

pub(super) fn run(data: &[u8]) {
    let verdict = proxy_header(data);
    let begins = begins_with_proxy_header(data);
    let is_v1 = data.starts_with(V1);
    let is_v2 = data.starts_with(V2);
    assert_eq!(begins == Some(true), is_v1 || is_v2);
    let is_open = V1.starts_with(data) || V2.starts_with(data);
    assert_eq!(begins.is_none(), is_open && !is_v1 && !is_v2);

    // Whatever comes first decides, and more changes nothing.
    let decided = (0..=data.len()).find_map(|end| match proxy_header(&data[..end]) {
        Verdict::Open => None,
        verdict => Some((end, verdict)),
    });
    match (&decided, &verdict) {
        (None, Verdict::Open) => {}
        (Some((_, decided)), verdict) => assert_eq!(decided, verdict),
        (None, verdict) => panic!("{verdict:?}"),
    }
    let Some((end, verdict)) = decided else {
        return;
    };
    for more in end..data.len() {
        assert_eq!(proxy_header(&data[..more]), verdict);
    }
    assert_eq!(
        proxy_header(&[data, b"\r\nGET / HTTP/1.1\r\n"].concat()),
        verdict
    );
    match verdict {
        Verdict::Taken((length, client)) => {
            assert_eq!(length, end);
            assert!(is_v1 || is_v2);
            let header = &data[..length];
            let named = if is_v1 { first(header) } else { second(header) };
            assert_eq!(client, named);
        }
        Verdict::Refused(_) if is_v1 => assert!(end <= 107),
        Verdict::Refused(_) if is_v2 => assert!(end <= 16 + 4096),
        Verdict::Refused(_) => assert_eq!(begins, Some(false)),
        Verdict::Open => unreachable!("it is decided"),
    }
}

/// The client that a header of version 1 names.
fn first(header: &[u8]) -> Option<SocketAddr> {
    assert!(header.len() <= 107);
    let text = std::str::from_utf8(header).expect("text");
    let line = text.strip_suffix("\r\n").expect("a line");
    assert!(!line.contains('\n'));
    let words: Vec<&str> = line.split(' ').collect();
    if words[1] == "UNKNOWN" {
        return None;
    }
    let [_, family, source, destination, port, other_port] = words[..] else {
        panic!("{line}");
    };
    for address in [source, destination] {
        let address: IpAddr = address.parse().expect("an address");
        assert_eq!(address.is_ipv4(), family == "TCP4");
        assert_eq!(address.is_ipv6(), family == "TCP6");
    }
    let number = |text: &str| {
        let port: u16 = text.parse().expect("a port");
        assert_eq!(port.to_string(), text);
        port
    };
    number(other_port);
    Some(SocketAddr::new(
        source.parse().expect("an address"),
        number(port),
    ))
}

/// The client that a header of version 2 names.
fn second(header: &[u8]) -> Option<SocketAddr> {
    let rest = &header[16..];
    assert_eq!(
        usize::from(header[14]) << 8 | usize::from(header[15]),
        rest.len()
    );
    let port = |at: usize| u16::from(rest[at]) << 8 | u16::from(rest[at + 1]);
    match (header[12], header[13]) {
        (0x20, _) | (0x21, 0) => None,
        (0x21, 0x11) => {
            let address: [u8; 4] = rest[..4].try_into().expect("four bytes");
            Some(SocketAddr::new(address.into(), port(8)))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = rest[..16].try_into().expect("sixteen bytes");
            Some(SocketAddr::new(address.into(), port(32)))
        }
        (0x21, 0x31) => {
            assert!(rest.len() >= 216);
            None
        }
        other => panic!("{other:?}"),
    }
}
