//! HTTP/2 in front, in cleartext: what its clients get, and what those get that misuse it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use h2::Reason;
use http::{HeaderValue, Method};
use tokio::process::Command;

use crate::support::http2::{
    Frames, GOAWAY, HEADERS, Http2, RST_STREAM, SETTINGS, get, nghttp2, request,
};
use crate::support::{Client, Embedded, Origin, TestProxy, Visitors, eventually, in_time};

/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(300);

fn options() -> Options {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    options
}

async fn before(port: u16) -> Embedded {
    let proxy = Embedded::start(options());
    proxy.register("/", port).await;
    proxy
}

async fn by_hand(options: Options) -> (Embedded, Origin, Visitors, u64) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = Embedded::start(options);
    let serial = proxy.register("/", origin.port()).await;
    (proxy, origin, visitors, serial)
}

/// What curl writes on standard output.
pub(crate) async fn curl(arguments: &[&str]) -> String {
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "15"])
        .args(arguments)
        .output();
    let output = in_time("curl", curl).await.expect("curl is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn curl_speaks_it_by_prior_knowledge() {
    let origin = Origin::saying("hello").await;
    let proxy = before(origin.port()).await;
    let url = format!("http://localhost:{}/a?b", proxy.address().port());
    let version = ["--write-out", " %{http_version} %{http_code}"];
    for (http, expected) in [
        ("--http2-prior-knowledge", "hello 2 200"),
        ("--http1.1", "hello 1.1 200"),
        ("--http1.0", "hello 1.1 200"),
    ] {
        let text = curl(&[&version[..], &[http, &url]].concat()).await;
        assert_eq!(text, expected, "{http}");
    }
    let first = &origin.requests()[0];
    assert_eq!(first.target(), "/a?b");
    let host = format!("localhost:{}", proxy.address().port());
    assert_eq!(first.field("host"), Some(&*host));
    assert_eq!(first.field("x-forwarded-proto"), Some("http"));
    assert_eq!(first.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(first.field("transfer-encoding"), None);

    let head = curl(&["--http2-prior-knowledge", "--head", &url]).await;
    assert!(
        head.starts_with("HTTP/2 200") && head.contains("content-length: 5"),
        "{head}"
    );

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "x".repeat(300_000)).expect("room");
    let body = format!("@{}", file.path().display());
    let upload = ["--http2-prior-knowledge", "--data-binary", &body, &url];
    assert_eq!(curl(&upload).await, "hello");
    assert_eq!(origin.requests()[4].body.len(), 300_000);
}

#[tokio::test]
async fn apps_register_over_it() {
    let origin = Origin::saying("shop").await;
    let proxy = Embedded::start(options());
    let url = format!("http://localhost:{}", proxy.address().port());
    let body = format!(r#"{{"prefix":"/shop","port":{}}}"#, origin.port());
    let register = format!("{url}/register");
    let answer = curl(&["--http2-prior-knowledge", "--json", &body, &register]).await;
    assert!(answer.contains("Registered."), "{answer}");
    let text = curl(&["--http2-prior-knowledge", &format!("{url}/shop")]).await;
    assert_eq!(text, "shop");
    let refused = curl(&[
        "--http2-prior-knowledge",
        "--header",
        "x-forwarded-for: 10.0.0.1",
        "--json",
        &body,
        &register,
    ])
    .await;
    assert!(refused.contains("relayed"), "{refused}");
}

#[tokio::test]
async fn without_it_the_preface_is_an_http1_request() {
    let proxy = Embedded::start(Options::default());
    let mut client = proxy.client().await;
    let answer = client.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer.status, 505);
}

