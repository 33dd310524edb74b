//! The connections that calls of gRPC have on their way to an app.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dynamic_reverse_proxy::registry::{Destination, Registration};
use dynamic_reverse_proxy::route::Protocol;
use dynamic_reverse_proxy::server::{ListenerOptions, Options};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::{Http2, Pending, request};
use crate::support::{Embedded, TestProxy, eventually, in_time};

/// A message of 20 bytes, and how many of them an app sends without a pause.
const MESSAGE: &[u8] = b"\0\0\0\0\x0ffifteen letters";
const MESSAGES: usize = 20_000;

/// What an app does with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Sends back what it gets.
    Echo,
    /// Sends GOAWAY with its first response.
    GoAway,
    /// Sends more than anybody keeps for a client, to the path `/large`.
    Large,
    /// Sends many small messages.
    Small,
    /// Never answers a call to `/none`, and never ends the response to any other.
    Hangs,
    /// Never answers its first connection.
    Silent,
}

/// An app, and what it has seen.
struct App {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    open: AtomicUsize,
    in_flight: AtomicUsize,
    calls: Mutex<Vec<HashMap<String, String>>>,
}

impl App {
    async fn start(habit: Habit) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Seen>::default();
        let all = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = all.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, habit, number, Arc::clone(&all)));
            }
        });
        Self { port, seen }
    }

    fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    fn in_flight(&self) -> usize {
        self.seen.in_flight.load(Ordering::SeqCst)
    }

    /// The fields of the last call.
    fn fields(&self) -> HashMap<String, String> {
        self.seen.calls.lock().last().expect("a call").clone()
    }
}

async fn serve(stream: TcpStream, habit: Habit, number: usize, seen: Arc<Seen>) {
    seen.open.fetch_add(1, Ordering::SeqCst);
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let uri = request.uri();
        let mut fields = HashMap::from([
            ("authority".to_owned(), uri.authority().unwrap().to_string()),
            ("path".to_owned(), uri.path().to_owned()),
        ]);
        for (name, value) in request.headers() {
            fields.insert(name.to_string(), value.to_str().unwrap().to_owned());
        }
        seen.calls.lock().push(fields);
        if habit == Habit::Silent && number == 0 {
            tokio::spawn(async move {
                let _kept = (request, respond);
                std::future::pending::<()>().await;
            });
            continue;
        }
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            seen.in_flight.fetch_add(1, Ordering::SeqCst);
            answer(request, respond, habit).await;
            seen.in_flight.fetch_sub(1, Ordering::SeqCst);
        });
        if habit == Habit::GoAway && number == 0 {
            connection.graceful_shutdown();
        }
    }
    seen.open.fetch_sub(1, Ordering::SeqCst);
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, habit: Habit) {
    if habit == Habit::Hangs && request.uri().path() == "/none" {
        return std::future::pending().await;
    }
    let mut head = Response::new(());
    let media_type = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", media_type);
    let mut answer = respond.send_response(head, false).unwrap();
    if habit == Habit::Large && request.uri().path() == "/large" {
        return flood(answer).await;
    }
    if habit == Habit::Hangs {
        return std::future::pending().await;
    }
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
        answer.send_data(piece, false).unwrap();
    }
    if habit == Habit::Small {
        for _ in 0..MESSAGES {
            answer
                .send_data(Bytes::from_static(MESSAGE), false)
                .unwrap();
        }
    }
    let ok = ("grpc-status".try_into().unwrap(), HeaderValue::from(0));
    if let Err(error) = answer.send_trailers(HeaderMap::from_iter([ok])) {
        eprintln!("the call has ended before: {error}");
    }
}

