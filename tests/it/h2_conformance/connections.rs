//! RFC 9113, 3 to 5: the preface, frames, states of streams.

use super::*;
use crate::support::Wire;
use crate::support::http2::{Http2, PRIORITY, PUSH_PROMISE, WINDOW_UPDATE};
use crate::support::in_time;
use crate::support::tls::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn frames_are_read_as_section_4_says() {
    let unknown = |flags, stream| frame(0x16, flags, stream, b"whatever");
    let (first, rest) = in_two(1);
    let (other, _) = in_two(3);
    check(vec![
        case(
            "4.1 an unknown type is ignored",
            Ignored,
            [unknown(0, 0), unknown(0xff, 0)],
        ),
        case(
            "4.1 also on a stream",
            Served,
            [post(1), unknown(0, 1), data(1, END_STREAM, b"x")],
        ),
        case(
            "4.1 unknown flags are ignored",
            Ignored,
            [frame(PING, 0x16, 0, b"12345678")],
        ),
        case(
            "4.1 the reserved bit is ignored",
            Served,
            [frame(HEADERS, WHOLE, 0x8000_0001, &fields("GET", "/"))],
        ),
        case(
            "4.2 DATA of 16384 bytes is taken",
            Served,
            [post(1), data(1, END_STREAM, &[b'x'; 16384])],
        ),
        case(
            "4.2 DATA above SETTINGS_MAX_FRAME_SIZE",
            Expected::Stream(&[Reason::FRAME_SIZE_ERROR]),
            [post(1), data(1, END_STREAM, &[b'x'; 16385])],
        ),
        case(
            "4.2 HEADERS above SETTINGS_MAX_FRAME_SIZE",
            SIZE,
            [frame(HEADERS, WHOLE, 1, &[0; 16385])],
        ),
        case(
            "4.2 an unknown type above SETTINGS_MAX_FRAME_SIZE",
            SIZE,
            [frame(0x16, 0, 0, &[0; 16385])],
        ),
        case(
            "4.3 a block that cannot be decoded",
            COMPRESSION,
            [frame(HEADERS, WHOLE, 1, &[0x82, 0x87, 0x84, 0x01, 0x8f])],
        ),
        case(
            "4.3 a block in two frames",
            Served,
            [first.clone(), rest.clone()],
        ),
        case(
            "4.3 PRIORITY within a block",
            PROTOCOL,
            [
                first.clone(),
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]),
                rest.clone(),
            ],
        ),
        case(
            "4.3 HEADERS of another stream within a block",
            PROTOCOL,
            [first.clone(), other],
        ),
        case(
            "4.3 DATA within a block",
            PROTOCOL,
            [first.clone(), data(1, 0, b"x")],
        ),
        case(
            "4.3 PING within a block",
            PROTOCOL,
            [first.clone(), frame(PING, 0, 0, b"12345678"), rest.clone()],
        ),
        case(
            "5.5 an unknown type within a block",
            PROTOCOL,
            [first, unknown(0, 0), rest],
        ),
    ])
    .await;
}

