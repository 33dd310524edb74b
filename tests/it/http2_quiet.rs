//! A client of HTTP/2 that keeps the proxy waiting: the limits are those of HTTP/1.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::http2::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, WHOLE, block, frame,
};
use crate::support::{Origin, TestProxy};

const HEAD: Duration = Duration::from_millis(500);
const HANDSHAKE: Duration = Duration::from_secs(1);

const FIELDS: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "localhost"),
];

/// How long a connection lives behind these bytes, which are sent after the preface.
async fn life(proxy: &TestProxy, bytes: Vec<u8>) -> Duration {
    let mut frames = Frames::connect(proxy.address()).await;
    frames.0.send(bytes).await;
    let begin = Instant::now();
    // What is answered before does not count.
    frames.next_of(&[GOAWAY]).await.expect("GOAWAY");
    begin.elapsed()
}

async fn started(idle: &str) -> (TestProxy, Origin) {
    let origin = Origin::saying("fine").await;
    let proxy = TestProxy::start(&format!(
        "http2: {{cleartext: true}}\ntimeouts: {{head: 500ms, handshake: 1s, idle: {idle}}}\n"
    ))
    .await;
    proxy.register("/", origin.port()).await;
    (proxy, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_cut_however_long_a_connection_may_be_idle() {
    let head = block(&FIELDS);
    let whole = frame(HEADERS, WHOLE, 1, &head);
    let cut = |frame: &[u8]| frame[..frame.len() - 3].to_vec();
    let open = |stream| frame(HEADERS, END_STREAM, stream, &head);
    let cases = [
        ("HEADERS without END_HEADERS", open(1)),
        ("HEADERS cut short", cut(&whole)),
        ("a frame's header cut short", whole[..4].to_vec()),
        ("CONTINUATION without END_HEADERS", {
            [open(1), frame(CONTINUATION, 0, 1, &[])].concat()
        }),
        ("CONTINUATION cut short", {
            let more = block(&[("x-field", "with a value")]);
            [open(1), cut(&frame(CONTINUATION, END_HEADERS, 1, &more))].concat()
        }),
        ("the second head cut short", {
            [whole.clone(), cut(&frame(HEADERS, WHOLE, 3, &head))].concat()
        }),
    ];
    for idle in ["1h", "off"] {
        let (proxy, _origin) = started(idle).await;
        for (name, bytes) in &cases {
            let life = life(&proxy, bytes.clone()).await;
            assert!(life >= HEAD, "{name}, idle {idle}: {life:?}");
        }
        let log = proxy.log();
        assert!(
            log.contains("not whole after 500ms (timeouts.head)"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_has_the_time_of_a_handshake() {
    for idle in ["1h", "off"] {
        let (proxy, _origin) = started(idle).await;
        for (name, bytes) in [
            ("nothing", Vec::new()),
            ("a PING", frame(PING, 0, 0, b"anybody?")),
        ] {
            let life = life(&proxy, bytes).await;
            assert!(life >= HANDSHAKE, "{name}, idle {idle}: {life:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_between_requests_are_no_head() {
    let (proxy, _origin) = started("1h").await;
    let mut frames = Frames::connect(proxy.address()).await;
    frames.send(HEADERS, WHOLE, 1, &block(&FIELDS)).await;
    frames.next_of(&[HEADERS]).await.expect("a response");
    let begin = Instant::now();
    while begin.elapsed() < 2 * HANDSHAKE {
        frames.send(PING, 0, 0, b"still on").await;
        let pong = frames.next_of(&[PING]).await.expect("still there");
        assert_eq!(pong.flags & ACK, ACK);
        tokio::time::sleep(HEAD / 5).await;
    }
    frames.send(HEADERS, WHOLE, 3, &block(&FIELDS)).await;
    frames.next_of(&[HEADERS]).await.expect("a response");
}