async fn flood(mut answer: SendStream<Bytes>) {
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    loop {
        answer.reserve_capacity(piece.len());
        match std::future::poll_fn(|context| answer.poll_capacity(context)).await {
            Some(Ok(room)) => {
                let piece = piece.slice(..room.min(piece.len()));
                answer.send_data(piece, false).unwrap();
            }
            _ => return,
        }
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.http2_cleartext = true;
    options
}

async fn proxy(options: Options, app: &App) -> Embedded {
    let proxy = Embedded::start(options);
    route(&proxy, app).await;
    proxy
}

async fn route(proxy: &Embedded, app: &App) {
    let target = Destination::local(app.port.try_into().unwrap());
    let target = target.speaking(Protocol::H2c, None).unwrap();
    let registration = Registration::new("/", app.port).unwrap().to(target);
    proxy.proxy.register_route(registration).await.unwrap();
}

fn call(path: &str) -> Request<()> {
    let mut call = request(Method::POST, path);
    let fields = call.headers_mut();
    fields.insert("te", HeaderValue::from_static("trailers"));
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    call
}

/// A call whose answer has begun.
async fn begin(client: &mut Http2, path: &str) -> (SendStream<Bytes>, RecvStream) {
    let Pending { response, body } = client.begin(call(path), true).await;
    let response = in_time("the head of an answer", response).await.unwrap();
    (body, response.into_body())
}

/// Ends a call; its status.
async fn finish((mut body, mut answer): (SendStream<Bytes>, RecvStream)) -> String {
    body.send_data(Bytes::from_static(b"message"), true)
        .unwrap();
    let mut text = Vec::new();
    while let Some(piece) = in_time("a piece", answer.data()).await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(text, b"message");
    let trailers = in_time("trailers", answer.trailers()).await.unwrap();
    let status = &trailers.expect("trailers")["grpc-status"];
    status.to_str().unwrap().to_owned()
}

/// A call as a whole; its status.
async fn whole(client: &mut Http2) -> String {
    let call = begin(client, "/a.B/C").await;
    finish(call).await
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own() {
    let app = App::start(Habit::Echo).await;
    let proxy = proxy(options(), &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    for _ in 0..3 {
        let mut calls = Vec::new();
        for _ in 0..8 {
            calls.push(begin(&mut client, "/a.B/C").await);
        }
        for call in calls {
            assert_eq!(finish(call).await, "0");
        }
    }
    assert_eq!(app.accepted(), 8, "later calls use those of earlier ones");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_other_call() {
    let app = App::start(Habit::Large).await;
    let proxy = proxy(options(), &app).await;
    let mut idle = Http2::connect(proxy.address()).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(begin(&mut idle, "/large").await);
    }
    let mut client = Http2::connect(proxy.address()).await;
    for _ in 0..3 {
        assert_eq!(whole(&mut client).await, "0");
    }
    assert_eq!(app.accepted(), 5);
}

#[tokio::test]
async fn a_connection_that_is_to_end_takes_no_other_call() {
    let app = App::start(Habit::GoAway).await;
    let proxy = proxy(options(), &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    for _ in 0..3 {
        assert_eq!(whole(&mut client).await, "0");
    }
    assert_eq!(app.accepted(), 2);
}

#[tokio::test]
async fn a_connection_on_which_an_app_is_silent_takes_no_other_call() {
    let app = App::start(Habit::Silent).await;
    let mut options = options();
    options.gateway.timeouts.first_byte = Some(Duration::from_millis(200));
    let proxy = proxy(options, &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    let pending = client.begin(call("/a.B/C"), false).await;
    let answer = in_time("an answer", pending.response).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    assert_eq!(whole(&mut client).await, "0");
    assert_eq!(app.accepted(), 2);
}

#[tokio::test]
async fn connections_without_calls_are_closed_in_time() {
    let app = App::start(Habit::Echo).await;
    let mut options = options();
    options.gateway.timeouts.upstream_idle = Some(Duration::from_millis(200));
    let proxy = proxy(options, &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    let long = begin(&mut client, "/a.B/C").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(app.open(), 1, "it has a call");
    assert_eq!(finish(long).await, "0");
    eventually("the connection is closed", async || app.open() == 0).await;
    assert_eq!(whole(&mut client).await, "0");
    assert_eq!(app.accepted(), 2);
}

#[tokio::test]
async fn a_replaced_app_gets_no_other_call() {
    let (old, new) = (App::start(Habit::Echo).await, App::start(Habit::Echo).await);
    let proxy = proxy(options(), &old).await;
    let mut client = Http2::connect(proxy.address()).await;
    let long = begin(&mut client, "/a.B/C").await;
    route(&proxy, &new).await;
    assert_eq!(whole(&mut client).await, "0");
    assert_eq!((old.accepted(), new.accepted()), (1, 1));
    assert_eq!(finish(long).await, "0");
}

#[tokio::test]
async fn an_app_is_told_who_calls() {
    let app = App::start(Habit::Echo).await;
    let proxy = proxy(options(), &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    let mut request = call("/a/./b.C/D");
    let fields = request.headers_mut();
    for (name, value) in [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "10.0.0.1"),
        ("x-request-id", "one"),
        ("grpc-timeout", "10S"),
        ("custom-bin", "AAEC"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    let Pending { response, body } = client.begin(request, true).await;
    let answer = in_time("an answer", response).await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "one");
    assert!(answer.headers().contains_key("date"));
    assert_eq!(finish((body, answer.into_body())).await, "0");
    let fields = app.fields();
    let expected = [
        ("authority", "localhost"),
        ("path", "/a/b.C/D"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "10S"),
        ("custom-bin", "AAEC"),
        ("x-request-id", "one"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-port", "80"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=127.0.0.1;proto=http;host=\"localhost\""),
    ];
    for (name, value) in expected {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(fields.len(), expected.len(), "{fields:?}");
}

#[tokio::test]
async fn the_connection_of_a_call_that_was_cancelled_is_used_again() {
    let app = App::start(Habit::Echo).await;
    let proxy = proxy(options(), &app).await;
    let mut client = Http2::connect(proxy.address()).await;
    let (mut body, answer) = begin(&mut client, "/a.B/C").await;
    body.send_reset(Reason::CANCEL);
    drop((body, answer));
    eventually("it ends at the app", async || app.in_flight() == 0).await;
    assert_eq!(whole(&mut client).await, "0");
    assert_eq!(app.accepted(), 1);
}

/// Many small messages that nobody takes cost h2 more than their bytes; they end no connection.
#[tokio::test]
async fn small_messages_wait_for_a_client_that_pauses() {
    let app = App::start(Habit::Small).await;
    let proxy = proxy(options(), &app).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    // It minds them as little as the proxy does.
    let mut builder = h2::client::Builder::new();
    builder.data_frame_budget(16 * 1024 * 1024);
    let (mut client, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let (response, _body) = client.send_request(call("/a.B/C"), true).unwrap();
    let response = in_time("the head of an answer", response).await.unwrap();
    let mut answer = response.into_body();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut length = 0;
    while let Some(piece) = in_time("a piece", answer.data()).await {
        let piece = piece.unwrap();
        answer.flow_control().release_capacity(piece.len()).unwrap();
        length += piece.len();
    }
    assert_eq!(length, MESSAGES * MESSAGE.len());
    let trailers = in_time("trailers", answer.trailers()).await.unwrap();
    assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
}

/// The reply, or what ends the response that has begun, and the log name the deadline of the call: no key of
/// the configuration has cut it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_own_deadline_has_ended_says_so() {
    let app = App::start(Habit::Hangs).await;
    for engine in ["direct", "pingora"] {
        let configuration = format!("engine: {engine}\nhttp2: {{cleartext: true}}\n");
        let proxy = TestProxy::start(&configuration).await;
        let body = json!({"host": "127.0.0.1", "port": app.port, "protocol": "h2c"});
        proxy.write("PUT", "/v1/routes/*/", Some(body), 201).await;
        let mut client = Http2::connect(proxy.address()).await;
        let call = |path| {
            let mut call = call(path);
            let millisecond = HeaderValue::from_static("1m");
            call.headers_mut().insert("grpc-timeout", millisecond);
            call
        };
        let none = client.begin(call("/none"), false).await;
        let part = client.begin(call("/part"), false).await;
        let none = in_time("a reply", none.response).await.unwrap();
        says_deadline(none.headers(), engine);
        let part = in_time("a response", part.response).await.unwrap();
        let mut part = part.into_body();
        assert!(in_time("its end", part.data()).await.is_none(), "{engine}");
        let trailers = in_time("trailers", part.trailers()).await.unwrap();
        says_deadline(&trailers.expect("trailers"), engine);
        for path in ["/none", "/part"] {
            let line = proxy.logged(&["WARN", path, "grpc-timeout"]).await;
            assert!(!line.contains("timeouts."), "{line}");
        }
    }
}

fn says_deadline(fields: &HeaderMap, engine: &str) {
    assert_eq!(fields["grpc-status"], "4", "{engine}");
    let message = fields["grpc-message"].to_str().unwrap();
    let expected = "(the deadline of the call itself, grpc-timeout)";
    assert!(message.contains(expected), "{engine}: {message}");
}
