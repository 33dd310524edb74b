//! Messages through the proxy: methods, statuses and framings, as they came.

use crate::support::{Client, Origin, TestProxy, Visitors, in_time, pattern, request};

/// An origin at `/`, behind a proxy of its own.
async fn before(origin: &Origin) -> TestProxy {
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    proxy
}

async fn by_hand() -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    (before(&origin).await, origin, visitors)
}

/// The connection, and the one behind it, serve another request.
async fn goes_on(client: &mut Client, origin: &Origin) {
    let before = origin.requests().len();
    client.send("HEAD /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.read(true).await.expect("another answer");
    assert!(response.interim.is_empty(), "{response:?}");
    assert_eq!(origin.requests().len(), before + 1);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_head_has_its_length_and_no_body() {
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").leak();
        let origin = Origin::repeating(answer).await;
        let proxy = before(&origin).await;
        let mut client = proxy.client().await;
        let response = client.exchange("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (name, value) = framing.split_once(": ").unwrap();
        assert_eq!(response.status, 200);
        assert_eq!(response.field(&name.to_lowercase()), Some(value));
        goes_on(&mut client, &origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_end_with_their_head() {
    let answers = [
        ("204 No Content", "X-A: 1"),
        ("304 Not Modified", "ETag: \"1\""),
        ("304 Not Modified", "Content-Length: 5"),
        ("205 Reset Content", "Content-Length: 0"),
    ];
    for (status, field) in answers {
        let answer: &'static str = format!("HTTP/1.1 {status}\r\n{field}\r\n\r\n").leak();
        let origin = Origin::repeating(answer).await;
        let proxy = before(&origin).await;
        let mut client = proxy.client().await;
        let response = client
            .exchange("GET /a HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"1\"\r\n\r\n")
            .await;
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(response.head.line, format!("HTTP/1.1 {status}"));
        assert_eq!(response.field(&name.to_lowercase()), Some(value));
        assert_eq!(origin.requests()[0].field("if-none-match"), Some("\"1\""));
        goes_on(&mut client, &origin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_the_origins_business() {
    let origin = Origin::repeating(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nAccept-Ranges: bytes\r\n\
         Content-Length: 3\r\n\r\ncde",
    )
    .await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    let response = client
        .exchange("GET /a HTTP/1.1\r\nHost: a\r\nRange: bytes=2-4\r\nIf-Range: \"1\"\r\n\r\n")
        .await;
    assert_eq!((response.status, response.text().as_str()), (206, "cde"));
    assert_eq!(response.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(response.field("accept-ranges"), Some("bytes"));
    let seen = &origin.requests()[0];
    assert_eq!(seen.field("range"), Some("bytes=2-4"));
    assert_eq!(seen.field("if-range"), Some("\"1\""));
    goes_on(&mut client, &origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_passed_on() {
    let origin = Origin::saying("ok").await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "X-OWN",
    ] {
        let response = client
            .exchange(format!("{method} /a HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(response.status, 200, "{method}");
        assert_eq!(origin.requests().last().unwrap().method(), method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_go_through_both_ways_whatever_their_sizes() {
    let origin = Origin::echoing().await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    let body = pattern(100_000);
    let mut bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = body.as_slice();
    for size in [1, 2, 15, 16, 17, 4095, 4096, 65_535, usize::MAX] {
        let (chunk, more) = rest.split_at(size.min(rest.len()));
        let extension = if size == 15 { ";name=\"value\"" } else { "" };
        bytes.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
        rest = more;
    }
    bytes.extend(b"0\r\n\r\n");
    let response = client.exchange(bytes).await;
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    assert_eq!(response.field("content-length"), None);
    assert!(response.is_whole);
    assert!(response.body == body, "another body came back");
    let seen = &origin.requests()[0];
    assert_eq!(seen.field("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.field("content-length"), None);
    goes_on(&mut client, &origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mebibytes_come_back_with_their_length() {
    let origin = Origin::echoing().await;
    let proxy = before(&origin).await;
    let body = pattern(2 << 20);
    let mut client = proxy.client().await;
    let head = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let response = client.exchange([head.as_bytes(), &body].concat()).await;
    assert_eq!(response.field("content-length"), Some("2097152"));
    assert!(response.body == body, "another body came back");
    goes_on(&mut client, &origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_mebibytes_come_back_in_chunks() {
    let origin = Origin::echoing().await;
    let proxy = before(&origin).await;
    let body = pattern(2 << 20);
    let mut bytes = b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(50_000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    let mut client = proxy.client().await;
    let response = client.exchange(bytes).await;
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    assert!(response.body == body, "another body came back");
    goes_on(&mut client, &origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requests_trailers_are_left_out_and_its_framing_stays_right() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        )
        .await;
    let mut visit = visitors.next().await;
    let head = visit.head().await.expect("a head");
    assert_eq!(head.field("trailer"), None);
    assert_eq!(visit.chunk().await.as_deref(), Some(&b"hello"[..]));
    let end = visit.until(b"\r\n\r\n").await.expect("the end");
    assert_eq!(String::from_utf8_lossy(&end), "0\r\n\r\n");
    visit.answer(200, "ok").await;
    assert_eq!(client.response().await.text(), "ok");
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(visit.serve("next").await.target(), "/b");
    assert_eq!(client.response().await.text(), "next");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answers_trailers_are_left_out_and_not_announced() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    let seen = visit.request().await.expect("a request");
    assert_eq!(seen.field("te"), None, "nobody would get the trailers");
    visit
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        .await;
    let response = client.response_head().await.expect("an answer");
    assert_eq!(response.field("trailer"), None);
    assert_eq!(client.chunk().await.as_deref(), Some(&b"hello"[..]));
    let end = client.until(b"\r\n\r\n").await.expect("the end");
    assert_eq!(String::from_utf8_lossy(&end), "0\r\n\r\n");
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    if let Some(mut other) = visitors.try_next() {
        // Whether the origin's connection survives trailers is not promised, only the client's.
        assert_eq!(other.serve("next").await.target(), "/b");
    } else {
        assert_eq!(visit.serve("next").await.target(), "/b");
    }
    assert_eq!(client.response().await.text(), "next");
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_are_passed_on_before_the_answer() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    for link in ["</a.css>; rel=preload", "</b.js>; rel=preload"] {
        visit
            .send(format!("HTTP/1.1 103 Early Hints\r\nLink: {link}\r\n\r\n"))
            .await;
        let hints = client.head().await.expect("the hints");
        assert_eq!(hints.line, "HTTP/1.1 103 Early Hints");
        assert_eq!(hints.field("link"), Some(link));
    }
    visit.answer(200, "ok").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.serve("next").await;
    assert_eq!(client.response().await.text(), "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_early_hints_a_failure_still_has_an_answer() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    visit
        .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        .await;
    assert!(client.head().await.expect("hints").line.contains("103"));
    drop(visit);
    let response = client.response().await;
    assert_eq!(response.verdict(), (500, "UPSTREAM_CLOSED".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_decides_that_a_body_may_come() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    let head = visit.head().await.expect("a head without its body");
    assert_eq!(head.field("expect"), Some("100-continue"));
    visit.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(
        client.head().await.expect("a word").line,
        "HTTP/1.1 100 Continue"
    );
    client.send("hello").await;
    assert_eq!(visit.bytes(5).await, b"hello");
    visit.answer(201, "made").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (201, "made"));
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.serve("next").await;
    assert_eq!(client.response().await.text(), "next");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_origin_refuses_is_not_waited_for() {
    for (status, length) in [(417, 5), (413, 5), (401, 100_000)] {
        let (proxy, origin, mut visitors) = by_hand().await;
        let mut client = proxy.client().await;
        client
            .send(format!(
                "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                 Content-Length: {length}\r\n\r\n"
            ))
            .await;
        let mut visit = visitors.next().await;
        visit.head().await.expect("a head");
        visit.answer(status, "no").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text().as_str()), (status, "no"));
        // What would come next on this connection cannot be told from the body.
        assert_eq!(response.field("connection"), Some("close"));
        client.is_closed().await;
        assert_eq!(visit.rest().await, b"", "a body that nobody sent");
        assert_eq!(origin.accepted(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_come_before_the_body() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a head");
    visit.answer(400, "no").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (400, "no"));
    client.send("world").await;
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_its_answer_and_the_end() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    let seen = visit.request().await.expect("a request");
    assert_eq!(seen.head.line, "GET /a HTTP/1.1");
    visit.answer(200, "ok").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    client.is_closed().await;
    // Without a Host as well, which HTTP/1.0 does not need.
    let mut client = proxy.client().await;
    client.send("GET /b HTTP/1.0\r\n\r\n").await;
    visit.serve("again").await;
    assert_eq!(client.response().await.text(), "again");
    assert_eq!(origin.accepted(), 1, "the origin's connection is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_never_gets_chunks() {
    let origin = Origin::repeating(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let proxy = before(&origin).await;
    for fields in ["", "Connection: keep-alive\r\n"] {
        let response = request(
            proxy.address(),
            format!("GET /a HTTP/1.0\r\nHost: a\r\n{fields}\r\n"),
        )
        .await;
        assert_eq!(response.field("transfer-encoding"), None, "{response:?}");
        assert_eq!(response.field("connection"), Some("close"));
        assert_eq!(response.text(), "hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_may_keep_its_connection() {
    let origin = Origin::saying("ok").await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let response = client
            .exchange("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(response.text(), "ok");
        assert_eq!(response.field("connection"), Some("keep-alive"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let big: &'static [u8] = [b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\n", &pattern(300_000)[..]]
        .concat()
        .leak();
    let answers: [&'static [u8]; 3] = [
        b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello",
        big,
    ];
    for answer in answers {
        let origin = Origin::sending(answer).await;
        let proxy = before(&origin).await;
        let body = &answer[answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4..];
        for version in ["1.0", "1.1"] {
            let mut client = proxy.client().await;
            let response = client
                .exchange(format!("GET /a HTTP/{version}\r\nHost: a\r\n\r\n"))
                .await;
            assert_eq!(response.head.line, "HTTP/1.1 200 OK");
            assert_eq!(response.field("x-a"), Some("1"));
            assert!(response.is_whole, "HTTP/{version}: {:?}", response.head);
            let coding = (version == "1.1").then_some("chunked");
            assert_eq!(response.field("transfer-encoding"), coding);
            assert!(response.body == body, "HTTP/{version}: another body");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_origin_may_say_its_length() {
    let origin = Origin::sending(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/a").await.text(), "hello");
    }
    assert_eq!(origin.accepted(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_close_is_closed_and_the_origin_is_not() {
    let origin = Origin::saying("ok").await;
    let proxy = before(&origin).await;
    for _ in 0..3 {
        let mut client = proxy.client().await;
        let response = client
            .exchange("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(response.field("connection"), Some("close"));
        assert_eq!(response.text(), "ok");
        client.is_closed().await;
    }
    assert_eq!(origin.accepted(), 1);
    let seen = origin.requests();
    assert!(seen.iter().all(|seen| seen.field("connection").is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_says_close_is_left_and_the_client_is_not() {
    let (proxy, origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visit
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let response = client.response().await;
        assert_eq!(response.field("connection"), Some("keep-alive"));
        // The origin did not close; the proxy does, since it was told.
        assert_eq!(visit.rest().await, b"");
    }
    assert_eq!(origin.accepted(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answer_heads_are_passed_on() {
    let long = "v".repeat(30_000);
    let many: Vec<String> = (0..150).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let many = many.concat();
    let answer: &'static str =
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\n{many}Content-Length: 2\r\n\r\nok").leak();
    let origin = Origin::repeating(answer).await;
    let proxy = before(&origin).await;
    let mut client = proxy.client().await;
    let response = client.get("/a").await;
    assert_eq!(response.field("x-long"), Some(long.as_str()));
    for n in 0..150 {
        let value = n.to_string();
        assert_eq!(response.field(&format!("x-{n}")), Some(value.as_str()));
    }
    assert_eq!(response.text(), "ok");
    goes_on(&mut client, &origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_head_that_is_far_too_large_is_a_failure() {
    let answer: &'static str = format!(
        "HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 2\r\n\r\nok",
        "v".repeat(3 << 20)
    )
    .leak();
    let origin = Origin::sending(answer.as_bytes()).await;
    let proxy = before(&origin).await;
    let response = request(proxy.address(), "GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(response.status, 500, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_not_touched() {
    // The gzip of "hello", made elsewhere.
    let gzip: [u8; 25] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10,
        0x36, 5, 0, 0, 0,
    ];
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    client
        .send("GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br;q=0.5\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    let seen = visit.request().await.expect("a request");
    assert_eq!(seen.field("accept-encoding"), Some("gzip, br;q=0.5"));
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n\
                Content-Length: 25\r\n\r\n";
    visit.send([head.as_bytes(), &gzip].concat()).await;
    let response = client.response().await;
    assert_eq!(response.field("content-encoding"), Some("gzip"));
    assert_eq!(response.field("vary"), Some("Accept-Encoding"));
    assert_eq!(response.body, gzip);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_passed_on_byte_by_byte_if_it_comes_so() {
    let (proxy, _origin, mut visitors) = by_hand().await;
    let mut client = proxy.client().await;
    let message = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    let request = tokio::spawn(async move {
        let mut visit = visitors.next().await;
        let request = visit.request().await;
        visit.answer(200, "ok").await;
        request
    });
    for byte in message {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response().await.text(), "ok");
    let request = in_time("the request", request).await.unwrap();
    assert_eq!(request.expect("a whole one").body, b"abc0123456789");
}
