//! HTTP/2 as an attack: much work for the proxy, little for the client. Each ends with GOAWAY, or
//! is bounded in memory and leaves others alone.

use std::time::Duration;

use h2::Reason;
use tokio::time::timeout;

use crate::support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Http2, PING, RST_STREAM,
    SETTINGS, WHOLE, WINDOW_UPDATE, block, frame,
};
use crate::support::{Origin, TestProxy, in_time};

const FIELDS: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

/// How much more memory any of this may cost, in KiB.
const ROOM: u64 = 48 * 1024;

async fn before(origin: &Origin, more: &str) -> TestProxy {
    let proxy = TestProxy::start(&format!("http2: {{cleartext: true}}\n{more}")).await;
    proxy.register("/", origin.port()).await;
    proxy
}

/// Sends the same bytes again and again until the proxy takes no more of them for a second, or ends
/// the connection. How many bytes it took.
async fn pour(frames: &mut Frames, bytes: &[u8], most: usize) -> usize {
    let many = bytes.repeat((64 * 1024 / bytes.len()).max(1));
    let mut count = 0;
    while count < most {
        match timeout(Duration::from_secs(1), frames.0.offer(&many)).await {
            Ok(Ok(())) => count += many.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    count
}

/// The reason of the GOAWAY.
async fn goaway(frames: &mut Frames) -> Option<Reason> {
    frames.next_of(&[GOAWAY]).await.map(|frame| frame.reason())
}

async fn others_are_served(proxy: &TestProxy) {
    let mut client = Http2::connect(proxy.address()).await;
    assert_eq!(client.get("/fine").await.text(), "fine");
}

fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &block(&FIELDS))
}

