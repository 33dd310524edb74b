//! RFC 9113, 6 and 7: each type of frame, and error codes.

use super::*;
use crate::support::http2::{PADDED, PRIORITIZED, PRIORITY, WINDOW_UPDATE};

/// DATA with padding, by its own word.
fn padded(said: u8, rest: &[u8]) -> Vec<u8> {
    frame(DATA, PADDED | END_STREAM, 1, &[&[said], rest].concat())
}

#[tokio::test]
async fn data_and_headers() {
    let request = fields("GET", "/");
    let headers = |flags: u8, before: &[u8], after: &[u8]| {
        frame(HEADERS, flags, 1, &[before, &request, after].concat())
    };
    check(vec![
        case("6.1 DATA on stream 0", PROTOCOL, [data(0, 0, b"x")]),
        case(
            "6.1 padding is left out",
            Served,
            [post(1), padded(3, b"body\0\0\0")],
        ),
        case(
            "6.1 padding as long as the payload",
            PROTOCOL,
            [post(1), padded(6, b"body\0")],
        ),
        case(
            "6.1 padding without its length",
            Expected::Connection(&[Reason::PROTOCOL_ERROR, Reason::FRAME_SIZE_ERROR]),
            [post(1), frame(DATA, PADDED | END_STREAM, 1, b"")],
        ),
        case(
            "6.2 HEADERS on stream 0",
            PROTOCOL,
            [frame(HEADERS, WHOLE, 0, &request)],
        ),
        case(
            "6.2 padding is left out",
            Served,
            [headers(WHOLE | PADDED, &[3], &[0; 3])],
        ),
        case(
            "6.2 padding and priority",
            Served,
            [headers(
                WHOLE | PADDED | PRIORITIZED,
                &[3, 0, 0, 0, 0, 15],
                &[0; 3],
            )],
        ),
        case(
            "6.2 padding longer than the block",
            PROTOCOL,
            [headers(WHOLE | PADDED, &[255], &[])],
        ),
        case(
            "6.2 HEADERS without room for its priority",
            Expected::Connection(&[Reason::FRAME_SIZE_ERROR, Reason::PROTOCOL_ERROR]),
            [frame(HEADERS, WHOLE | PRIORITIZED, 1, &[0, 0])],
        ),
        case(
            "6.3 PRIORITY on stream 0",
            PROTOCOL,
            [frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 15])],
        ),
        case(
            "6.3 PRIORITY of four bytes",
            Expected::Stream(&[Reason::FRAME_SIZE_ERROR]),
            [waiting(1), frame(PRIORITY, 0, 1, &[0; 4])],
        ),
        case("6.4 RST_STREAM on stream 0", PROTOCOL, [reset(0)]),
        case(
            "6.4 RST_STREAM of three bytes",
            SIZE,
            [waiting(1), frame(RST_STREAM, 0, 1, &[0; 3])],
        ),
    ])
    .await;
}

#[tokio::test]
async fn settings() {
    let flow = Expected::Connection(&[Reason::FLOW_CONTROL_ERROR]);
    check(vec![
        case(
            "6.5 an acknowledgement with a payload",
            SIZE,
            [frame(SETTINGS, ACK, 0, &[0; 6])],
        ),
        case(
            "6.5 SETTINGS on a stream",
            PROTOCOL,
            [frame(SETTINGS, 0, 1, &[])],
        ),
        case(
            "6.5 SETTINGS of five bytes",
            SIZE,
            [frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0])],
        ),
        case("6.5.2 ENABLE_PUSH is 0 or 1", PROTOCOL, [setting(2, 2)]),
        case(
            "6.5.2 INITIAL_WINDOW_SIZE of 2^31",
            flow,
            [setting(4, 1 << 31)],
        ),
        case(
            "6.5.2 MAX_FRAME_SIZE below 2^14",
            PROTOCOL,
            [setting(5, (1 << 14) - 1)],
        ),
        case(
            "6.5.2 MAX_FRAME_SIZE above 2^24-1",
            PROTOCOL,
            [setting(5, 1 << 24)],
        ),
        case(
            "6.5.2 unknown settings are ignored",
            Ignored,
            [setting(0x0fff, 7)],
        ),
        case(
            "6.5.2 the same setting twice",
            Served,
            [setting(4, 100), setting(4, 1000), get(1)],
        ),
        case(
            "6.5.2 a header table of no size",
            Served,
            [setting(1, 0), get(1)],
        ),
        case(
            "6.5.2 a list of no size is advice",
            Served,
            [setting(6, 0), get(1)],
        ),
    ])
    .await;
}

