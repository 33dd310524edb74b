//! Heads of requests, and what is forwarded of them. Data says where reads cut a head and what follows it.

use dynamic_reverse_proxy::internals::Request;
use dynamic_reverse_proxy::internals::front::{
    Framing, Limits, OwnedField, RequestHead, Verdict, facts, request,
};
use dynamic_reverse_proxy::internals::proxy::forwarded;

use super::cuts::Cuts;

/// Those of a listener, and those that little data reaches.
const LIMITS: [Limits; 2] = [
    Limits {
        head: 64 * 1024,
        target: 16 * 1024,
        fields: 100,
    },
    Limits {
        head: 120,
        target: 20,
        fields: 3,
    },
];

/// Those of an upstream, which is sent more fields than have come.
const UPSTREAM: Limits = Limits {
    head: 1024 * 1024,
    target: 64 * 1024,
    fields: 200,
};

/// What the proxy says itself.
const OWN: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "forwarded",
];

/// What ends at this hop.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
];

pub(super) fn run(data: &[u8]) {
    if let Some(cuts) = Cuts::of(data) {
        for limits in LIMITS {
            check(&cuts, limits);
        }
    }
}

fn seen(pieces: Vec<&[u8]>, limits: Limits) -> Verdict<RequestHead> {
    match request(pieces, limits) {
        Verdict::Open => Verdict::Open,
        Verdict::Refused(why) => Verdict::Refused(why),
        Verdict::Taken((length, request)) => Verdict::Taken(facts(length, &request)),
    }
}

fn check(cuts: &Cuts<'_>, limits: Limits) {
    let verdict = seen(cuts.whole(), limits);
    assert_eq!(seen(cuts.single(), limits), verdict);
    assert_eq!(seen(cuts.chosen(), limits), verdict);
    let Verdict::Taken(head) = verdict else {
        return;
    };
    let bytes = &cuts.bytes[..head.length];
    assert!(head.length <= limits.head && head.target.len() <= limits.target);
    assert!(head.fields.len() <= limits.fields);
    assert_eq!(seen(vec![bytes], limits), Verdict::Taken(head.clone()));
    let short = &bytes[..head.length - 1];
    assert_eq!(seen(vec![short], limits), Verdict::Open);
    read_naively(bytes, &head);
    let Verdict::Taken((_, request)) = request(cuts.whole(), limits) else {
        panic!("it was taken before");
    };
    if head.is_served {
        for is_trusted in [false, true] {
            check_forwarded(&request, &head, is_trusted);
        }
    }
}

/// The lines of a head, without their ends and without the empty one.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let mut rest = head;
    let mut lines = Vec::new();
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    assert!(rest.is_empty(), "a head ends with a line");
    assert_eq!(
        lines.pop(),
        Some(&b""[..]),
        "a head ends with an empty line"
    );
    for line in &lines {
        let is_odd = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        assert!(!line.iter().any(is_odd), "a control character in a head");
    }
    lines
}

fn field(line: &[u8]) -> OwnedField {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.expect("a field"));
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    assert!(!name.is_empty() && name.iter().all(is_token));
    (name.to_vec(), value[1..].trim_ascii().to_vec())
}

fn values<'f>(fields: &'f [OwnedField], name: &str) -> Vec<&'f [u8]> {
    let is = |other: &[u8]| other.eq_ignore_ascii_case(name.as_bytes());
    let those = fields.iter().filter(|(other, _)| is(other));
    those.map(|(_, value)| &value[..]).collect()
}

/// The head says the same to a reader that knows nothing but lines.
fn read_naively(bytes: &[u8], head: &RequestHead) {
    let mut bytes = bytes;
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let lines = lines(bytes);
    let version: &[u8] = if head.is_http11 {
        b"HTTP/1.1"
    } else {
        b"HTTP/1.0"
    };
    let line = [head.method.as_bytes(), &head.target, version].join(&b' ');
    assert_eq!(lines[0], line);
    assert!(!head.target.contains(&b' ') && !head.target.is_empty());
    let fields: Vec<OwnedField> = lines[1..].iter().map(|line| field(line)).collect();
    assert_eq!(fields, head.fields);
    let hosts = values(&fields, "host").len();
    assert!(hosts == 1 || (hosts == 0 && !head.is_http11));
    let lengths = values(&fields, "content-length");
    let codings = values(&fields, "transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            assert!(head.is_http11);
            assert_eq!(head.framing, Framing::Chunked);
        }
        ([length], []) => {
            assert!(length.iter().all(u8::is_ascii_digit));
            let length = std::str::from_utf8(length).expect("digits");
            match length.parse().expect("a number") {
                0 => assert!(matches!(head.framing, Framing::None | Framing::Upgrade)),
                length => assert_eq!(head.framing, Framing::Length(length)),
            }
        }
        ([], []) => assert!(matches!(head.framing, Framing::None | Framing::Upgrade)),
        _ => panic!("two framings"),
    }
}

