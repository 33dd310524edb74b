//! The bytes of an upgraded connection: who gets what came early, what waits for whom, and how it ends.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};

use crate::support::{
    Client, HANDSHAKE, Origin, OriginConnection, SWITCH, TestProxy, Visitors, eventually, in_time,
    pattern, switched,
};

/// More than all buffers on the way hold: both kernels' and the proxy's own.
const FLOOD: usize = 64 << 20;

/// How long is enough to fill them.
const LONG: Duration = Duration::from_secs(2);

async fn started(configuration: &str) -> (TestProxy, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    (proxy, origin, visitors)
}

/// Both ends of an open connection.
async fn opened(proxy: &TestProxy, visitors: &mut Visitors) -> (Client, OriginConnection) {
    switched(proxy.client().await, visitors).await
}

/// Sends as much as is taken of it; how much that is.
async fn flood(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut sent = 0;
    let all = async {
        while sent < bytes.len() {
            let count = stream.write(&bytes[sent..]).await;
            sent += count.expect("the connection is open");
        }
    };
    drop(tokio::time::timeout(LONG, all).await);
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_the_answer_is_the_next_protocols() {
    let (proxy, _origin, mut visitors) = started("").await;
    for is_behind_the_head in [true, false] {
        let mut client = proxy.client().await;
        if is_behind_the_head {
            client.send(format!("{HANDSHAKE}early")).await;
        } else {
            client.send(HANDSHAKE).await;
        }
        let mut visit = visitors.next().await;
        visit.head().await.expect("a handshake");
        if !is_behind_the_head {
            client.send("early").await;
        }
        visit.send(SWITCH).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(visit.bytes(5).await, b"early");
        client.send(", later").await;
        assert_eq!(visit.bytes(7).await, b", later");
        visit.send("back").await;
        assert_eq!(client.bytes(4).await, b"back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_a_refusal_is_the_next_request() {
    let (proxy, origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{HANDSHAKE}{next}")).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a handshake");
    visit.answer(403, "no").await;
    assert_eq!(client.response().await.status, 403);
    let head = visit.head().await.expect("the next request");
    assert_eq!(head.line, "GET /next HTTP/1.1");
    assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"));
    visit.answer(200, "yes").await;
    assert_eq!(client.response().await.text(), "yes");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_words_come_with_the_answer_or_behind_interim_ones() {
    let (proxy, _origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    client.send(HANDSHAKE).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a handshake");
    let words = pattern(100_000);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    visit
        .send([hints.as_bytes(), SWITCH.as_bytes(), &words].concat())
        .await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.interim), (101, vec![103]));
    assert!(client.bytes(words.len()).await == words);
    client.send("back").await;
    assert_eq!(visit.bytes(4).await, b"back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_keeps_its_origin_waiting() {
    let (proxy, _origin, mut visitors) = started("").await;
    let (mut client, mut visit) = opened(&proxy, &mut visitors).await;
    let before = proxy.resident_kib();
    let bytes = pattern(FLOOD);
    let sent = flood(&mut visit.stream, &bytes).await;
    assert!(sent < FLOOD, "nothing waits");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for {sent} bytes");
    // The other direction goes on.
    client.send("up").await;
    assert_eq!(visit.bytes(2).await, b"up");
    assert!(client.bytes(sent).await == bytes[..sent]);
    visit.send("down").await;
    assert_eq!(client.bytes(4).await, b"down");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_reads_nothing_keeps_its_client_waiting() {
    let (proxy, _origin, mut visitors) = started("").await;
    let (mut client, mut visit) = opened(&proxy, &mut visitors).await;
    let before = proxy.resident_kib();
    let bytes = pattern(FLOOD);
    let sent = flood(&mut client.stream, &bytes).await;
    assert!(sent < FLOOD, "nothing waits");
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for {sent} bytes");
    visit.send("down").await;
    assert_eq!(client.bytes(4).await, b"down");
    assert!(visit.bytes(sent).await == bytes[..sent]);
    client.send("up").await;
    assert_eq!(visit.bytes(2).await, b"up");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_go_on_while_both_are_full() {
    let (proxy, _origin, mut visitors) = started("").await;
    let (mut client, mut visit) = opened(&proxy, &mut visitors).await;
    let bytes = pattern(FLOOD / 2);
    let (mut client_reads, mut client_writes) = client.stream.split();
    let (mut visit_reads, mut visit_writes) = visit.stream.split();
    let (mut up, mut down) = (vec![0; bytes.len()], vec![0; bytes.len()]);
    in_time("both directions", async {
        tokio::try_join!(
            client_writes.write_all(&bytes),
            visit_writes.write_all(&bytes),
            visit_reads.read_exact(&mut up),
            client_reads.read_exact(&mut down),
        )
    })
    .await
    .expect("nothing breaks");
    assert!(up == bytes && down == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_for_too_long_is_cut() {
    let (proxy, _origin, mut visitors) = started("timeouts: {send: 500ms}").await;
    let bytes = pattern(FLOOD);
    for is_client_stuck in [true, false] {
        let (mut client, mut visit) = opened(&proxy, &mut visitors).await;
        let begin = Instant::now();
        let (from, to) = if is_client_stuck {
            (&mut visit.stream, &mut *client)
        } else {
            (&mut client.stream, &mut *visit)
        };
        let sent = in_time("the cut", from.write_all(&bytes)).await;
        assert!(sent.is_err(), "client: {is_client_stuck}");
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(to.rest().await.len() < FLOOD);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_at_a_unix_socket_that_takes_nothing_is_cut_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let _app = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.write_all(SWITCH.as_bytes()).await.expect("a 101");
        std::future::pending::<()>().await;
    });
    let allow = format!(
        "timeouts: {{send: 500ms}}\ntargets: {{allow: [\"unix:{}\"]}}",
        folder.path().display()
    );
    let proxy = TestProxy::start(&allow).await;
    let body = json!({"prefix": "/", "unix": path}).to_string();
    assert_eq!(proxy.register_json(body).await.status, 200);
    let mut client = proxy.client().await;
    client.send(HANDSHAKE).await;
    assert_eq!(client.response().await.status, 101);
    let bytes = pattern(FLOOD);
    let sent = in_time("the cut", client.stream.write_all(&bytes)).await;
    assert!(sent.is_err(), "all was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_on_either_side_ends_both_behind_what_was_said() {
    let (proxy, origin, mut visitors) = started("").await;
    let base = proxy.open_files();
    let words = pattern(300_000);
    for is_client_first in [true, false] {
        let (mut client, mut visit) = opened(&proxy, &mut visitors).await;
        let (from, to) = if is_client_first {
            (&mut *client, &mut *visit)
        } else {
            (&mut *visit, &mut *client)
        };
        from.send(&words).await;
        from.end().await;
        assert!(to.rest().await == words, "client first: {is_client_first}");
        assert!(from.rest().await.is_empty());
        drop((client, visit));
        eventually("both are closed", async || origin.open() == 0).await;
    }
    proxy.is_back_at(base).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_several_protocols_gets_none() {
    let (proxy, _origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    let several = HANDSHAKE.replace("\r\nUpgrade", "\r\nUpgrade: h2c\r\nUpgrade");
    client.send(several).await;
    let mut visit = visitors.next().await;
    let head = visit.head().await.expect("a request");
    assert_eq!(
        (head.field("connection"), head.field("upgrade")),
        (None, None)
    );
    visit.send(SWITCH).await;
    assert_eq!(client.response().await.status, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_not_sent_twice() {
    let (proxy, origin, mut visitors) = started("").await;
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.serve("ok").await;
    assert_eq!(client.response().await.text(), "ok");
    // Over the same connection, which ends before an answer.
    client.send(HANDSHAKE).await;
    visit.head().await.expect("a handshake");
    drop(visit);
    let answer = client.response().await;
    assert_eq!(answer.verdict(), (500, "UPSTREAM_CLOSED".to_owned()));
    assert_eq!(origin.accepted(), 1);
}
