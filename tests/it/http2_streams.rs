//! What becomes of single streams of HTTP/2, and of their connection with the last of them.

use std::time::{Duration, Instant};

use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use h2::Reason;
use http::Method;

use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Http2, RST_STREAM, WHOLE, block, frame,
    get, request,
};
use crate::support::{Embedded, Origin, TestProxy, Visitors, engine, in_time, pattern, targets};

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(300);

const FIELDS: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

fn options() -> Options {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    options
}

async fn before(origin: &Origin) -> Embedded {
    let proxy = Embedded::start(options());
    proxy.register("/", origin.port()).await;
    proxy
}

async fn by_hand(options: Options) -> (Embedded, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    (proxy, origin, visitors)
}

/// The answer that the origin gives, as a client of HTTP/2 sees its fields.
async fn fields_of(answer: &'static [u8]) -> http::HeaderMap {
    let origin = Origin::sending(answer).await;
    let proxy = before(&origin).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let response = in_time("an answer", pending.response).await;
    response.expect("an answer").headers().clone()
}

#[tokio::test]
async fn an_answer_has_one_date_and_that_of_its_origin() {
    let fields = fields_of(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let date = fields["date"].to_str().expect("text");
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let fields = fields_of(
        b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(fields.get_all("date").iter().count(), 1);
    assert_eq!(fields["date"], date);
}

#[tokio::test]
async fn fields_of_the_origins_connection_stay_behind() {
    let fields = fields_of(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
          Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
          0\r\n\r\n",
    )
    .await;
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
    ] {
        assert!(!fields.contains_key(name), "{name}: {fields:?}");
    }
    assert_eq!(fields["x-kept"], "1");
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let fields = fields_of(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
          HTTP/1.1 200 OK\r\nX-Final: 1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(fields["x-final"], "1");
    assert!(!fields.contains_key("link"));
}

#[tokio::test]
async fn empty_frames_end_no_upload() {
    let origin = Origin::saying("fine").await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.send(HEADERS, END_HEADERS, 1, &block(&FIELDS)).await;
    for piece in ["", "one", "", "", "two", ""] {
        frames.send(DATA, 0, 1, piece.as_bytes()).await;
    }
    frames.send(DATA, END_STREAM, 1, b"").await;
    let answer = frames.next_of(&[HEADERS, RST_STREAM]).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88));
    assert_eq!(origin.requests()[0].body, b"onetwo");
}

/// A window full of the shortest messages of gRPC, before any of them is read.
#[tokio::test]
async fn an_upload_of_many_small_frames_arrives() {
    let origin = Origin::saying("fine").await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.send(HEADERS, END_HEADERS, 1, &block(&FIELDS)).await;
    let message = frame(DATA, 0, 1, b"abcdef");
    frames.raw(message.repeat(10_000)).await;
    frames.send(DATA, END_STREAM, 1, b"").await;
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88));
    assert_eq!(origin.requests()[0].body, b"abcdef".repeat(10_000));
}

#[tokio::test]
async fn an_upload_goes_on_as_the_origin_takes_it() {
    let origin = Origin::echoing().await;
    let proxy = before(&origin).await;
    let mut client = Http2::connect(proxy.address()).await;
    // More than the windows of the stream and of the connection.
    let body = pattern(3 << 20);
    let mut upload = client.begin(request(Method::POST, "/"), true).await;
    let sending = async {
        let mut rest = bytes::Bytes::from(body.clone());
        while !rest.is_empty() {
            upload.body.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|context| upload.body.poll_capacity(context)).await;
            let room = room.expect("an open stream").expect("room");
            let piece = rest.split_to(room.min(rest.len()));
            let is_last = rest.is_empty();
            upload.body.send_data(piece, is_last).expect("a body");
        }
    };
    in_time("the upload", sending).await;
    assert!(upload.answer().await.body == body);
}

