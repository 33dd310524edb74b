//! Stopping: what is in flight finishes, nothing else is waited for.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::{Ended, Origin, OriginConnection, TestProxy, eventually, get};

/// Far below the default grace of 30 s, far above what a stop takes.
const SOON: Duration = Duration::from_secs(5);

fn check_soon(ended: &Ended) {
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.after < SOON, "{ended:?}");
}

/// A proxy and an origin that the test plays, with one request on its way.
async fn in_flight(
    configuration: &str,
) -> (TestProxy, Origin, crate::support::Client, OriginConnection) {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    (proxy, origin, client, visit)
}

/// Waits until the proxy refuses new connections.
async fn refuses(proxy: &TestProxy) {
    let address = proxy.address();
    eventually("new connections are refused", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_to_do_it_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut proxy = TestProxy::plain().await;
        proxy.signal(signal);
        check_soon(&proxy.ended().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_at_once() {
    let origin = Origin::saying("app").await;
    let mut proxy = TestProxy::start("threads: 2").await;
    proxy.register("/", origin.port()).await;
    let mut clients = vec![proxy.client().await];
    for _ in 0..10 {
        let mut client = proxy.client().await;
        assert_eq!(client.get("/").await.text(), "app");
        clients.push(client);
    }
    check_soon(&proxy.stop().await);
    for client in &mut clients {
        client.is_closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_finishes_and_its_connection_closes() {
    for signal in ["TERM", "INT"] {
        let (mut proxy, _origin, mut client, mut visit) = in_flight("").await;
        proxy.signal(signal);
        refuses(&proxy).await;
        assert!(proxy.is_running());
        visit.answer(200, "done").await;
        let response = client.response().await;
        assert_eq!(
            (response.text().as_str(), response.is_whole),
            ("done", true)
        );
        assert_eq!(response.field("connection"), Some("close"));
        client.is_closed().await;
        check_soon(&proxy.ended().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_has_begun_finishes() {
    let (mut proxy, _origin, mut client, mut visit) = in_flight("").await;
    visit.begin_chunks().await;
    visit.send_chunk("one").await;
    let head = client.response_head().await.expect("an answer").head;
    proxy.signal("TERM");
    refuses(&proxy).await;
    visit.send_chunk("two").await;
    visit.send_chunk("").await;
    assert_eq!(client.framed(&head).await, (b"onetwo".to_vec(), true));
    client.is_closed().await;
    check_soon(&proxy.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_requests_ends_the_process() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let mut proxy = TestProxy::start("threads: 2").await;
    proxy.register("/", origin.port()).await;
    let mut pairs = Vec::new();
    for _ in 0..5 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await;
        pairs.push((client, visit));
    }
    proxy.signal("TERM");
    refuses(&proxy).await;
    for (client, visit) in &mut pairs {
        assert!(proxy.is_running());
        visit.answer(200, "done").await;
        assert_eq!(client.response().await.text(), "done");
    }
    check_soon(&proxy.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_finishes() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let mut proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let mut visit = visitors.next().await;
    proxy.signal("TERM");
    refuses(&proxy).await;
    client.send("andhal").await;
    assert_eq!(visit.serve("done").await.body, b"halfandhal");
    assert_eq!(client.response().await.text(), "done");
    check_soon(&proxy.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_head_has_begun_is_served_or_its_connection_closed() {
    let origin = Origin::saying("app").await;
    let mut proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.get("/").await;
    client.send("GET / HTTP/1.1\r\n").await;
    proxy.signal("TERM");
    refuses(&proxy).await;
    drop(client.offer("Host: a\r\n\r\n").await);
    if let Some(response) = client.read(false).await {
        assert_eq!(response.text(), "app");
        assert_eq!(response.field("connection"), Some("close"));
    }
    check_soon(&proxy.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut_at_the_end_of_the_grace() {
    let (mut proxy, _origin, mut client, _visit) = in_flight("shutdown_grace: 1s").await;
    let begin = Instant::now();
    let ended = proxy.stop().await;
    check_soon(&ended);
    assert!(
        begin.elapsed() > Duration::from_millis(950),
        "{:?}",
        begin.elapsed()
    );
    client.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_works_until_the_end_of_the_grace() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let mut proxy = TestProxy::start("shutdown_grace: 1s").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await;
    let mut visit = visitors.next().await;
    let request = visit.request().await.expect("a request");
    assert_eq!(request.field("upgrade"), Some("websocket"));
    visit
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
        .await;
    assert_eq!(client.response().await.status, 101);
    assert_eq!(client.bytes(2).await, b"hi");
    let begin = Instant::now();
    proxy.signal("TERM");
    refuses(&proxy).await;
    client.send("ping").await;
    assert_eq!(visit.bytes(4).await, b"ping");
    visit.send("pong").await;
    assert_eq!(client.bytes(4).await, b"pong");
    check_soon(&proxy.ended().await);
    assert!(
        begin.elapsed() > Duration::from_millis(950),
        "{:?}",
        begin.elapsed()
    );
    assert!(client.rest().await.is_empty());
    assert!(visit.rest().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("INT", "INT"), ("TERM", "INT"), ("TERM", "TERM")] {
        let (mut proxy, _origin, mut client, _visit) = in_flight("").await;
        proxy.signal(first);
        refuses(&proxy).await;
        assert!(proxy.is_running());
        proxy.signal(second);
        let ended = proxy.ended().await;
        assert!(ended.after < SOON, "{first} {second}: {ended:?}");
        client.rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signals_right_after_each_other_end_it() {
    for _ in 0..5 {
        let (mut proxy, _origin, mut client, _visit) = in_flight("").await;
        // Different ones: the kernel may make one of two that are the same.
        proxy.signal("TERM");
        proxy.signal("INT");
        let ended = proxy.ended().await;
        assert!(ended.after < SOON, "{ended:?}");
        client.rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grace_everything_is_cut() {
    let (mut proxy, _origin, mut client, _visit) = in_flight("shutdown_grace: 0s").await;
    check_soon(&proxy.stop().await);
    client.rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_free_right_after() {
    let origin = Origin::saying("app").await;
    let mut proxy = TestProxy::plain().await;
    let port = proxy.port();
    for _ in 0..3 {
        proxy.register("/", origin.port()).await;
        let mut client = proxy.client().await;
        assert_eq!(client.get("/").await.text(), "app");
        check_soon(&proxy.stop().await);
        proxy = TestProxy::start(&format!("port: {port}")).await;
        assert_eq!(proxy.port(), port);
        assert_eq!(get(proxy.address(), "/").await.status, 501);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_proxy_takes_the_port_while_the_old_one_finishes() {
    let (mut old, _origin, mut client, mut visit) = in_flight("").await;
    let port = old.port();
    old.signal("TERM");
    refuses(&old).await;
    let new = TestProxy::start(&format!("port: {port}")).await;
    assert_eq!(get(new.address(), "/").await.status, 501);
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
    check_soon(&old.ended().await);
}
