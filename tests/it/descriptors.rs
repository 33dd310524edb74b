//! Whatever fails, and however often: the proxy's descriptors come back.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::support::{
    Client, ClosedPort, Origin, TestProxy, eventually, get, in_time, registration,
};

/// How often everything goes wrong, and how much of it at the same time.
const ROUNDS: usize = 8;
const AT_ONCE: usize = 8;

/// Everything soon, so that the descriptors are back soon.
const CONFIGURATION: &str = "timeouts:\n  head: 300ms\n  idle: 1s\n  client_body: 300ms\n  \
    first_byte: 300ms\n  between_bytes: 300ms\n  upstream_idle: 300ms\n  \
    websocket_idle: 300ms\nregistration:\n  body_timeout: 300ms\n";

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What the client does once it has sent its bytes.
#[derive(Clone, Copy)]
enum Then {
    /// Goes without a word.
    Leave,
    /// Resets the connection.
    Reset,
    /// Says that it has finished and reads to the end.
    Finish,
    /// Reads until the proxy closes.
    Stay,
}

/// The ways of a client.
async fn misbehave(address: SocketAddr, bytes: &str, then: Then) {
    let mut client = Client::connect(address).await;
    // The proxy may have closed before the last byte.
    drop(client.offer(bytes).await);
    match then {
        Then::Leave => {}
        Then::Reset => client.stream.set_zero_linger().expect("SO_LINGER"),
        Then::Finish => {
            client.end().await;
            client.rest().await;
        }
        Then::Stay => drop(client.rest().await),
    }
}

fn requests() -> Vec<String> {
    let paths = [
        "closed",
        "closing",
        "silent",
        "garbling",
        "cut",
        "cutchunks",
        "stalling",
        "switching",
        "well",
        "none",
    ];
    let mut all = Vec::new();
    for path in paths {
        let head = format!("/{path} HTTP/1.1\r\nHost: a\r\n");
        all.push(format!("GET {head}\r\n"));
        all.push(format!("GET {head}{WEBSOCKET}\r\n"));
        all.push(format!("POST {head}Content-Length: 100\r\n\r\nhalf of it"));
        all.push(format!(
            "PUT {head}Transfer-Encoding: chunked\r\n\r\n5\r\nhel"
        ));
        all.push(format!(
            "PUT {head}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        ));
        all.push(format!(
            "POST {head}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        ));
    }
    for junk in [
        "",
        "GET",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Half",
        "GET / HTTP/1.1\n\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{\"prefix\"",
        "POST /register HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nno",
        "POST /register HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    ] {
        all.push(junk.to_owned());
    }
    all
}

/// Origins that fail, each at its prefix.
async fn failing(proxy: &TestProxy) -> Vec<Origin> {
    let sent: [(&str, &[u8]); 6] = [
        ("/closing", b""),
        ("/garbling", b"what?\r\n\r\n"),
        ("/cut", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"),
        (
            "/cutchunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhel",
        ),
        (
            "/switching",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
        ),
        ("/well", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ];
    let mut origins = Vec::new();
    for (prefix, bytes) in sent {
        let origin = Origin::sending(bytes).await;
        proxy.register(prefix, origin.port()).await;
        origins.push(origin);
    }
    let stalling = Origin::start(|mut visit| async move {
        if visit.request().await.is_some() {
            visit.begin_chunks().await;
            visit.rest().await;
        }
    })
    .await;
    let silent = Origin::silent().await;
    proxy.register("/stalling", stalling.port()).await;
    proxy.register("/silent", silent.port()).await;
    origins.extend([stalling, silent]);
    origins
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_gives_its_descriptors_back() {
    let proxy = TestProxy::start(CONFIGURATION).await;
    let closed = ClosedPort::new();
    let origins = failing(&proxy).await;
    proxy.register("/closed", closed.port()).await;
    let well = Origin::saying("well").await;
    let base = proxy.open_files();
    let address = proxy.address();
    let requests: &'static [String] = requests().leak();
    for _ in 0..ROUNDS {
        let mut clients = JoinSet::new();
        for then in [Then::Leave, Then::Reset, Then::Finish, Then::Stay] {
            for bytes in requests {
                clients.spawn(misbehave(address, bytes, then));
                if clients.len() >= AT_ONCE * 8 {
                    let next = in_time("a client", clients.join_next()).await;
                    next.expect("a client").expect("no panic");
                }
            }
        }
        // In between somebody registers and is served.
        let body = format!("{{\"prefix\": \"/other\", \"port\": {}}}", well.port());
        let registered = proxy.client().await.exchange(registration(body)).await;
        assert_eq!(registered.status, 200);
        assert_eq!(get(address, "/other").await.text(), "well");
        while let Some(ended) = in_time("a client", clients.join_next()).await {
            ended.expect("no panic");
        }
    }
    proxy.is_back_at(base).await;
    eventually("the origins are free", async || {
        origins.iter().all(|origin| origin.open() == 0)
    })
    .await;
    assert_eq!(get(address, "/other").await.text(), "well");
    let log = proxy.log();
    assert!(!log.contains("panicked"), "{log}");
}
