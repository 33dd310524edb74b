//! Heads as bad clients send them: each is refused with its status, or served, and never becomes
//! another request.

use std::time::{Duration, Instant};

use crate::support::{Client, Origin, TestProxy, eventually, get, request};

/// A proxy with one app for every path.
async fn served(configuration: &str) -> (TestProxy, Origin) {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_head_is_refused_and_the_connection_closed() {
    let (proxy, origin) = served("").await;
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 400),
        ("GET / extra HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        ("GET /\r\nHost: a\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACK / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ];
    for (text, status) in cases {
        refused(&proxy, text, status).await;
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_framings_are_refused() {
    let (proxy, origin) = served("").await;
    let cases = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 ;",
        "Content-Length:",
        "Content-Length: five",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;a",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
    ];
    for fields in cases {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        refused(&proxy, &text, 400).await;
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&proxy, old, 400).await;
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

/// Sends a head that has to be refused.
async fn refused(proxy: &TestProxy, text: &str, status: u16) {
    let mut client = proxy.client().await;
    let response = client.exchange(text).await;
    assert_eq!(response.status, status, "{text:?}: {}", response.text());
    assert_eq!(response.field("connection"), Some("close"), "{text:?}");
    assert_eq!(response.field("allow").is_some(), status == 405, "{text:?}");
    assert!(!response.error().is_empty(), "{text:?}");
    assert!(!response.message().is_empty(), "{text:?}");
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_legal_heads_are_served() {
    let (proxy, origin) = served("").await;
    let cases: [&[u8]; 10] = [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOsT:a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9 \xff\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabc",
    ];
    for text in cases {
        let response = request(proxy.address(), text).await;
        assert_eq!(response.text(), "app", "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(origin.requests().len(), cases.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_is_not_kept_waiting() {
    let (proxy, _origin) = served("").await;
    let mut client = proxy.client().await;
    let response = client.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(response.text(), "app");
    client.is_closed().await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let text = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(client.exchange(text).await.text(), "app");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_at_most_64_kib() {
    let (proxy, origin) = served("").await;
    let head = |size: usize| {
        let bare = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(size - bare)
        )
    };
    assert_eq!(request(proxy.address(), head(65_536)).await.text(), "app");
    refused(&proxy, &head(65_537), 431).await;
    for _ in 0..3 {
        refused(&proxy, &head(2 << 20), 431).await;
    }
    let small = "X: y\r\n".repeat(400_000);
    refused(
        &proxy,
        &format!("GET / HTTP/1.1\r\nHost: a\r\n{small}\r\n"),
        431,
    )
    .await;
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_head_is_refused_without_being_kept() {
    let (proxy, _origin) = served("").await;
    let before = proxy.resident_kib();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
        clients.push(client);
    }
    let piece = "x".repeat(256 * 1024);
    for client in &mut clients {
        while client.offer(&piece).await.is_ok() {}
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 20 * 1024, "{grown} KiB for 20 endless heads");
    assert_eq!(get(proxy.address(), "/").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_has_at_most_16_kib() {
    let (proxy, _origin) = served("").await;
    let text = |size: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(size - 1));
    assert_eq!(request(proxy.address(), text(16_384)).await.text(), "app");
    refused(&proxy, &text(16_385), 414).await;
    refused(&proxy, &text(100_000), 414).await;
    refused(&proxy, &text(2 << 20), 414).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_at_most_100_fields() {
    let (proxy, _origin) = served("").await;
    let text = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "X: y\r\n".repeat(count - 1)
        )
    };
    assert_eq!(request(proxy.address(), text(100)).await.text(), "app");
    for count in [101, 201, 300, 5000] {
        refused(&proxy, &text(count), 431).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_can_be_set() {
    let (proxy, _origin) = served("limits:\n  head: 1KiB\n  target: 100\n  fields: 3").await;
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    refused(&proxy, &get(&format!("/{}", "x".repeat(100)), ""), 414).await;
    refused(
        &proxy,
        &get("/", &format!("X: {}\r\n", "x".repeat(1024))),
        431,
    )
    .await;
    refused(&proxy, &get("/", "A: 1\r\nB: 2\r\nC: 3\r\n"), 431).await;
    assert_eq!(
        request(proxy.address(), get("/", "A: 1\r\nB: 2\r\n"))
            .await
            .text(),
        "app"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_chunks_never_become_a_request() {
    let (proxy, origin) = served("").await;
    let next = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let cases = [
        "zz\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 hello\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    ];
    for chunks in cases {
        let mut client = proxy.client().await;
        let head = "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        drop(client.offer(format!("{head}{chunks}{next}")).await);
        client.end().await;
        if let Some(response) = client.read(false).await {
            assert_eq!(response.status, 400, "{chunks:?}: {}", response.text());
            assert_eq!(response.field("connection"), Some("close"), "{chunks:?}");
        }
        client.is_closed().await;
    }
    let smuggled = origin
        .requests()
        .iter()
        .any(|request| request.target() == "/smuggled");
    assert!(!smuggled, "{:?}", origin.requests());
    assert_eq!(get(proxy.address(), "/").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_chunk_is_answered_with_400() {
    let (proxy, origin) = served("").await;
    let head = "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in ["zz\r\nhello\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"] {
        let response = request(proxy.address(), format!("{head}{chunks}")).await;
        assert_eq!(
            response.verdict(),
            (400, "BAD_REQUEST".to_owned()),
            "{chunks:?}"
        );
        // The same, when the body comes behind its head.
        let mut client = proxy.client().await;
        client.offer(head).await.expect("the head is taken");
        let reached = async || origin.accepted() > 0;
        eventually("the head reaches the app", reached).await;
        let response = client.exchange(chunks).await;
        assert_eq!(
            response.verdict(),
            (400, "BAD_REQUEST".to_owned()),
            "{chunks:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_slow_is_refused() {
    let (proxy, _origin) = served("timeouts:\n  head: 300ms").await;
    for start in ["G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"] {
        let mut client = proxy.client().await;
        client.send(start).await;
        let begin = Instant::now();
        let response = client.response().await;
        assert_eq!(
            response.verdict(),
            (408, "HEAD_TIMEOUT".to_owned()),
            "{start:?}"
        );
        assert!(
            begin.elapsed() > Duration::from_millis(250),
            "{:?}",
            begin.elapsed()
        );
        client.is_closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_does_not_extend_the_heads_deadline() {
    let (proxy, origin) = served("timeouts:\n  head: 300ms").await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let begin = Instant::now();
    while client.offer("X: y\r\n").await.is_ok() && begin.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.response().await.status, 408);
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_at_a_time_is_enough_within_the_deadline() {
    let (proxy, _origin) = served("").await;
    let mut client = proxy.client().await;
    for byte in b"\r\nGET /slow HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" {
        client.send([*byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(client.piece().await.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let (proxy, _origin) = served("timeouts:\n  idle: 300ms").await;
    let mut fresh = proxy.client().await;
    let begin = Instant::now();
    fresh.is_closed().await;
    assert!(
        begin.elapsed() > Duration::from_millis(250),
        "{:?}",
        begin.elapsed()
    );
    let mut used = proxy.client().await;
    assert_eq!(used.get("/").await.text(), "app");
    let begin = Instant::now();
    used.is_closed().await;
    assert!(
        begin.elapsed() > Duration::from_millis(250),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_is_not_idle() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts:\n  idle: 200ms").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    // Longer than the limit that must not apply.
    tokio::time::sleep(Duration::from_millis(500)).await;
    visit.answer(200, "late").await;
    assert_eq!(client.response().await.text(), "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            visit
                .answer(
                    200,
                    format!("{} {} {body}", request.method(), request.target()),
                )
                .await;
        }
    })
    .await;
    let proxy = TestProxy::plain().await;
    proxy.register("/app", origin.port()).await;
    let mut client = proxy.client().await;
    let text = "GET /app/1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /app/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        GET /app/3 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /app/4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n\
        GET /none HTTP/1.1\r\nHost: a\r\n\r\n\
        \r\nGET /app/5 HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /register HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /app/6 HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(text).await;
    let expected = [
        "GET /app/1 ",
        "POST /app/2 hello",
        "GET /app/3 ",
        "POST /app/4 world",
    ];
    for expected in expected {
        assert_eq!(client.response().await.text(), expected);
    }
    assert_eq!(client.response().await.status, 501);
    assert_eq!(client.response().await.text(), "GET /app/5 ");
    assert_eq!(client.response().await.status, 405);
    assert_eq!(client.response().await.text(), "GET /app/6 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_during_another_waits_for_its_turn() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    client
        .send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTT")
        .await;
    visit.begin_chunks().await;
    visit.send_chunk("first").await;
    assert_eq!(client.response_head().await.expect("an answer").status, 200);
    assert_eq!(client.chunk().await.expect("a chunk"), b"first");
    client.send("P/1.1\r\nHost: a\r\n\r\n").await;
    visit.send_chunk("").await;
    assert_eq!(client.chunk().await.expect("the last chunk"), b"");
    for number in 2..=3 {
        let request = visit.serve("next").await;
        assert_eq!(request.target(), format!("/{number}"));
        assert_eq!(client.response().await.text(), "next");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_behind_a_chunked_one_does_not_end_it() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    for pause in [false, true] {
        let mut client = proxy.client().await;
        client
            .send(
                "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\n",
            )
            .await;
        let mut visit = visitors.next().await;
        if pause {
            visit.request().await;
        }
        client
            .send("GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        if !pause {
            visit.request().await;
        }
        visit.answer(200, "first").await;
        assert_eq!(client.response().await.text(), "first", "{pause}");
        assert_eq!(visit.serve("second").await.target(), "/2", "{pause}");
        assert_eq!(client.response().await.text(), "second", "{pause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_after_connection_close() {
    let (proxy, origin) = served("").await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
             GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.field("connection"), Some("close"));
    client.is_closed().await;
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_ends() {
    let (proxy, origin) = served("timeouts:\n  head: 300ms").await;
    // The beginning of a TLS ClientHello, of SSH, of SMTP, of a PROXY header; then noise.
    let mut cases: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5a\x0d\x0a\x00".to_vec(),
        b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
        b"EHLO example.com\r\n".to_vec(),
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"\0".repeat(100),
        b"\r".repeat(100),
        b"\n".repeat(100),
        b"\r\n".repeat(50),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let size = random.usize(1..4000);
        cases.push((0..size).map(|_| random.u8(..)).collect());
    }
    for bytes in cases {
        let mut client = proxy.client().await;
        drop(client.offer(&bytes).await);
        let answer = client.rest().await;
        if bytes[0] == 0x16 {
            // TLS gets an alert, which its client understands.
            assert_eq!(answer[..2], [0x15, 3], "{answer:?}");
            continue;
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 505"),
            "{answer}"
        );
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    assert_eq!(get(proxy.address(), "/").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_connections_are_cheap_and_leave_nothing() {
    let (proxy, _origin) = served("").await;
    get(proxy.address(), "/").await;
    let (files, memory) = (proxy.open_files(), proxy.resident_kib());
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..500 {
        clients.push(proxy.client().await);
    }
    for client in &mut clients {
        assert_eq!(client.get("/").await.text(), "app");
    }
    eventually("500 connections", async || {
        proxy.open_files() >= files + 490
    })
    .await;
    let grown = proxy.resident_kib().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB for 500 idle connections");
    drop(clients);
    // One to the origin may stay.
    eventually("no connection", async || proxy.open_files() <= files + 1).await;
}
