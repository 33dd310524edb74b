//! Connections to origins: kept, left, and tried again.

use crate::support::http2::Http2;
use crate::support::{
    Client, Origin, ReservedPort, TestProxy, eventually, get, pattern, registration, targets,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_to_the_origin_serves_many_requests() {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "/").await.text(), "ok");
    }
    assert_eq!(origin.requests().len(), 70);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::echoing().await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    let bytes: Vec<String> = (0..20)
        .map(|n| format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{n:02}"))
        .collect();
    client.send(bytes.concat()).await;
    for n in 0..20 {
        assert_eq!(client.response().await.text(), format!("{n:02}"));
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_to_the_origin_is_let_go() {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::start("timeouts: {upstream_idle: 300ms}").await;
    proxy.register("/", origin.port()).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "ok");
    eventually("the idle connection is closed", async || origin.open() == 0).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "ok");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_closes_an_idle_connection_leaves_nothing_behind() {
    let mut origin = Origin::saying("ok").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/").await.text(), "ok");
    let base = proxy.open_files();
    origin.stop().await;
    eventually("its descriptor is closed", async || {
        proxy.open_files() < base
    })
    .await;
    origin.restart().await;
    assert_eq!(client.get("/").await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_registers_again_gets_new_connections() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("timeouts: {upstream_idle: 500ms}").await;
    let mut client = proxy.client().await;
    let mut old = Vec::new();
    for generation in 0..5 {
        proxy.register("/", origin.port()).await;
        let path = format!("/{generation}");
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let mut visit = visitors.next().await;
        assert_eq!(visit.serve("ok").await.target(), path);
        assert_eq!(client.response().await.text(), "ok");
        old.push(visit);
    }
    for mut visit in old {
        assert_eq!(visit.rest().await, b"", "a request on an old connection");
    }
    assert_eq!(origin.accepted(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_to_one_app_share_its_connections() {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    for path in ["/a", "/b", "/c"] {
        proxy.register(path, origin.port()).await;
    }
    for path in ["/a", "/b", "/c", "/a"] {
        assert_eq!(client.get(path).await.text(), "ok");
    }
    assert_eq!(origin.accepted(), 1);
    // What is there already may lead to another process than the one that registers now.
    proxy.register("/d", origin.port()).await;
    for path in ["/a", "/d", "/b", "/d", "/c"] {
        assert_eq!(client.get(path).await.text(), "ok");
    }
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_leaves_other_routes_connections_alone() {
    let origin = Origin::saying("ok").await;
    let other = Origin::saying("other").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/a", origin.port()).await;
    let mut client = proxy.client().await;
    for n in 0..20 {
        assert_eq!(client.get("/a").await.text(), "ok");
        proxy.register(&format!("/b{n}"), other.port()).await;
        proxy.register("/c", other.port()).await;
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_target_finishes_what_it_has_begun() {
    let (old, mut visitors) = Origin::by_hand().await;
    let new = Origin::saying("new").await;
    let proxy = TestProxy::start("timeouts: {upstream_idle: 500ms}").await;
    proxy.register("/", old.port()).await;

    let mut waiting = proxy.client().await;
    waiting.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut first = visitors.next().await;
    first.request().await.expect("a request");
    let mut streaming = proxy.client().await;
    streaming.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut second = visitors.next().await;
    second.request().await.expect("a request");
    second.begin_chunks().await;
    second.send_chunk("one").await;
    streaming.response_head().await.expect("an answer");
    assert_eq!(streaming.chunk().await.as_deref(), Some(&b"one"[..]));

    proxy.register("/", new.port()).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "new");

    first.answer(200, "old").await;
    assert_eq!(waiting.response().await.text(), "old");
    second.send_chunk("two").await;
    second.send_chunk("").await;
    assert_eq!(streaming.chunk().await.as_deref(), Some(&b"two"[..]));
    assert_eq!(streaming.chunk().await.as_deref(), Some(&b""[..]));
    // The same two connections now lead to the new target, and nothing more to the old one.
    assert_eq!(waiting.get("/").await.text(), "new");
    assert_eq!(streaming.get("/").await.text(), "new");
    assert_eq!(first.rest().await, b"");
    assert_eq!(second.rest().await, b"");
    assert_eq!(old.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_the_address_that_answers() {
    let reserved = ReservedPort::new();
    let v4 = format!("127.0.0.1:{}", reserved.port());
    let v6 = format!("[::1]:{}", reserved.port());
    let proxy = TestProxy::plain().await;
    proxy.register("/", reserved.port()).await;
    let mut client = proxy.client().await;
    for address in [&v6, &v4, &v6, &v4, &v4] {
        let mut origin = Origin::start_at(address, |mut visit| async move {
            while visit.request().await.is_some() {
                visit.answer(200, "ok").await;
            }
        })
        .await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.text(), "ok", "{address}");
        }
        assert_eq!(origin.accepted(), 1, "{address}");
        origin.stop().await;
        // The proxy closes the connection of a client that got one of its failures.
        assert_eq!(client.get("/").await.status, 500, "{address}");
        client = proxy.client().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_not_lost_on_the_way_to_the_other_address() {
    let reserved = ReservedPort::new();
    let address = format!("[::1]:{}", reserved.port());
    let origin = Origin::start_at(&address, |mut visit| async move {
        while let Some(request) = visit.request().await {
            visit.answer(200, &request.body).await;
        }
    })
    .await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", reserved.port()).await;
    let body = pattern(200_000);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    let mut client = proxy.client().await;
    let response = client.exchange([head.as_bytes(), &body].concat()).await;
    assert!(response.body == body, "{response:?}");
    assert_eq!(origin.requests().len(), 1);
}

/// A proxy whose pool holds one connection to an origin that breaks, and a client.
async fn warmed(origin: &Origin) -> (TestProxy, Client) {
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/warm").await.text(), "well");
    (proxy, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_met_a_dead_connection_is_sent_once_more() {
    let requests = [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for request in requests {
        let origin = Origin::breaking(1, "").await;
        let (_proxy, mut client) = warmed(&origin).await;
        let response = client.exchange(request).await;
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "well"),
            "{request:?}"
        );
        let seen = origin.requests();
        assert_eq!(targets(&seen), ["/warm", "/a", "/a"], "{request:?}");
        assert_eq!(seen[1].body, seen[2].body);
        assert_eq!(seen[1].field("x-request-id"), seen[2].field("x-request-id"));
        assert_eq!(seen[2].field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(origin.accepted(), 2);
        assert_eq!(client.get("/b").await.text(), "well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_sent_a_third_time() {
    let origin = Origin::breaking(usize::MAX, "").await;
    let (_proxy, mut client) = warmed(&origin).await;
    let response = client.get("/a").await;
    assert_eq!(response.verdict(), (500, "UPSTREAM_CLOSED".to_owned()));
    assert_eq!(targets(&origin.requests()), ["/warm", "/a", "/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_that_fails_is_not_tried_again() {
    let origin = Origin::breaking(usize::MAX, "").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    assert_eq!(get(proxy.address(), "/a").await.status, 500);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_not_be_made_twice_is_not() {
    let requests = [
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PATCH /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ];
    for request in requests {
        let origin = Origin::breaking(usize::MAX, "").await;
        let (_proxy, mut client) = warmed(&origin).await;
        let response = client.exchange(request).await;
        assert_eq!(response.verdict(), (500, "UPSTREAM_CLOSED".to_owned()));
        assert_eq!(targets(&origin.requests()), ["/warm", "/a"], "{request:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_long_to_be_kept_is_not_sent_twice() {
    let origin = Origin::breaking(usize::MAX, "").await;
    let (_proxy, mut client) = warmed(&origin).await;
    let head = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n";
    let bytes = [head.as_bytes(), &pattern(200_000)].concat();
    let response = client.exchange(bytes).await;
    assert_eq!(response.verdict(), (500, "UPSTREAM_CLOSED".to_owned()));
    assert_eq!(targets(&origin.requests()), ["/warm", "/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_twice_once_an_answer_has_begun() {
    let beginnings = [
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "H",
    ];
    for beginning in beginnings {
        let origin = Origin::breaking(1, beginning).await;
        let (_proxy, mut client) = warmed(&origin).await;
        let response = client.get("/a").await;
        let is_failure = response.status == 500 || !response.is_whole;
        assert!(is_failure, "{beginning:?}: {response:?}");
        let seen = origin.requests();
        assert_eq!(targets(&seen), ["/warm", "/a"], "{beginning:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_again_goes_to_the_present_target() {
    let (old, mut visitors) = Origin::by_hand().await;
    let new = Origin::saying("new").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", old.port()).await;
    let mut client = proxy.client().await;
    client.send("GET /warm HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.serve("old").await;
    assert_eq!(client.response().await.text(), "old");
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    visit.request().await.expect("a request");
    let body = format!("{{\"prefix\": \"/\", \"port\": {}}}", new.port());
    let registered = proxy.client().await.exchange(registration(body)).await;
    assert_eq!(registered.status, 200);
    drop(visit);
    assert_eq!(client.response().await.text(), "new");
    assert_eq!(old.requests().len(), 2);
    assert_eq!(new.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_come_from_the_addresses_of_the_configuration() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("client_bind_to_ipv4: [127.0.0.7]").await;
    let target = serde_json::json!({"prefix": "/", "host": "127.0.0.1", "port": origin.port()});
    assert_eq!(proxy.register_json(target.to_string()).await.status, 200);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    let from = visit.stream.peer_addr().expect("an address");
    assert_eq!(from.ip().to_string(), "127.0.0.7");
    visit.serve("ok").await;
    assert_eq!(client.response().await.text(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_kept_where_none_is_to_be() {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::start("upstream_keepalive_pool_size: 0").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    assert_eq!(origin.accepted(), 3);
    eventually("all are closed", async || origin.open() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_idle_connections_the_oldest_is_closed() {
    let (first, second) = (Origin::saying("1").await, Origin::saying("2").await);
    let proxy = TestProxy::start("upstream_keepalive_pool_size: 1").await;
    proxy.register("/1", first.port()).await;
    proxy.register("/2", second.port()).await;
    assert_eq!(get(proxy.address(), "/1").await.text(), "1");
    assert_eq!(get(proxy.address(), "/2").await.text(), "2");
    eventually("the first is closed", async || first.open() == 0).await;
    assert_eq!(get(proxy.address(), "/2").await.text(), "2");
    assert_eq!((first.accepted(), second.accepted()), (1, 1));
}

/// RFC 9112, 9.6: whatever else `Connection` says, and on however many lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_origin_says_close_is_not_used_again() {
    for close in [
        "Connection: close\r\n",
        "Connection: x, Close\r\n",
        "Connection: x\r\nConnection: close\r\n",
        "Connection: keep-alive\r\nConnection: close\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
        "Connection:\r\nConnection: close\r\n",
    ] {
        let (origin, mut visitors) = Origin::by_hand().await;
        let proxy = TestProxy::plain().await;
        proxy.register("/", origin.port()).await;
        let mut client = proxy.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visit
            .send(format!(
                "HTTP/1.1 200 OK\r\n{close}Content-Length: 2\r\n\r\nok"
            ))
            .await;
        assert_eq!(client.response().await.text(), "ok");
        client
            .send("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb")
            .await;
        // The first one stays open at the origin's side.
        let mut next = visitors.next().await;
        assert_eq!(next.serve("next").await.target(), "/b", "{close:?}");
        assert_eq!(client.response().await.text(), "next", "{close:?}");
        assert_eq!(origin.accepted(), 2, "{close:?}");
        drop(visit);
    }
}

/// What has answered 100 (Continue) has the request: it is not sent again, though its connection was idle
/// before.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_told_to_continue_is_not_sent_again() {
    for client in ["HTTP/1.1", "HTTP/2"] {
        let (origin, mut visitors) = Origin::by_hand().await;
        let proxy = TestProxy::start("http2: {cleartext: true}").await;
        proxy.register("/", origin.port()).await;
        let ask = async || match client {
            "HTTP/1.1" => proxy.client().await.get("/").await.status,
            _ => Http2::connect(proxy.address()).await.get("/").await.status,
        };
        let app = async {
            let mut visit = visitors.next().await;
            visit.serve("ok").await;
            visit.request().await.expect("a request");
            visit.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            drop(visit);
        };
        let asked = async {
            assert_eq!(ask().await, 200, "{client}");
            assert_eq!(ask().await, 500, "{client}");
        };
        tokio::join!(app, asked);
        assert_eq!(origin.accepted(), 1, "{client}");
    }
}
