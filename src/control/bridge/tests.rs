//! Answers that stream, behind a front as they are in the server.

use std::convert::Infallible;
use std::sync::Arc;

use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use super::*;
use crate::front::{
    ClientLimits, Clients, Connections, Front, FrontOptions, HeadLimits, Listeners,
};
use pingora_core::apps::ServerApp;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A listener of events, and what makes them.
struct Fixture {
    client: DuplexStream,
    events: mpsc::Sender<Bytes>,
    stop: watch::Sender<bool>,
    connections: Arc<Connections>,
}

/// Connects a client, through pipes of this size, and sends a request for the events.
async fn listening(pipe: usize, kind: &'static str) -> Fixture {
    let (events, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let answer = move || {
        let receiver = Arc::clone(&receiver);
        async move {
            let mut receiver = receiver.lock().take().unwrap();
            let frames = futures_util::stream::poll_fn(move |context| {
                let next = std::task::ready!(receiver.poll_recv(context));
                std::task::Poll::Ready(next.map(|data| Ok::<_, Infallible>(Frame::data(data))))
            });
            let body = Body::new(StreamBody::new(frames));
            ([(http::header::CONTENT_TYPE, kind)], body)
        }
    };
    let router = Router::new().route("/v1/events", get(answer));
    let options = FrontOptions {
        limits: HeadLimits {
            head: 1024,
            target: 1024,
            fields: 10,
        },
        head_timeout: DEADLINE,
        handshake_timeout: Duration::from_secs(1),
        idle_timeout: None,
        listeners: Listeners::default(),
        engine: crate::front::Engine::Direct,
        http2_streams: 100,
        request_ids: RequestIds::default(),
        frames: None,
        overload: None,
    };
    let connections = Arc::<Connections>::default();
    let front = Front::of_control(
        Bridge::api(router, Vec::new(), RequestIds::default()),
        options,
        Arc::clone(&connections),
        Arc::new(Clients::new(ClientLimits::default(), Arc::default())),
    );
    let (transport, mut client) = tokio::io::duplex(pipe);
    let (stop, shutdown) = watch::channel(false);
    let none = Arc::new(front)
        .process_new(Box::new(transport), &shutdown)
        .await;
    assert!(none.is_none());
    let request = b"GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(request).await.unwrap();
    Fixture {
        client,
        events,
        stop,
        connections,
    }
}

impl Fixture {
    async fn read_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let read = async {
            while !text.ends_with(end) {
                text.push(char::from(self.client.read_u8().await.unwrap()));
            }
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap();
        text
    }

    async fn all_closed(&self) {
        let closed = self.connections.all_closed();
        tokio::time::timeout(DEADLINE, closed).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_is_sent_at_once_and_a_stop_ends_the_answer() {
    let mut fixture = listening(1024, EVENTS).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        fixture.events.send(Bytes::from(event)).await.unwrap();
        fixture.read_until(event).await;
    }
    fixture.stop.send_replace(true);
    assert_eq!(fixture.read_until("0\r\n\r\n").await, "\r\n0\r\n\r\n");
    fixture.all_closed().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_events() {
    let mut fixture = listening(1024, EVENTS).await;
    fixture
        .events
        .send(Bytes::from("data: 1\n\n"))
        .await
        .unwrap();
    fixture.read_until("data: 1\n\n").await;
    let Fixture {
        client,
        events,
        connections,
        ..
    } = fixture;
    drop(client);
    // Without another event.
    tokio::time::timeout(DEADLINE, events.closed())
        .await
        .unwrap();
    tokio::time::timeout(DEADLINE, connections.all_closed())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_listener_that_reads_nothing_holds_no_stop_up() {
    // Not even the head.
    let fixture = listening(32, EVENTS).await;
    fixture.stop.send_replace(true);
    fixture.all_closed().await;
    let fixture = listening(1024, EVENTS).await;
    let large = Bytes::from(vec![b'x'; 1_000_000]);
    fixture.events.send(large).await.unwrap();
    // Taken by the bridge, which cannot get rid of it.
    let permit = tokio::time::timeout(DEADLINE, fixture.events.reserve()).await;
    drop(permit.unwrap().unwrap());
    fixture.stop.send_replace(true);
    fixture.all_closed().await;
}

#[tokio::test]
async fn another_answer_that_has_begun_is_finished() {
    let mut fixture = listening(1024, "application/json").await;
    fixture.events.send(Bytes::from("[1")).await.unwrap();
    fixture.read_until("[1").await;
    fixture.stop.send_replace(true);
    fixture.events.send(Bytes::from(",2]")).await.unwrap();
    fixture.read_until(",2]").await;
    let (events, _other) = mpsc::channel(1);
    drop(std::mem::replace(&mut fixture.events, events));
    fixture.read_until("0\r\n\r\n").await;
    fixture.all_closed().await;
}

#[test]
fn the_whole_target_reaches_the_router() {
    for (target, expected) in [
        (
            "/v1/routes?host=*&prefix=/a%2Fb",
            Some("/v1/routes?host=*&prefix=/a%2Fb"),
        ),
        ("/v1/routes/*/a/../b%2e", Some("/v1/routes/*/a/../b%2e")),
        ("http://other/v1/status?x", Some("/v1/status?x")),
        ("*", None),
        ("other:80", None),
        ("/a b", None),
    ] {
        let uri = whole_target(target.as_bytes()).map(|uri| uri.to_string());
        assert_eq!(uri.as_deref(), expected, "{target}");
    }
}
