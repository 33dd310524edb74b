//! Responses of upstreams: their heads, and the bodies that those announce. Data begins with a byte for what
//! was asked, and says where reads cut the rest.

use dynamic_reverse_proxy::internals::front::{Framing, OwnedField};
use dynamic_reverse_proxy::internals::proxy::{Ask, Heard, response};

use super::cuts::Cuts;
use super::naive_chunks::{End, decode};

pub(super) fn run(data: &[u8]) {
    let Some((asked, data)) = data.split_first() else {
        return;
    };
    let asked = match asked {
        b'H' => Ask::Head,
        b'U' => Ask::Upgrade,
        _ => Ask::Body,
    };
    let Some(cuts) = Cuts::of(data) else {
        return;
    };
    let single = response(cuts.single(), asked);
    for pieces in [cuts.whole(), cuts.chosen()] {
        same(&single, &response(pieces, asked));
    }
    match single.status {
        Some(status) => check(cuts.bytes, status, asked, &single),
        None => assert!(!single.is_complete && !single.is_switched && single.ends == 0),
    }
}

/// What is no head may be refused before it is complete, when it comes in large pieces. Everything else is
/// the same.
fn same(one: &Heard, other: &Heard) {
    let one = Heard {
        head_pieces: other.head_pieces,
        complete_pieces: other.complete_pieces,
        is_refused: if one.status.is_some() {
            one.is_refused
        } else {
            other.is_refused
        },
        ..one.clone()
    };
    assert_eq!(one, *other);
}

/// A response that came in single bytes and whose head was taken.
fn check(bytes: &[u8], status: u16, asked: Ask, heard: &Heard) {
    let head = heard.head_pieces.expect("a head");
    let (head, body) = bytes.split_at(head);
    assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
    let framing = heard.framing.expect("a head");
    let is_bodiless = asked == Ask::Head || matches!(status, 204 | 304);
    match status {
        101 => assert_eq!((framing, asked), (Framing::Upgrade, Ask::Upgrade)),
        100..200 => panic!("{status} is interim"),
        _ => assert_eq!(framing == Framing::None, is_bodiless),
    }
    let (expected, end) = match framing {
        Framing::None => (&b""[..], Some(0)),
        Framing::Length(length) => {
            let length = usize::try_from(length).ok();
            let end = length.filter(|length| *length <= body.len());
            (&body[..end.unwrap_or(body.len())], end)
        }
        Framing::UntilClose | Framing::Upgrade => (body, None),
        Framing::Chunked => return check_chunked(head.len(), body, heard),
    };
    assert_eq!(heard.body, expected);
    assert!(!heard.is_refused);
    check_end(head.len(), bytes.len(), end, heard);
    assert_eq!(heard.is_switched, framing == Framing::Upgrade);
    assert_eq!(heard.ends_with_connection, framing == Framing::UntilClose);
    if matches!(framing, Framing::UntilClose | Framing::Length(_)) {
        let head = head.to_ascii_lowercase();
        let lines = head.split(|byte| *byte == b'\n');
        let lines: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii_end).collect();
        // Those of the final head: interim ones say nothing of the body.
        let before = lines.iter().rev().skip_while(|line| line.is_empty());
        for line in before.take_while(|line| !line.is_empty()) {
            assert!(!line.starts_with(b"transfer-encoding:chunked"));
            assert!(framing != Framing::UntilClose || !line.starts_with(b"content-length:"));
        }
    }
    for fields in heard.interim.iter().map(|(_, fields)| fields) {
        check_fields(fields, heard, false);
    }
    check_fields(&heard.fields, heard, framing == Framing::Upgrade);
}

fn check_chunked(head: usize, body: &[u8], heard: &Heard) {
    let (data, end) = decode(body);
    assert_eq!(heard.body, data);
    match end {
        End::At(end) => check_end(head, head + body.len(), Some(end), heard),
        End::Open => assert!(!heard.is_refused && !heard.is_complete),
        End::Bad => assert!(heard.is_refused && !heard.is_complete),
        End::OpenOrBad => assert!(!heard.is_complete),
    }
    check_fields(&heard.fields, heard, false);
}

/// The end is told once, where it is; and nothing may follow on a connection that is used again.
fn check_end(head: usize, all: usize, end: Option<usize>, heard: &Heard) {
    let end = end.map(|end| head + end);
    assert_eq!(heard.complete_pieces, end);
    assert_eq!(heard.is_complete, end.is_some());
    assert_eq!(heard.ends, usize::from(end.is_some()));
    assert!(!heard.is_refused);
    if end.is_some_and(|end| end < all) {
        assert!(!heard.keeps);
    }
}

/// What is for the client is none of this hop's, and safe to be written.
fn check_fields(fields: &[OwnedField], heard: &Heard, is_switch: bool) {
    assert!(
        !heard
            .reason
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t')
    );
    for (name, value) in fields {
        let is_token =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(!name.is_empty() && name.iter().all(is_token));
        let name = name.to_ascii_lowercase();
        let ends: [&[u8]; 5] = [
            b"content-length",
            b"transfer-encoding",
            b"keep-alive",
            b"proxy-connection",
            b"trailer",
        ];
        assert!(!ends.contains(&&name[..]));
        assert!(is_switch || name != b"connection");
        // A value of several lines becomes one of one line later.
        for (at, byte) in value.iter().enumerate() {
            match byte {
                b'\r' => assert_eq!(value.get(at + 1), Some(&b'\n')),
                b'\n' => assert!(matches!(value.get(at + 1), Some(b' ' | b'\t'))),
                byte => assert!(!byte.is_ascii_control() || *byte == b'\t'),
            }
        }
    }
}