#[tokio::test]
async fn streams_have_the_states_of_section_5() {
    let again = frame(HEADERS, WHOLE, 1, &fields("GET", "/"));
    check(vec![
        case("5.1 DATA on an idle stream", PROTOCOL, [data(1, 0, b"x")]),
        case("5.1 RST_STREAM on an idle stream", PROTOCOL, [reset(1)]),
        case(
            "5.1 WINDOW_UPDATE on an idle stream",
            PROTOCOL,
            [frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
        ),
        case(
            "5.1 CONTINUATION on an idle stream",
            PROTOCOL,
            [frame(CONTINUATION, END_HEADERS, 1, &fields("GET", "/"))],
        ),
        case(
            "5.1 PRIORITY on an idle stream",
            Ignored,
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
        ),
        case(
            "5.1 DATA after END_STREAM",
            CLOSED,
            [waiting(1), data(1, 0, b"x")],
        ),
        case(
            "5.1 HEADERS after END_STREAM",
            CLOSED,
            [waiting(1), again.clone()],
        ),
        case(
            "5.1 CONTINUATION after END_STREAM",
            PROTOCOL,
            [
                waiting(1),
                frame(CONTINUATION, END_HEADERS, 1, &fields("GET", "/")),
            ],
        ),
        case(
            "5.1 WINDOW_UPDATE after END_STREAM",
            Ignored,
            [waiting(1), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
        ),
        case(
            "5.1 PRIORITY after END_STREAM",
            Ignored,
            [waiting(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
        ),
        case(
            "5.1 RST_STREAM after END_STREAM",
            Ignored,
            [waiting(1), reset(1)],
        ),
        case(
            "5.1 DATA after RST_STREAM",
            CLOSED,
            [waiting(1), reset(1), data(1, 0, b"x")],
        ),
        case(
            "5.1 HEADERS after RST_STREAM",
            CLOSED,
            [waiting(1), reset(1), again.clone()],
        ),
        case(
            "5.1 CONTINUATION after RST_STREAM",
            PROTOCOL,
            [
                waiting(1),
                reset(1),
                frame(CONTINUATION, END_HEADERS, 1, &fields("GET", "/")),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn streams_are_closed_and_numbered() {
    let again = frame(HEADERS, WHOLE, 1, &fields("GET", "/"));
    check(vec![
        later("5.1 DATA on a closed stream", CLOSED, [data(1, 0, b"x")]),
        later(
            "5.1 HEADERS on a closed stream",
            Expected::Connection(&[Reason::STREAM_CLOSED, Reason::PROTOCOL_ERROR]),
            [again],
        ),
        later(
            "5.1 CONTINUATION on a closed stream",
            PROTOCOL,
            [frame(CONTINUATION, END_HEADERS, 1, &fields("GET", "/"))],
        ),
        later(
            "5.1 WINDOW_UPDATE on a closed stream",
            Ignored,
            [frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])],
        ),
        later("5.1 RST_STREAM on a closed stream", Ignored, [reset(1)]),
        later(
            "5.1 PRIORITY on a closed stream",
            Ignored,
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
        ),
        case("5.1.1 an even number", PROTOCOL, [get(2)]),
        case(
            "5.1.1 a smaller number than before",
            PROTOCOL,
            [waiting(5), get(3)],
        ),
        case("5.1.1 numbers may be left out", Served, [get(101)]),
        case(
            "5.1.2 more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
            Expected::Stream(&[Reason::REFUSED_STREAM, Reason::PROTOCOL_ERROR]),
            [(0..101)
                .flat_map(|number| waiting(2 * number + 1))
                .collect()],
        ),
        case(
            "5.3 priority of a request is of no effect",
            Served,
            [frame(
                HEADERS,
                WHOLE | 0x20,
                1,
                &[&[0, 0, 0, 3, 15][..], &fields("GET", "/")].concat(),
            )],
        ),
        case(
            "6.6 PUSH_PROMISE from a client",
            PROTOCOL,
            [
                waiting(1),
                frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 2][..], &fields("GET", "/")].concat(),
                ),
            ],
        ),
    ])
    .await;
}

/// Within TLS, where no other protocol can be meant.
#[tokio::test]
async fn the_preface_is_demanded() {
    let (identity, origin) = (Identity::new(), origin().await);
    let mut options = Options::default();
    options.listener.tls = Some(identity.server());
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    for preface in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = identity.connect(proxy.address(), &["h2"]).await;
        stream.write_all(preface.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(in_time("an end", stream.read_to_end(&mut answer)).await);
        assert!(
            !answer.windows(4).any(|bytes| bytes == b"HTTP"),
            "{preface}"
        );
    }
    assert!(origin.requests().is_empty());
    let stream = identity.connect(proxy.address(), &["h2"]).await;
    assert_eq!(Http2::over(stream).await.get("/").await.text(), "hello");
}

#[tokio::test]
async fn settings_and_pings_are_acknowledged() {
    let origin = origin().await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    // 3.4: SETTINGS is the first frame of the server.
    let first = in_time("a frame", frames.next()).await.expect("one");
    assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
    assert_eq!(first.payload.len() % 6, 0);
    // 6.5.3
    let ack = next(&mut frames, &[SETTINGS]).await.expect("an answer");
    assert_eq!((ack.flags, ack.payload.len()), (ACK, 0));
    // 6.7
    frames.send(PING, ACK, 0, b"nothing!").await;
    frames.send(PING, 0, 0, b"12345678").await;
    let pong = next(&mut frames, &[PING]).await.expect("an answer");
    assert_eq!((pong.flags, &*pong.payload), (ACK, &b"12345678"[..]));
    // 6.8: what is in flight is finished.
    frames.0.send(get(1)).await;
    frames.send(GOAWAY, 0, 0, &[0; 8]).await;
    let answer = next(&mut frames, &[HEADERS]).await.expect("an answer");
    assert_eq!(status(&answer.payload), 200);
    let end = timeout(TIMEOUT, frames.0.rest()).await;
    assert!(end.is_ok(), "the connection ends after its last stream");
}

/// RFC 9113, 3.4: the preface ends with SETTINGS. h2 0.4 takes a request before them, as if they
/// were empty; this is to fail when it does not.
#[tokio::test]
async fn settings_are_not_waited_for() {
    let origin = origin().await;
    let proxy = before(&origin).await;
    let stream = in_time("connecting", TcpStream::connect(proxy.address())).await;
    let mut frames = Frames(Wire::new(stream.unwrap()));
    frames.0.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    frames.0.send(get(1)).await;
    let answer = next(&mut frames, &[HEADERS, GOAWAY]).await.unwrap();
    assert_eq!(answer.kind, HEADERS, "no shortfall any more: {answer:?}");
}