#[tokio::test]
async fn a_request_that_met_a_dead_connection_is_sent_once_more_with_its_body() {
    for (size, tries) in [(5, 2), (64 * 1024, 2), (200_000, 1)] {
        let origin = Origin::breaking(1, "").await;
        let proxy = before(&origin).await;
        let mut client = Http2::connect(proxy.address()).await;
        assert_eq!(client.get("/warm").await.text(), "well");
        let mut upload = client.begin(request(Method::PUT, "/a"), true).await;
        upload
            .body
            .send_data(pattern(size).into(), true)
            .expect("a body");
        let answer = upload.answer().await;
        let seen = origin.requests();
        let expected = [&["/warm"][..], &["/a"].repeat(tries)].concat();
        assert_eq!(targets(&seen), expected, "{size}");
        assert_eq!(answer.status, if tries == 2 { 200 } else { 500 }, "{size}");
        if tries == 2 {
            assert!(seen[1].body == pattern(size) && seen[2].body == seen[1].body);
        }
    }
}

/// What may become of a request that is malformed.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Reset,
    /// `:status: 400`.
    Refused,
}

#[tokio::test]
async fn a_malformed_request_ends_alone() {
    let origin = Origin::saying("fine").await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let authority = (":authority", "localhost");
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let length = |length| ("content-length", length);
    let cases = [
        (with(&[authority, length("0"), length("1")]), End::Reset),
        (with(&[authority, length("0"), length("x")]), End::Reset),
        (with(&[authority, length("0"), length("0, 1")]), End::Reset),
        (with(&[]), End::Refused),
        (with(&[authority, ("host", "other")]), End::Refused),
        (with(&[authority, ("host", "localhost:80")]), End::Refused),
        (with(&[authority, ("host", "me@localhost")]), End::Refused),
        (with(&[(":authority", "me@localhost")]), End::Refused),
        (
            with(&[("host", "localhost"), ("host", "localhost")]),
            End::Refused,
        ),
    ];
    let mut stream = 1;
    for (fields, end) in cases {
        frames.headers(stream, &fields).await;
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        let answer = answer.unwrap_or_else(|| panic!("{fields:?}: no answer"));
        assert_eq!(answer.stream, stream, "{fields:?}: {answer:?}");
        let seen = if answer.kind == RST_STREAM {
            assert_eq!(answer.reason(), Reason::PROTOCOL_ERROR, "{fields:?}");
            End::Reset
        } else {
            assert!(answer.payload.contains(&0x8c), "{answer:?}");
            if answer.flags & END_STREAM == 0 {
                let body = frames.next_of(&[DATA]).await.expect("a body");
                let text = String::from_utf8_lossy(&body.payload).into_owned();
                assert!(
                    body.flags & END_STREAM != 0 && text.contains("BAD_HOST"),
                    "{text}"
                );
            } else {
                // Pingora says no more.
                assert_eq!(engine::chosen(), Some("pingora"), "{answer:?}");
            }
            End::Refused
        };
        assert_eq!(seen, end, "{fields:?}");
        frames.headers(stream + 2, &with(&[authority])).await;
        let fine = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        assert!(
            fine.is_some_and(|frame| frame.stream == stream + 2 && frame.kind == HEADERS),
            "after {fields:?}"
        );
        stream += 4;
    }
}

/// RFC 9113, 8.1.1: a request that announces an empty body is whole at the end of its stream, too.
#[tokio::test]
async fn malformed_trailers_behind_no_body_end_the_request() {
    let origin = Origin::saying("fine").await;
    let proxy = TestProxy::start("http2: {cleartext: true}").await;
    proxy.register("/", origin.port()).await;
    for trailers in [("connection", "close"), ("transfer-encoding", "chunked")] {
        let mut frames = Frames::connect(proxy.address()).await;
        let head = [&FIELDS[..], &[("content-length", "0")]].concat();
        let head = frame(HEADERS, END_HEADERS, 1, &block(&head));
        let trailers = frame(HEADERS, WHOLE, 1, &block(&[trailers]));
        drop(frames.0.offer([head, trailers].concat()).await);
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
        assert_eq!(answer.reason(), Reason::PROTOCOL_ERROR, "{answer:?}");
    }
    assert_eq!(targets(&origin.requests()), [""; 0]);
    // Good ones do no harm, and come when they come.
    let mut frames = Frames::connect(proxy.address()).await;
    let head = [&FIELDS[..], &[("content-length", "0")]].concat();
    frames.send(HEADERS, END_HEADERS, 1, &block(&head)).await;
    frames
        .send(HEADERS, WHOLE, 1, &block(&[("x-sum", "1")]))
        .await;
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
    assert_eq!(answer.map(|answer| answer.kind), Some(HEADERS));
    assert_eq!(targets(&origin.requests()), ["/"]);
}

