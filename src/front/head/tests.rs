use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head: 4096,
    target: 64,
    fields: 5,
};

fn verdict(text: &str) -> Result<Framing, HeadError> {
    let mut buffer = BytesMut::from(text);
    let head = take(&mut HeadScan::default(), &mut buffer, &LIMITS)?;
    Ok(head.expect("a complete head").1.framing)
}

/// The verdict on what comes in these pieces.
fn heard<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<bool, HeadError> {
    let (mut scan, mut buffer) = (HeadScan::default(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if take(&mut scan, &mut buffer, &LIMITS)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn framing_follows_the_fields() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ("GET / HTTP/1.0\r\n\r\n", Framing::None),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Framing::None),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
            Framing::Length(12),
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Framing::Chunked,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            Framing::Upgrade,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            Framing::None,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            Framing::None,
        ),
    ];
    for (text, framing) in cases {
        assert_eq!(verdict(text), Ok(framing), "{text:?}");
    }
}

#[test]
fn what_pingora_would_let_through_is_refused() {
    use HeadError as E;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64));
    let cases = [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", E::BareLineFeed),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\nX: y\r\n\r\n",
            E::BareLineFeed,
        ),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::BareLineFeed),
        ("GET / b HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("GET /\r\nHost: a\r\n\r\n", E::RequestLine),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        ("PRI * HTTP/2.0\r\n\r\n", E::Version),
        ("GET / HTTP/1.1\r\n\r\n", E::HostMissing),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            E::HostRepeated,
        ),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", E::Field),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", E::Field),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", E::Field),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", E::Field),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TwoFramings,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            E::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            E::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            E::ContentLength,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow, chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n",
            E::TooManyFields,
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", E::Method),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", E::Method),
        ("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", E::Fragment),
        ("GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n", E::Unescaped),
        ("GET /?\"a HTTP/1.1\r\nHost: a\r\n\r\n", E::Unescaped),
        ("GET / HTTP/1.1\r\nHost: b@a\r\n\r\n", E::UserInfo),
        ("GET http://b@a/ HTTP/1.1\r\nHost: a\r\n\r\n", E::UserInfo),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::RequestLine),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
            E::ConnectionOption,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
            E::ConnectionOption,
        ),
        (long.as_str(), E::TargetTooLong),
    ];
    for (text, error) in cases {
        assert_eq!(verdict(text), Err(error), "{text:?}");
    }
}

#[test]
fn end_is_found_wherever_the_reads_cut() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
    for cut in 0..27 {
        let mut scan = HeadScan::default();
        assert_eq!(scan.end(&text[..cut]), Ok(None), "{cut}");
        assert_eq!(scan.end(text), Ok(Some(27)), "{cut}");
    }
}

#[test]
fn what_is_too_long_is_refused_wherever_the_reads_cut() {
    use HeadError as E;
    let field = |length: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n");
        let value = "x".repeat(length - start.len() - end.len());
        format!("{start}{value}{end}")
    };
    let cases = [
        (field(4096), Ok(true)),
        (field(4097), Err(E::HeadTooLong)),
        (format!("\r\n{}", field(4094)), Ok(true)),
        (format!("\r\n{}", field(4095)), Err(E::HeadTooLong)),
        (
            field(5000).replace("\r\n\r\n", "\n\r\n"),
            Err(E::HeadTooLong),
        ),
        (
            format!("GET /{}", field(5000).replace("\r\n", "")),
            Err(E::TargetTooLong),
        ),
        ("\r\n".repeat(2049), Err(E::HeadTooLong)),
    ];
    for (text, verdict) in cases {
        let start = &text[..20];
        assert_eq!(heard([text.as_bytes()]), verdict, "{start:?}");
        assert_eq!(heard(text.as_bytes().chunks(1)), verdict, "{start:?}");
        assert_eq!(heard(text.as_bytes().chunks(1000)), verdict, "{start:?}");
    }
}
