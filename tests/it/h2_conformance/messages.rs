//! RFC 9113, 8: requests.

use super::*;

/// A request of these fields alone.
fn of(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(fields))
}

fn without(name: &str) -> Vec<u8> {
    let mut fields = FIELDS.to_vec();
    fields.retain(|(field, _)| *field != name);
    of(&fields)
}

fn trailers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, 1, &block(fields))
}

/// A body's head that says how long it is.
fn announced(flags: u8, length: &str) -> Vec<u8> {
    let mut fields = FIELDS.to_vec();
    fields[0].1 = "POST";
    fields.push(("content-length", length));
    frame(HEADERS, flags, 1, &block(&fields))
}

/// One field by its bytes.
fn odd(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = fields("GET", "/");
    bytes.push(0);
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text);
    }
    frame(HEADERS, WHOLE, 1, &bytes)
}

#[tokio::test]
async fn requests_are_framed() {
    check(vec![
        case(
            "8.1 trailers end a stream",
            Served,
            [
                post(1),
                data(1, 0, b"body"),
                trailers(WHOLE, &[("x-sum", "1")]),
            ],
        ),
        case(
            "8.1 a second head without END_STREAM",
            Malformed,
            [
                post(1),
                data(1, 0, b"body"),
                trailers(END_HEADERS, &[("x-sum", "1")]),
            ],
        ),
        case(
            "8.1 trailers with a pseudo-header field",
            Malformed,
            [post(1), trailers(WHOLE, &[(":method", "GET")])],
        ),
        case(
            "8.1.1 a body of its length",
            Served,
            [announced(END_HEADERS, "4"), data(1, END_STREAM, b"body")],
        ),
        case(
            "8.1.1 a body that is too short",
            Malformed,
            [announced(END_HEADERS, "5"), data(1, END_STREAM, b"body")],
        ),
        case(
            "8.1.1 a body that is too long",
            Malformed,
            [announced(END_HEADERS, "3"), data(1, END_STREAM, b"body")],
        ),
        case(
            "8.1.1 a length and no body",
            Malformed,
            [announced(WHOLE, "5")],
        ),
        case(
            "8.1.1 a length that is not a number",
            Malformed,
            [announced(WHOLE, "0x0")],
        ),
        case(
            "8.1.1 a body in too many pieces",
            Malformed,
            [
                announced(END_HEADERS, "3"),
                data(1, 0, b"bo"),
                data(1, END_STREAM, b"dy"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn fields_are_valid() {
    check(vec![
        case(
            "8.2 a name in upper case",
            Malformed,
            [with(&[("X-Upper", "1")])],
        ),
        case("8.2.1 a name with a space", Malformed, [odd(b"a b", b"1")]),
        case("8.2.1 a name with a colon", Malformed, [odd(b"a:b", b"1")]),
        case("8.2.1 a name with NUL", Malformed, [odd(b"a\0b", b"1")]),
        case(
            "8.2.1 a name beyond ASCII",
            Malformed,
            [odd(b"a\xe9", b"1")],
        ),
        case("8.2.1 a name with DEL", Malformed, [odd(b"a\x7f", b"1")]),
        case("8.2.1 an empty name", Malformed, [odd(b"", b"1")]),
        case("8.2.1 a value with NUL", Malformed, [odd(b"a", b"b\0c")]),
        case("8.2.1 a value with CR", Malformed, [odd(b"a", b"b\rc")]),
        case("8.2.1 a value with LF", Malformed, [odd(b"a", b"b\nc")]),
        case(
            "8.2.1 a value with a space before it",
            Malformed,
            [odd(b"a", b" b")],
        ),
        case(
            "8.2.1 a value with a tab behind it",
            Malformed,
            [odd(b"a", b"b\t")],
        ),
        case(
            "8.2.1 a value beyond ASCII",
            Served,
            [odd(b"a", b"b\xe9\xff")],
        ),
        case("8.2.1 an empty value", Served, [odd(b"a", b"")]),
        case(
            "8.2.2 Connection",
            Malformed,
            [with(&[("connection", "keep-alive")])],
        ),
        case(
            "8.2.2 Transfer-Encoding",
            Malformed,
            [with(&[("transfer-encoding", "chunked")])],
        ),
        case(
            "8.2.2 Upgrade",
            Malformed,
            [with(&[("upgrade", "websocket")])],
        ),
        case(
            "8.2.2 Keep-Alive",
            Malformed,
            [with(&[("keep-alive", "1")])],
        ),
        case(
            "8.2.2 Proxy-Connection",
            Malformed,
            [with(&[("proxy-connection", "close")])],
        ),
        case(
            "8.2.2 TE of another value",
            Malformed,
            [with(&[("te", "trailers, deflate")])],
        ),
        case("8.2.2 TE: trailers", Served, [with(&[("te", "trailers")])]),
        case(
            "8.2.2 Connection in trailers",
            Malformed,
            [post(1), trailers(WHOLE, &[("connection", "close")])],
        ),
        case(
            "8.2.3 cookies by themselves",
            Served,
            [with(&[("cookie", "a=1"), ("cookie", "b=2")])],
        ),
    ])
    .await;
}

#[tokio::test]
async fn pseudo_header_fields_are_there_once() {
    let late = |name: &'static str, value: &'static str| {
        let mut fields = FIELDS.to_vec();
        fields.retain(|(field, _)| *field != name);
        fields.extend([("x-a", "1"), (name, value)]);
        of(&fields)
    };
    let as_path = |path: &'static str| frame(HEADERS, WHOLE, 1, &fields("GET", path));
    check(vec![
        case("8.3 behind another field", Malformed, [late(":path", "/")]),
        case(
            "8.3 an authority behind another field",
            Malformed,
            [late(":authority", "a")],
        ),
        case("8.3 an unknown one", Malformed, [with(&[(":test", "1")])]),
        case(
            "8.3 one of answers",
            Malformed,
            [with(&[(":status", "200")])],
        ),
        case("8.3.1 no :method", Malformed, [without(":method")]),
        case("8.3.1 no :scheme", Malformed, [without(":scheme")]),
        case("8.3.1 no :path", Malformed, [without(":path")]),
        case("8.3.1 an empty :path", Malformed, [as_path("")]),
        case("8.3.1 a :path without a slash", Malformed, [as_path("a")]),
        case(
            "8.3.1 a :path with a fragment",
            Malformed,
            [as_path("/a#b")],
        ),
        case(
            "8.3.1 :method twice",
            Malformed,
            [with(&[(":method", "GET")])],
        ),
        case(
            "8.3.1 :scheme twice",
            Malformed,
            [with(&[(":scheme", "http")])],
        ),
        case("8.3.1 :path twice", Malformed, [with(&[(":path", "/")])]),
        case(
            "8.3.1 :authority twice",
            Malformed,
            [with(&[(":authority", "localhost")])],
        ),
        case(
            "8.3.1 Host in place of :authority",
            Served,
            [of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                ("host", "localhost"),
            ])],
        ),
        case("8.3.1 neither", Malformed, [without(":authority")]),
        case(
            "8.3.1 another Host",
            Malformed,
            [with(&[("host", "other")])],
        ),
        case(
            "8.3.1 the same Host",
            Served,
            [with(&[("host", "localhost")])],
        ),
        case(
            "8.3.1 a user's name in :authority",
            Malformed,
            [of(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "me@localhost"),
            ])],
        ),
        case(
            "8.5 CONNECT",
            Malformed,
            [of(&[(":method", "CONNECT"), (":authority", "a:1")])],
        ),
        case(
            "8.5 CONNECT with :path",
            Malformed,
            [frame(HEADERS, WHOLE, 1, &fields("CONNECT", "/"))],
        ),
    ])
    .await;
}