#[tokio::test]
async fn a_short_request_of_http1_is_answered_at_once() {
    let origin = Origin::saying("short").await;
    let proxy = before(origin.port()).await;
    let mut client = proxy.client().await;
    // Shorter than the preface.
    assert_eq!(
        client.exchange("GET / HTTP/1.0\r\n\r\n").await.body,
        b"short"
    );
    let mut client = proxy.client().await;
    client.send("P").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let rest = "UT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.exchange(rest).await.body, b"short");
    // Only the first request of a connection can turn it into HTTP/2.
    let answer = client.exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer.status, 505);
}

#[tokio::test]
async fn half_a_preface_is_waited_for_as_long_as_a_head() {
    let mut options = options();
    options.head_timeout = SHORT;
    options.handshake_timeout = SHORT;
    let proxy = Embedded::start(options);
    let mut client = proxy.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\n").await;
    assert_eq!(client.response().await.status, 408);
}

#[tokio::test]
async fn a_hundred_streams_go_to_a_hundred_routes() {
    let proxy = Embedded::start(options());
    let mut origins = Vec::new();
    for number in 0..10 {
        let origin = Origin::start(|mut visit| async move {
            while let Some(request) = visit.request().await {
                visit.answer(200, request.target()).await;
            }
        })
        .await;
        for route in 0..10 {
            proxy
                .register(&format!("/r{}", number * 10 + route), origin.port())
                .await;
        }
        origins.push(origin);
    }
    let mut client = Http2::connect(proxy.address()).await;
    let mut pending = Vec::new();
    for number in 0..100 {
        pending.push(client.begin(get(&format!("/r{number}")), false).await);
    }
    for (number, pending) in pending.into_iter().enumerate() {
        let answer = pending.answer().await;
        assert_eq!((answer.status, answer.text()), (200, format!("/r{number}")));
    }
    assert!(origins.iter().all(|origin| origin.requests().len() == 10));
}