#[tokio::test]
async fn malformed_requests_between_others_are_counted() {
    let origin = Origin::saying("fine").await;
    let proxy = before(&origin).await;
    let mut frames = Frames::connect(proxy.address()).await;
    let fields = |host| [&FIELDS[..], &[("host", host)]].concat();
    let mut answers = 0;
    let reason = loop {
        let stream = 4 * answers + 1;
        let malformed = frame(HEADERS, WHOLE, stream, &block(&fields("other")));
        let fine = frame(HEADERS, WHOLE, stream + 2, &block(&fields("localhost")));
        drop(frames.0.offer([malformed, fine].concat()).await);
        let answer = frames.next_of(&[HEADERS, GOAWAY]).await.expect("an answer");
        if answer.kind == GOAWAY {
            break answer.reason();
        }
        answers += 1;
        assert!(answers < 100, "no end");
        // The other answer of the pair, or GOAWAY.
        if let Some(answer) = frames.next_of(&[HEADERS, GOAWAY]).await
            && answer.kind == GOAWAY
        {
            break answer.reason();
        }
    };
    assert_eq!(reason, Reason::ENHANCE_YOUR_CALM);
    assert!((16..=32).contains(&answers), "after {answers}");
}

#[tokio::test]
async fn the_idle_time_begins_with_the_end_of_the_last_stream() {
    let mut options = options();
    options.idle_timeout = Some(SHORT);
    let (proxy, _origin, mut visitors) = by_hand(options).await;
    let mut client = Http2::connect(proxy.address()).await;
    // The timer runs before there is a stream.
    tokio::time::sleep(SHORT / 2).await;
    let pending = client.begin(get("/"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    // It runs out while the stream is in use.
    tokio::time::sleep(3 * SHORT).await;
    assert_eq!(proxy.proxy.connections().open(), 1);
    visit.answer(200, "late").await;
    assert_eq!(pending.answer().await.text(), "late");
    let since = Instant::now();
    in_time("the end", proxy.proxy.connections().all_closed()).await;
    assert!(since.elapsed() >= SHORT * 9 / 10, "{:?}", since.elapsed());
    assert_eq!(client.end().await, None);
}

#[tokio::test]
async fn after_a_stop_a_client_is_let_go_a_moment_after_its_last_stream() {
    let (proxy, _origin, mut visitors) = by_hand(options()).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.headers(1, &FIELDS).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    proxy.stop();
    frames.next_of(&[GOAWAY]).await.expect("GOAWAY");
    // Longer than an idle client is waited for; this one answers no PING.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(proxy.proxy.connections().open(), 1);
    visit.answer(200, "late").await;
    let answer = frames.next_of(&[HEADERS, RST_STREAM]).await;
    assert_eq!(answer.expect("an answer").kind, HEADERS);
    in_time("the end", proxy.proxy.connections().all_closed()).await;
}

#[tokio::test]
async fn a_stream_that_comes_after_a_stop_is_served() {
    let (proxy, _origin, mut visitors) = by_hand(options()).await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.headers(1, &FIELDS).await;
    let mut first = visitors.next().await;
    first.head().await.expect("a request");
    proxy.stop();
    frames.next_of(&[GOAWAY]).await.expect("GOAWAY");
    // It was on its way: GOAWAY names no last stream yet (RFC 9113, 6.8).
    frames.headers(3, &FIELDS).await;
    let mut second = visitors.next().await;
    second.head().await.expect("a request");
    for visit in [&mut second, &mut first] {
        visit.answer(200, "late").await;
        let answer = frames.next_of(&[HEADERS, RST_STREAM]).await;
        assert_eq!(answer.expect("an answer").kind, HEADERS);
    }
}
