//! Apps of HTTP/2 that say what h2's own server does not: frames by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::{
    ACK, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, SETTINGS, WHOLE, block, frame,
};
use crate::support::{Client, Response, TestProxy, Wire, eventually};

/// `SETTINGS_MAX_CONCURRENT_STREAMS` of 0 (RFC 9113, 6.5.2).
const NO_STREAMS: [u8; 6] = [0, 3, 0, 0, 0, 0];

/// The frames of a response on a stream.
type Respond = fn(u32) -> Vec<u8>;

/// An app, and what it has seen.
struct App {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// Acknowledged SETTINGS.
    settings: AtomicUsize,
}

impl App {
    async fn start(respond: Respond) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                all.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, respond, Arc::clone(&all)));
            }
        });
        Self { port, seen }
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until a client has applied so many SETTINGS.
    async fn acknowledged(&self, count: usize) {
        let settings = &self.seen.settings;
        eventually("SETTINGS are applied", async || {
            settings.load(Ordering::SeqCst) >= count
        })
        .await;
    }
}

async fn serve(stream: TcpStream, respond: Respond, seen: Arc<Seen>) {
    let mut frames = Frames(Wire::new(stream));
    frames
        .0
        .bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len())
        .await;
    frames.send(SETTINGS, 0, 0, &[]).await;
    while let Some(frame) = frames.next().await {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => frames.send(SETTINGS, ACK, 0, &[]).await,
            SETTINGS => drop(seen.settings.fetch_add(1, Ordering::SeqCst)),
            HEADERS => drop(frames.0.offer(respond(frame.stream)).await),
            _ => {}
        }
    }
}

async fn proxy(configuration: &str, app: &App) -> TestProxy {
    let proxy = TestProxy::start(configuration).await;
    let body = json!({"host": "127.0.0.1", "port": app.port, "protocol": "h2c"});
    proxy.write("PUT", "/v1/routes/*/", Some(body), 201).await;
    proxy
}

async fn get(proxy: &TestProxy) -> Response {
    let mut client = Client::connect(proxy.address()).await;
    client
        .exchange("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
        .await
}

fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

fn ok(stream: u32) -> Vec<u8> {
    let head = head(stream, END_HEADERS, &[(":status", "200")]);
    [head, frame(DATA, END_STREAM, stream, b"ok")].concat()
}

/// RFC 9113, 5.1.2: a request would wait there for as long as the app likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_allows_no_more_streams_takes_no_other_request() {
    let before: Respond = |stream| [frame(SETTINGS, 0, 0, &NO_STREAMS), ok(stream)].concat();
    let behind: Respond = |stream| [ok(stream), frame(SETTINGS, 0, 0, &NO_STREAMS)].concat();
    for respond in [before, behind] {
        let app = App::start(respond).await;
        let proxy = proxy("timeouts: {first_byte: 5s}", &app).await;
        for count in 1..=3 {
            let response = get(&proxy).await;
            assert_eq!((response.status, &*response.text()), (200, "ok"));
            assert_eq!(app.connections(), count);
            app.acknowledged(2 * count).await;
        }
    }
}

/// RFC 9113, 8.2.1: a field value has no white space at its ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_white_space_around_a_value_is_malformed() {
    let cases: [Respond; 4] = [
        |stream| head(stream, WHOLE, &[(":status", "200"), ("x-a", " a")]),
        |stream| head(stream, WHOLE, &[(":status", "200"), ("x-a", "a ")]),
        |stream| head(stream, WHOLE, &[(":status", "404"), ("x-a", "\ta")]),
        |stream| head(stream, WHOLE, &[(":status", "200"), ("x-a", " ")]),
    ];
    for engine in ["direct", "pingora"] {
        for (index, respond) in cases.into_iter().enumerate() {
            let app = App::start(respond).await;
            let proxy = proxy(&format!("engine: {engine}"), &app).await;
            let response = get(&proxy).await;
            let expected = (500, "INVALID_RESPONSE".to_owned());
            assert_eq!(response.verdict(), expected, "{engine} {index}");
            proxy.logged(&["WARN", "HTTP/2 does not allow"]).await;
        }
    }
}

/// A response that has begun is cut when its trailers are malformed.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_with_white_space_around_a_trailer_is_cut() {
    for engine in ["direct", "pingora"] {
        let app = App::start(|stream| {
            let begin = head(stream, END_HEADERS, &[(":status", "200")]);
            let body = frame(DATA, 0, stream, b"part");
            let trailers = head(stream, WHOLE, &[("x-a", "a ")]);
            [begin, body, trailers].concat()
        })
        .await;
        let proxy = proxy(&format!("engine: {engine}"), &app).await;
        let response = get(&proxy).await;
        // Pingora looks at what has come together before it passes on any of it.
        let is_refused = engine == "pingora" && response.status == 500;
        let is_cut = response.status == 200 && !response.is_whole;
        assert!(is_refused || is_cut, "{engine}: {response:?}");
        proxy.logged(&["WARN", "HTTP/2 does not allow"]).await;
    }
}
