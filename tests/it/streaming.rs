//! Bodies that take their time, or never end: passed on as they come, and held back when nobody
//! takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Client, Origin, OriginConnection, TestProxy, Visitors, Wire, eventually, in_time, pattern,
};

/// A piece of a large body.
const BLOCK: usize = 256 * 1024;

async fn before(origin: &Origin) -> TestProxy {
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    proxy
}

async fn by_hand() -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    (before(&origin).await, origin, visitors)
}

/// A client whose request the origin has read.
async fn begun(proxy: &TestProxy, visitors: &mut Visitors) -> (Client, OriginConnection) {
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    (client, visit)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_before_the_next_is_sent() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    visit
        .send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    let head = client.response_head().await.expect("the head alone");
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    for n in 0..20 {
        let event = format!("data: {n}\n\n");
        visit.send_chunk(&event).await;
        assert_eq!(client.chunk().await, Some(event.into_bytes()));
    }
    visit.send_chunk("").await;
    assert_eq!(client.chunk().await.as_deref(), Some(&b""[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_at_once_in_any_framing() {
    for framing in ["Content-Length: 100", "Connection: close"] {
        let (proxy, _origin, mut visitors) = by_hand().await;
        let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
        visit
            .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))
            .await;
        client.response_head().await.expect("the head alone");
        for byte in [b"a", b"b"] {
            visit.send(byte).await;
            let mut seen = Vec::new();
            while !seen.contains(&byte[0]) {
                let piece = client.piece().await;
                assert!(!piece.is_empty(), "{framing}: the end");
                seen.extend(piece);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_reaches_the_origin_while_it_is_sent() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("the head alone");
    for n in 0..20 {
        let piece = format!("piece {n}");
        client
            .send(format!("{:x}\r\n{piece}\r\n", piece.len()))
            .await;
        assert_eq!(visit.chunk().await, Some(piece.into_bytes()));
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(visit.chunk().await.as_deref(), Some(&b""[..]));
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");

    client
        .send("PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        .await;
    visit.head().await.expect("the head alone");
    for piece in ["ab", "cd", "ef"] {
        client.send(piece).await;
        assert_eq!(visit.bytes(2).await, piece.as_bytes());
    }
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
}

/// The limits on the origin's pauses do not count while it waits for the client's body.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_is_not_the_origins_silence() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts: {first_byte: 300ms, between_bytes: 300ms}").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client
        .send("PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("the head alone");
    for piece in ["ab", "cd"] {
        // The client's silence is what is tested.
        tokio::time::sleep(Duration::from_millis(700)).await;
        client.send(piece).await;
        assert_eq!(visit.bytes(2).await, piece.as_bytes());
    }
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    // From the end of the body on, they do.
    client
        .send("PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd")
        .await;
    visit.request().await.expect("a request");
    let response = client.response().await;
    assert_eq!(response.verdict(), (504, "TIMEOUT".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_may_talk_at_the_same_time() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("the head alone");
    visit.begin_chunks().await;
    client.response_head().await.expect("an early answer");
    for n in 0..20 {
        let piece = format!("piece {n}");
        client
            .send(format!("{:x}\r\n{piece}\r\n", piece.len()))
            .await;
        let heard = visit.chunk().await.expect("a piece");
        visit
            .send_chunk(&String::from_utf8_lossy(&heard).to_uppercase())
            .await;
        let back = client.chunk().await.expect("a piece");
        assert_eq!(back, piece.to_uppercase().into_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(visit.chunk().await.as_deref(), Some(&b""[..]));
    visit.send_chunk("").await;
    assert_eq!(client.chunk().await.as_deref(), Some(&b""[..]));
}

/// Writes blocks and counts their bytes, until somebody stops it.
async fn pour(stream: &mut TcpStream, block: &[u8], blocks: usize, count: &AtomicU64) {
    for _ in 0..blocks {
        if stream.write_all(block).await.is_err() {
            return;
        }
        count.fetch_add(block.len() as u64, Ordering::SeqCst);
    }
}

/// Waits until a count no longer grows, and returns it.
async fn standstill(count: &AtomicU64) -> u64 {
    let mut last = (0, Instant::now());
    eventually("a standstill", async || {
        let now = count.load(Ordering::SeqCst);
        if now != last.0 || now == 0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(700)
    })
    .await;
    last.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_holds_its_origin_back() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    let base = proxy.resident_kib();
    let block = pattern(BLOCK);
    let blocks = 400;
    visit
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            BLOCK * blocks
        ))
        .await;
    client.response_head().await.expect("an answer");
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, source) = (Arc::clone(&sent), block.clone());
    let origin = tokio::spawn(async move {
        pour(&mut visit.stream, &source, blocks, &counter).await;
        visit
    });
    // The kernel's buffers of four sockets take some, and nobody else anything.
    let taken = standstill(&sent).await;
    assert!(taken < 40 << 20, "{taken} bytes were taken");
    let grown = proxy.peak_kib().saturating_sub(base);
    assert!(grown < 8 << 10, "the proxy took {grown} KiB");
    for n in 0..blocks {
        let piece = client.bytes(BLOCK).await;
        assert!(piece == block, "block {n} is another");
    }
    in_time("the origin", origin).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_origin_holds_its_client_back() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let blocks = 400;
    let block = pattern(BLOCK);
    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            BLOCK * blocks
        ))
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a head");
    let base = proxy.resident_kib();
    let sent = Arc::new(AtomicU64::new(0));
    let (counter, source) = (Arc::clone(&sent), block.clone());
    let sender = tokio::spawn(async move {
        pour(&mut client.stream, &source, blocks, &counter).await;
        client
    });
    let taken = standstill(&sent).await;
    assert!(taken < 40 << 20, "{taken} bytes were taken");
    let grown = proxy.peak_kib().saturating_sub(base);
    assert!(grown < 8 << 10, "the proxy took {grown} KiB");
    for n in 0..blocks {
        let piece = visit.bytes(BLOCK).await;
        assert!(piece == block, "block {n} is another");
    }
    visit.answer(200, "ok").await;
    let mut client = in_time("the client", sender).await.expect("no panic");
    assert_eq!(client.response().await.text(), "ok");
}

/// How large a large body is, in MiB: the size that is promised to leave memory flat.
const LARGE_MIB: usize = 2048;

/// How far a large body may raise the proxy's peak of memory, in KiB.
const MOST_GROWTH: u64 = 32 << 10;

/// Reads so many blocks in whatever pieces they come and compares them.
async fn swallow(wire: &mut Wire, block: &[u8], blocks: usize) {
    let twice = [block, block].concat();
    let mut seen = 0;
    while seen < blocks * block.len() {
        let piece = wire.piece().await;
        let at = seen % block.len();
        assert!(!piece.is_empty(), "the end after {seen} bytes");
        assert!(piece == twice[at..at + piece.len()], "others after {seen}");
        seen += piece.len();
    }
    assert_eq!(seen, blocks * block.len());
}

fn report(what: &str, proxy: &TestProxy, base: u64, begin: Instant) {
    let peak = proxy.peak_kib();
    eprintln!(
        "{} MiB {what} in {:.1?}: resident {base} KiB before, {} KiB after, at most {peak} KiB",
        LARGE_MIB,
        begin.elapsed(),
        proxy.resident_kib(),
    );
    let grown = peak.saturating_sub(base);
    assert!(grown < MOST_GROWTH, "the proxy took {grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_leaves_memory_flat() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let blocks = LARGE_MIB * ((1 << 20) / BLOCK);
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    let (base, begin) = (proxy.resident_kib(), Instant::now());
    let length = BLOCK * blocks;
    visit
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    client.response_head().await.expect("an answer");
    let block = pattern(BLOCK);
    let source = block.clone();
    let origin = tokio::spawn(async move {
        pour(&mut visit.stream, &source, blocks, &AtomicU64::new(0)).await;
        visit
    });
    swallow(&mut client, &block, blocks).await;
    report("down", &proxy, base, begin);
    let mut visit = in_time("the origin", origin).await.expect("no panic");
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.serve("next").await;
    assert_eq!(client.response().await.text(), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_leaves_memory_flat() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let blocks = LARGE_MIB * ((1 << 20) / BLOCK);
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    let (base, begin) = (proxy.resident_kib(), Instant::now());
    let length = BLOCK * blocks;
    client
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let block = pattern(BLOCK);
    let source = block.clone();
    let sender = tokio::spawn(async move {
        pour(&mut client.stream, &source, blocks, &AtomicU64::new(0)).await;
        client
    });
    visit.head().await.expect("a head");
    swallow(&mut visit, &block, blocks).await;
    report("up", &proxy, base, begin);
    visit.answer(200, "ok").await;
    let mut client = in_time("the client", sender).await.expect("no panic");
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_a_silent_origin() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let (client, visit) = begun(&proxy, &mut visitors).await;
    drop(client);
    is_left(visit).await;
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    visit.begin_chunks().await;
    visit.send_chunk("data").await;
    client.response_head().await.expect("an answer");
    assert_eq!(client.chunk().await.as_deref(), Some(&b"data"[..]));
    drop(client);
    is_left(visit).await;
    assert_eq!(origin.accepted(), 2);
}

/// The proxy closes a connection to the origin, without a request on it.
async fn is_left(mut visit: OriginConnection) {
    assert_eq!(visit.rest().await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_a_busy_origin() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let (mut client, mut visit) = begun(&proxy, &mut visitors).await;
    visit
        .send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
        .await;
    let sender = tokio::spawn(async move {
        let block = vec![0; BLOCK];
        pour(&mut visit.stream, &block, usize::MAX, &AtomicU64::new(0)).await;
    });
    client.response_head().await.expect("an answer");
    client.bytes(1 << 20).await;
    drop(client);
    in_time("the origin's write fails", sender)
        .await
        .expect("no panic");
    eventually("the connection is gone", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_within_its_body_leaves_a_cut_request() {
    let (proxy, origin, mut visitors) = by_hand().await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = proxy.client().await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"))
            .await;
        let mut visit = visitors.next().await;
        let head = visit.head().await.expect("a head");
        client.send("5\r\nhello\r\n").await;
        drop(client);
        let (_, is_whole) = visit.framed(&head).await;
        assert!(!is_whole, "{framing}: the origin was told that this is all");
    }
    eventually("both are gone", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_within_its_answer_leaves_a_cut_answer() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
    ];
    for answer in answers {
        let origin = Origin::sending(answer.as_bytes()).await;
        let proxy = before(&origin).await;
        let mut client = proxy.client().await;
        let response = client.get("/").await;
        assert_eq!(response.status, 200, "{answer:?}");
        assert_eq!(response.text(), "hello", "{answer:?}");
        assert!(!response.is_whole, "{answer:?} looks complete");
        client.is_closed().await;
        assert_eq!(origin.requests().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_announced_length_is_not_passed_on() {
    let origin = Origin::sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
    )
    .await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/a").await.text(), "hello");
    // Nor does it become the answer to another request.
    assert_eq!(client.get("/b").await.text(), "hello");
    assert_eq!(origin.accepted(), 2);
}