fn whole(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &block(&FIELDS))
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_are_cut() {
    let fine = Origin::saying("fine").await;
    let proxy = before(&fine, "").await;
    let base = proxy.peak_kib();
    // CONTINUATION without an end, empty and with fields (CVE-2024-27316 and its like).
    let field = block(&[("x-field", "with a value of some length")]);
    for payload in [&b""[..], &field.repeat(400)] {
        let mut frames = Frames::connect(proxy.address()).await;
        let head = frame(HEADERS, END_STREAM, 1, &block(&FIELDS));
        frames.0.send(head).await;
        let more = frame(CONTINUATION, 0, 1, payload);
        let took = pour(&mut frames, &more, 64 << 20).await;
        assert!(took < 32 << 20, "{took} bytes were taken");
    }
    // One large field, kept in the dynamic table, and then named again and again.
    let mut frames = Frames::connect(proxy.address()).await;
    let mut bomb = block(&FIELDS);
    bomb.extend(b"\x40\x01a\x7f\xa1\x1e");
    bomb.extend([b'v'; 4000]);
    bomb.extend([0xbe; 12_000]);
    frames.send(HEADERS, WHOLE, 1, &bomb).await;
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
    // h2's own 431, or the end.
    assert!(answer.is_none_or(|frame| frame.payload.first() != Some(&0x88)));
    others_are_served(&proxy).await;
    assert_eq!(fine.requests().len(), 1);
    let grown = proxy.peak_kib() - base;
    assert!(grown < ROOM, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_want_an_answer_nobody_reads_are_bounded() {
    let fine = Origin::saying("fine").await;
    let proxy = before(&fine, "timeouts: {idle: 2s}\n").await;
    let base = proxy.peak_kib();
    let mut clients = Vec::new();
    for flood in [
        frame(PING, 0, 0, b"12345678"),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(0x16, 0, 0, b"unknown"),
    ] {
        let mut frames = Frames::connect(proxy.address()).await;
        // Up to 128 MiB within three seconds, of which nothing is read.
        let flooding = pour(&mut frames, &flood, 128 << 20);
        drop(timeout(Duration::from_secs(3), flooding).await);
        clients.push(frames);
    }
    others_are_served(&proxy).await;
    let grown = proxy.peak_kib() - base;
    assert!(grown < ROOM, "{grown} KiB");
    // None of it counts as being in use.
    for mut frames in clients {
        in_time("an idle connection's end", frames.0.rest()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_is_not_kept() {
    let fine = Origin::start(|mut visit| async move {
        let head = visit.head().await.expect("a request");
        if head.line.contains("/fine") {
            return visit.answer(200, "fine").await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = before(&fine, "").await;
    let base = proxy.peak_kib();
    let mut frames = Frames::connect(proxy.address()).await;
    frames.0.send(open(1)).await;
    let flood = frame(DATA, 0, 1, b"");
    let flooding = pour(&mut frames, &flood, 64 << 20);
    drop(timeout(Duration::from_secs(3), flooding).await);
    // Padding alone: nothing is left of it, but the window that it costs.
    let mut frames = Frames::connect(proxy.address()).await;
    frames.0.send(open(1)).await;
    let padded = frame(DATA, 8, 1, &[&[255][..], &[0; 255]].concat());
    let flooding = pour(&mut frames, &padded, 8 << 20);
    drop(timeout(Duration::from_secs(3), flooding).await);
    others_are_served(&proxy).await;
    let grown = proxy.peak_kib() - base;
    assert!(grown < ROOM, "{grown} KiB");
}

/// A whole request, and what makes the proxy reset its stream.
type Made = fn(u32) -> Vec<u8>;

/// `MadeYouReset` (CVE-2025-8671): the client makes the proxy reset the streams, so that they no
/// longer count as open while their requests go on.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_streams_reset_is_sent_away() {
    let fine = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            if request.target() != "/fine" {
                std::future::pending::<()>().await;
            }
            visit.answer(200, "fine").await;
        }
    })
    .await;
    let proxy = before(&fine, "").await;
    let made: [Made; 3] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        |stream| frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
        whole,
    ];
    for made in made {
        let mut frames = Frames::connect(proxy.address()).await;
        let mut stream = 1;
        for _ in 0..200 {
            for _ in 0..10 {
                let bytes = [whole(stream), made(stream)].concat();
                drop(frames.0.offer(bytes).await);
                stream += 2;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let reason = goaway(&mut frames).await;
        assert!(
            matches!(
                reason,
                Some(Reason::ENHANCE_YOUR_CALM | Reason::PROTOCOL_ERROR)
            ),
            "{reason:?}"
        );
    }
    others_are_served(&proxy).await;
    let asked = fine.accepted();
    assert!(asked < 3 * 150, "the origin was asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_above_the_limit_are_refused_and_then_the_client() {
    let fine = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            if request.target() != "/fine" {
                std::future::pending::<()>().await;
            }
            visit.answer(200, "fine").await;
        }
    })
    .await;
    let proxy = before(&fine, "").await;
    let base = proxy.peak_kib();
    let mut frames = Frames::connect(proxy.address()).await;
    let flood: Vec<u8> = (0..20_000)
        .flat_map(|number| whole(2 * number + 1))
        .collect();
    drop(frames.0.offer(&flood).await);
    let mut refused = 0;
    let reason = loop {
        match frames.next_of(&[RST_STREAM, GOAWAY]).await {
            Some(frame) if frame.kind == RST_STREAM => {
                assert_eq!(frame.reason(), Reason::REFUSED_STREAM);
                refused += 1;
            }
            Some(frame) => break frame.reason(),
            None => panic!("no GOAWAY after {refused} refused streams"),
        }
    };
    assert_eq!(reason, Reason::ENHANCE_YOUR_CALM, "after {refused}");
    assert!(refused <= 200, "{refused}");
    others_are_served(&proxy).await;
    assert!(fine.requests().len() <= 101);
    let grown = proxy.peak_kib() - base;
    assert!(grown < ROOM, "{grown} KiB");
}

/// A window that stays shut: each of these streams costs what is kept of its answer, which is some
/// pieces of 64 KiB in Pingora, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_cost_little_and_end() {
    let origin = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            if request.target() == "/fine" {
                visit.answer(200, "fine").await;
            } else {
                visit.answer(200, vec![b'x'; 4 << 20]).await;
            }
        }
    })
    .await;
    let proxy = before(&origin, "timeouts: {send: 2s}\n").await;
    let base = proxy.peak_kib();
    let mut frames = Frames::connect(proxy.address()).await;
    frames
        .0
        .send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .await;
    let requests: Vec<u8> = (0..100).flat_map(|number| whole(2 * number + 1)).collect();
    frames.0.send(requests).await;
    let mut ended = 0;
    while ended < 100 {
        let frame = frames.next_of(&[RST_STREAM, GOAWAY]).await.expect("an end");
        assert_eq!(frame.kind, RST_STREAM, "{frame:?}");
        ended += 1;
    }
    let grown = proxy.peak_kib() - base;
    assert!(grown < 100 * 1024, "{grown} KiB for 400 MiB");
    others_are_served(&proxy).await;
}