#[tokio::test]
async fn a_slow_stream_holds_up_no_other() {
    let (proxy, _origin, mut visitors, _) = by_hand(options()).await;
    let quick = Origin::saying("quick").await;
    proxy.register("/quick", quick.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    // An answer that never comes, and an upload that nobody takes: as much as its window allows.
    let silent = client.begin(get("/silent"), false).await;
    visitors.next().await.head().await.expect("a request");
    let mut stuck = client.begin(request(Method::POST, "/stuck"), true).await;
    stuck.body.reserve_capacity(1 << 20);
    stuck
        .body
        .send_data(Bytes::from(vec![0; 1 << 20]), false)
        .expect("a body");
    let _deaf = visitors.next().await;
    for _ in 0..20 {
        assert_eq!(client.get("/quick").await.text(), "quick");
    }
    drop((silent, stuck));
}

#[tokio::test]
async fn a_drain_ends_one_stream_only() {
    let (proxy, _origin, mut visitors, serial) = by_hand(options()).await;
    let (other, mut others) = Origin::by_hand().await;
    proxy.register("/other", other.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let waiting = client.begin(get("/waiting"), false).await;
    let mut first = visitors.next().await;
    first.head().await.expect("a request");
    let begun = client.begin(get("/begun"), false).await;
    let mut second = visitors.next().await;
    second.head().await.expect("a request");
    second.begin_chunks().await;
    second.send_chunk("part").await;
    let mut begun = begun.begun().await.expect("an answer");
    assert_eq!(begun.piece().await.unwrap().unwrap(), "part");
    let spared = client.begin(get("/other"), false).await;
    let mut third = others.next().await;
    third.head().await.expect("a request");

    proxy.cut(serial, 2);
    let answer = waiting.answer().await;
    assert_eq!(answer.code(), "DRAINED");
    let broken = begun.piece().await.expect("an end").expect_err("a reset");
    assert!(broken.is_reset(), "{broken}");
    third.answer(200, "spared").await;
    assert_eq!(spared.answer().await.text(), "spared");
    assert_eq!(proxy.proxy.connections().open(), 1);
}

/// An answer that its client does not read, and another stream beside it.
async fn unread(options: Options) -> (Embedded, Origin, u64, Http2, crate::support::http2::Begun) {
    let origin = Origin::start(|mut visit| async move {
        let request = visit.request().await.expect("a request");
        if request.target() == "/other" {
            return visit.answer(200, "other").await;
        }
        visit.answer(200, vec![b'x'; 8 << 20]).await;
        drop(visit.rest().await);
    })
    .await;
    let proxy = Embedded::start(options);
    let serial = proxy.register("/", origin.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let begun = pending.begun().await.expect("an answer");
    (proxy, origin, serial, client, begun)
}

async fn is_reset(mut begun: crate::support::http2::Begun) {
    // What had been sent before comes first.
    loop {
        match begun.piece().await.expect("an end") {
            Ok(_piece) => {}
            Err(error) => return assert!(error.is_reset(), "{error}"),
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_alone() {
    let (proxy, _origin, serial, mut client, begun) = unread(options()).await;
    proxy.cut(serial, 1);
    eventually("nothing is in flight", async || {
        proxy.proxy.connections().cut(serial) == 0
    })
    .await;
    is_reset(begun).await;
    assert_eq!(client.get("/other").await.text(), "other");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_has_its_limit() {
    let mut options = options();
    options.gateway.timeouts.send = Some(SHORT);
    let (_proxy, origin, _serial, mut client, begun) = unread(options).await;
    eventually("the origin is let go", async || origin.open() == 0).await;
    is_reset(begun).await;
    assert_eq!(client.get("/other").await.text(), "other");
}

#[tokio::test]
async fn silent_origins_have_their_limits() {
    for (first_byte, between_bytes) in [
        (Some(SHORT), None),
        (Some(SHORT), Some(Duration::from_mins(1))),
    ] {
        let mut options = options();
        options.gateway.timeouts.first_byte = first_byte;
        options.gateway.timeouts.between_bytes = between_bytes;
        let (proxy, _origin, _visitors, _) = by_hand(options).await;
        let mut client = Http2::connect(proxy.address()).await;
        let answer = client.get("/").await;
        assert_eq!((answer.status, &*answer.code()), (504, "TIMEOUT"));
        let mut upload = client.begin(request(Method::POST, "/"), true).await;
        upload.body.send_data("all".into(), true).expect("a body");
        assert_eq!(upload.answer().await.status, 504);
    }
    let mut options = options();
    options.gateway.timeouts.between_bytes = Some(SHORT);
    let (proxy, _origin, mut visitors, _) = by_hand(options).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    visit.begin_chunks().await;
    visit.send_chunk("part").await;
    let answer = pending.answer().await;
    assert_eq!(answer.text(), "part");
    assert!(answer.broken.is_some_and(|error| error.is_reset()));
}

#[tokio::test]
async fn slow_bodies_have_their_limit() {
    let mut options = options();
    options.gateway.timeouts.client_body = Some(SHORT);
    let (proxy, _origin, _visitors, _) = by_hand(options).await;
    let mut client = Http2::connect(proxy.address()).await;
    let mut upload = client.begin(request(Method::POST, "/"), true).await;
    upload.body.send_data("some".into(), false).expect("a body");
    let response = in_time("an answer", upload.response).await.expect("one");
    assert_eq!(response.status(), 408);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let (proxy, origin, mut visitors, _) = by_hand(options()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    drop(pending);
    assert!(
        visit.rest().await.is_empty(),
        "the origin's connection ends"
    );
    drop(visit);
    assert_eq!(origin.open(), 0);
}

#[tokio::test]
async fn heads_are_held_to_the_limits() {
    let origin = Origin::saying("fine").await;
    let proxy = before(origin.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let with = |count: usize, size: usize| {
        let mut request = get("/");
        for number in 0..count {
            let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
            let value = HeaderValue::try_from("v".repeat(size)).expect("a value");
            request.headers_mut().insert(name, value);
        }
        request
    };
    let cases = [
        (with(100, 10), 200, ""),
        (with(101, 10), 431, "TOO_MANY_FIELDS"),
        (with(9, 8000), 431, "HEAD_TOO_LONG"),
        (with(30, 8000), 431, "HEAD_TOO_LONG"),
        (
            get(&format!("/{}", "x".repeat(16 * 1024))),
            414,
            "TARGET_TOO_LONG",
        ),
        (request(Method::TRACE, "/"), 405, "METHOD_NOT_ALLOWED"),
        (get("/a/../../b"), 400, "BAD_PATH"),
    ];
    for (request, status, code) in cases {
        let shown = format!("{} {}", request.method(), request.uri());
        let shown = &shown[..shown.len().min(60)];
        let answer = client.send(request).await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        if !code.is_empty() {
            assert_eq!(answer.code(), code, "{shown}");
        }
    }
    // One that is several times too long gets h2's own answer, without a body.
    let answer = client.send(with(50, 8000)).await;
    assert_eq!((answer.status, answer.body.len()), (431, 0));
    let html = {
        let mut request = request(Method::TRACE, "/");
        let kind = HeaderValue::from_static("text/html");
        request.headers_mut().insert("accept", kind);
        client.send(request).await
    };
    assert!(
        html.text().starts_with("<!doctype html>"),
        "{}",
        html.text()
    );
    assert_eq!(client.get("/").await.text(), "fine");
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn malformed_requests_go_nowhere() {
    let origin = Origin::saying("fine").await;
    let proxy = before(origin.port()).await;
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    let authority = (":authority", "localhost");
    // Reset, or answered with 400.
    let cases = [
        with(&[authority, ("connection", "close")]),
        with(&[authority, ("transfer-encoding", "chunked")]),
        with(&[authority, ("upgrade", "websocket")]),
        with(&[authority, ("keep-alive", "1")]),
        with(&[authority, ("proxy-connection", "close")]),
        with(&[authority, ("te", "gzip")]),
        with(&[authority, ("host", "other")]),
        with(&[authority, ("X-Upper", "case")]),
        with(&[(":authority", "me@localhost")]),
        with(&[]),
        vec![(":method", "GET"), (":scheme", "http"), authority],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", ""),
            authority,
        ],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a b"),
            authority,
        ],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a\r\nx: y"),
            authority,
        ],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "*"),
            authority,
        ],
        vec![(":method", "CONNECT"), authority],
        with(&[authority, ("content-length", "1"), ("content-length", "2")]),
    ];
    for fields in cases {
        let mut frames = Frames::connect(proxy.address()).await;
        frames.headers(1, &fields).await;
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await;
        let answer = answer.unwrap_or_else(|| panic!("{fields:?}: no answer"));
        match answer.kind {
            // `:status: 400`, as an index or in full.
            HEADERS => assert_ne!(answer.payload[0], 0x88, "{fields:?}"),
            RST_STREAM => assert_eq!(answer.reason(), Reason::PROTOCOL_ERROR, "{fields:?}"),
            _ => {}
        }
    }
    assert_eq!(origin.requests().len(), 0);
    let mut frames = Frames::connect(proxy.address()).await;
    frames
        .headers(
            1,
            &with(&[authority, ("te", "trailers"), ("host", "localhost")]),
        )
        .await;
    let answer = frames
        .next_of(&[HEADERS, RST_STREAM])
        .await
        .expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88));
    assert_eq!(origin.requests()[0].field("te"), None);
}

#[tokio::test]
async fn whoever_resets_streams_for_nothing_is_sent_away() {
    let origin = Origin::silent().await;
    let proxy = before(origin.port()).await;
    let mut frames = Frames::connect(proxy.address()).await;
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "localhost"),
    ];
    let (mut reader, mut stream) = (None, 1);
    for _ in 0..100 {
        for _ in 0..10 {
            frames.headers(stream, &fields).await;
            let cancel = u32::from(Reason::CANCEL).to_be_bytes();
            frames.send(RST_STREAM, 0, stream, &cancel).await;
            stream += 2;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while reader.is_none() {
        reader = frames.next_of(&[GOAWAY]).await;
    }
    let goaway = reader.expect("GOAWAY");
    assert_eq!(goaway.reason(), Reason::ENHANCE_YOUR_CALM);
    assert!(origin.requests().len() < 500, "{}", origin.requests().len());
    // Malformed streams have an end, too.
    let mut frames = Frames::connect(proxy.address()).await;
    // No more than it takes: what comes behind GOAWAY would meet a closed connection, whose reset may
    // overtake that.
    for stream in 0..32 {
        frames.headers(2 * stream + 1, &fields[..3]).await;
    }
    assert!(frames.next_of(&[GOAWAY]).await.is_some());
}

#[tokio::test]
async fn cookies_are_one_field_again() {
    let origin = Origin::saying("fine").await;
    let proxy = before(origin.port()).await;
    let mut request = get("/");
    for cookie in ["a=1", "b=2", "c=3"] {
        let cookie = HeaderValue::from_static(cookie);
        request.headers_mut().append("cookie", cookie);
    }
    Http2::connect(proxy.address()).await.send(request).await;
    assert_eq!(origin.requests()[0].field("cookie"), Some("a=1; b=2; c=3"));
}

#[tokio::test]
async fn an_idle_connection_gets_a_farewell() {
    let origin = Origin::saying("fine").await;
    let mut options = options();
    options.idle_timeout = Some(SHORT);
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    let mut client = Http2::connect(proxy.address()).await;
    assert_eq!(client.get("/").await.text(), "fine");
    let since = Instant::now();
    let mut frames = Frames::connect(proxy.address()).await;
    let goaway = frames.next_of(&[GOAWAY]).await.expect("GOAWAY");
    assert_eq!(goaway.reason(), Reason::NO_ERROR);
    assert!(since.elapsed() >= SHORT);
    eventually("both are closed", async || {
        proxy.proxy.connections().open() == 0
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_streams_finish() {
    let (proxy, _origin, mut visitors, _) = by_hand(options()).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(get("/"), false).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    let mut idle = Frames::connect(proxy.address()).await;
    idle.next_of(&[SETTINGS]).await.expect("settings");
    proxy.stop();
    // One that answers no PING either.
    assert!(idle.next_of(&[GOAWAY]).await.is_some());
    assert_eq!(proxy.proxy.connections().open(), 2);
    visit.answer(200, "finished").await;
    assert_eq!(pending.answer().await.text(), "finished");
    assert_eq!(client.end().await, None);
    drop(idle);
    in_time("the end", proxy.proxy.connections().all_closed()).await;
}

#[tokio::test]
async fn tls_in_cleartext_gets_an_alert() {
    let proxy = before(1).await;
    let mut client = Client::connect(proxy.address()).await;
    client.send([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await;
    client.end().await;
    assert_eq!(client.rest().await, [21, 3, 1, 0, 2, 2, 40]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp_and_h2load_are_served() {
    let origin = Origin::saying("hello").await;
    // However busy the machine is: none is shed.
    let configuration = "http2:\n  cleartext: true\n  streams: 32\noverload: {target: off}\n";
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let url = format!("http://127.0.0.1:{}/", proxy.port());
    let text = nghttp2("nghttp", &["--verbose", "--data=Cargo.toml", &url]).await;
    assert!(
        text.contains("SETTINGS_MAX_CONCURRENT_STREAMS(0x03):32"),
        "{text}"
    );
    assert!(
        text.contains(":status: 200") && text.contains("hello"),
        "{text}"
    );
    let load = ["-n", "5000", "-c", "8", "-m", "32", &url];
    let text = nghttp2("h2load", &load).await;
    assert!(
        text.contains("5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
    assert_eq!(origin.requests().len(), 5001);
}