#[tokio::test]
async fn pings_and_farewells() {
    check(vec![
        case(
            "6.7 PING on a stream",
            PROTOCOL,
            [frame(PING, 0, 1, b"12345678")],
        ),
        case(
            "6.7 PING of six bytes",
            SIZE,
            [frame(PING, 0, 0, b"123456")],
        ),
        case(
            "6.7 an acknowledgement that nobody waits for",
            Ignored,
            [frame(PING, ACK, 0, b"12345678")],
        ),
        case(
            "6.8 GOAWAY on a stream",
            PROTOCOL,
            [frame(GOAWAY, 0, 1, &[0; 8])],
        ),
        case(
            "6.8 GOAWAY of seven bytes",
            SIZE,
            [frame(GOAWAY, 0, 0, &[0; 7])],
        ),
        case(
            "7 RST_STREAM with an unknown code",
            Ignored,
            [waiting(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 0xff])],
        ),
    ])
    .await;
}

#[tokio::test]
async fn windows_and_continuations() {
    let window = |stream, bytes: &[u8]| frame(WINDOW_UPDATE, 0, stream, bytes);
    let most = [0x7f, 0xff, 0xff, 0xff];
    let request = fields("GET", "/");
    let part = |flags, from, to| frame(CONTINUATION, flags, 1, &request[from..to]);
    let first = frame(HEADERS, END_STREAM, 1, &request[..4]);
    check(vec![
        case(
            "6.9 an increment of 0 for the connection",
            PROTOCOL,
            [window(0, &[0; 4])],
        ),
        case(
            "6.9 an increment of 0 for a stream",
            Expected::Stream(&[Reason::PROTOCOL_ERROR]),
            [waiting(1), window(1, &[0; 4])],
        ),
        case(
            "6.9 WINDOW_UPDATE of three bytes",
            SIZE,
            [window(0, &[0; 3])],
        ),
        case(
            "6.9.1 the connection's window above 2^31-1",
            Expected::Connection(&[Reason::FLOW_CONTROL_ERROR]),
            [window(0, &most), window(0, &most)],
        ),
        case(
            "6.9.1 a stream's window above 2^31-1",
            Expected::Stream(&[Reason::FLOW_CONTROL_ERROR]),
            [waiting(1), window(1, &most), window(1, &most)],
        ),
        case(
            "6.9.1 more DATA than the stream's window",
            Expected::Stream(&[Reason::FLOW_CONTROL_ERROR]),
            [
                frame(HEADERS, END_HEADERS, 1, &fields("POST", "/deaf")),
                data(1, 0, &[0; 16384]).repeat(80),
            ],
        ),
        case(
            "6.9.2 a setting that takes a window above 2^31-1",
            Expected::Connection(&[Reason::FLOW_CONTROL_ERROR]),
            [waiting(1), window(1, &most), setting(4, 0x7fff_ffff)],
        ),
        case(
            "6.10 several CONTINUATIONs",
            Served,
            [
                first.clone(),
                part(0, 4, 9),
                part(0, 9, 9),
                part(END_HEADERS, 9, request.len()),
            ],
        ),
        case(
            "6.10 CONTINUATION after the end of a block",
            PROTOCOL,
            [waiting(1), part(END_HEADERS, 0, 4)],
        ),
        case(
            "6.10 CONTINUATION on stream 0",
            PROTOCOL,
            [
                first.clone(),
                frame(CONTINUATION, END_HEADERS, 0, &request[4..]),
            ],
        ),
        case(
            "6.10 CONTINUATION of another stream",
            PROTOCOL,
            [
                first.clone(),
                frame(CONTINUATION, END_HEADERS, 3, &request[4..]),
            ],
        ),
        case(
            "6.10 CONTINUATION after a CONTINUATION that ends",
            PROTOCOL,
            [
                first,
                part(END_HEADERS, 4, request.len()),
                part(END_HEADERS, 4, 9),
            ],
        ),
        case(
            "6.10 CONTINUATION after DATA",
            PROTOCOL,
            [post(1), data(1, 0, b"x"), part(END_HEADERS, 4, 9)],
        ),
    ])
    .await;
}