fn check_forwarded(request_read: &Request, head: &RequestHead, is_trusted: bool) {
    let out = forwarded(request_read, is_trusted);
    let lines = lines(&out);
    let fields: Vec<OwnedField> = lines[1..].iter().map(|line| field(line)).collect();
    let Verdict::Taken((length, again)) = request([&out[..]], UPSTREAM) else {
        panic!("{}", String::from_utf8_lossy(&out));
    };
    assert_eq!(length, out.len());
    let read = facts(length, &again);
    assert_eq!(
        (&read.method, &read.authority, &read.matched, read.framing),
        (&head.method, &head.authority, &head.matched, head.framing)
    );
    assert!(read.is_served && read.target.starts_with(b"/"));
    assert_eq!(query(&read.target), query(&head.target));
    assert_eq!(
        values(&fields, "host").len(),
        usize::from(head.authority.is_some())
    );
    assert_eq!(read.is_http11, head.authority.is_some());

    let is_upgrade = head.framing == Framing::Upgrade;
    for name in HOP {
        let values = values(&fields, name);
        match name {
            "connection" if is_upgrade => assert_eq!(values, [b"Upgrade"]),
            "upgrade" if is_upgrade => assert_eq!(values, [b"websocket"]),
            _ => assert!(values.is_empty(), "{name}"),
        }
    }
    assert_eq!(values(&fields, "x-request-id"), [b"7"]);
    assert_eq!(values(&fields, "x-forwarded-for").len(), 1);
    assert_eq!(values(&fields, "forwarded").len(), 1);
    if !is_trusted {
        assert_eq!(values(&fields, "x-forwarded-for"), [b"unknown"]);
        assert_eq!(values(&fields, "x-forwarded-proto"), [b"http"]);
        assert_eq!(values(&fields, "x-forwarded-port").len(), 1);
        assert_eq!(
            values(&fields, "x-forwarded-host").first(),
            // An empty one is none.
            head.authority
                .as_deref()
                .filter(|host| !host.is_empty())
                .as_ref()
        );
        assert!(values(&fields, "x-forwarded-host").len() <= 1);
        // What has been forwarded is forwarded as it is.
        assert_eq!(forwarded(&again, false), out);
    }
    compare(head, &fields, is_trusted, is_upgrade);
}

fn query(target: &[u8]) -> Option<&[u8]> {
    let start = target.iter().position(|byte| *byte == b'?')?;
    Some(&target[start..])
}

/// Nothing is made up, and what is for the app alone passes, in its order.
fn compare(head: &RequestHead, fields: &[OwnedField], is_trusted: bool, is_upgrade: bool) {
    let is_among = |names: &[&str], name: &[u8]| {
        let mut names = names.iter();
        names.any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    };
    let options = values(&head.fields, "connection");
    let options: Vec<&[u8]> = options
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let is_nominated = |name: &[u8]| options.iter().any(|other| name.eq_ignore_ascii_case(other));
    let foreign: Vec<&OwnedField> = fields
        .iter()
        .filter(|(name, _)| !(is_among(&OWN, name) || is_upgrade && is_among(&HOP, name)))
        .collect();
    for (name, _) in &foreign {
        assert!(!is_nominated(name) && !is_among(&HOP, name));
    }
    // Claims, and other spellings of what the proxy says.
    let is_special = |name: &[u8]| {
        let lower = name.to_ascii_lowercase();
        // Another spelling may be of any other.
        name.iter()
            .any(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-')
            || is_among(&["x-real-ip", "x-original-url", "x-rewrite-url"], name)
            || [&b"x-forwarded-"[..], b"client", b"x-client"]
                .iter()
                .any(|start| lower.starts_with(start))
    };
    if !is_trusted {
        for (name, _) in &foreign {
            // CGI makes one variable of both spellings.
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            let name = name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            assert!(!name.starts_with("x-forwarded-") && name != "x-real-ip");
        }
    }
    let passing = |name: &[u8]| {
        !is_among(&OWN, name) && !is_among(&HOP, name) && !is_nominated(name) && !is_special(name)
    };
    let sent: Vec<&OwnedField> = head
        .fields
        .iter()
        .filter(|(name, _)| passing(name))
        .collect();
    let plain = foreign.iter().filter(|(name, _)| passing(name));
    assert_eq!(plain.copied().collect::<Vec<_>>(), sent);
    for field in foreign {
        assert!(head.fields.contains(field));
    }
}
