//! The end of a drain: what is then still in flight is cut, visibly, and nothing else is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{
    Api, Client, Origin, OriginConnection, Socket, TestProxy, Visitors, eventually,
};

/// Far below the drains here that do not end, far above what an end takes.
const SOON: Duration = Duration::from_secs(5);

const ROUTE: &str = "/v1/routes/*/a";

/// One of each kind behind `/a`: a WebSocket, a download, a request that waits.
struct Kinds {
    api: Api,
    socket: Socket,
    download: Client,
    waiting: Client,
    visits: Vec<OriginConnection>,
    _origins: [Origin; 2],
    _visitors: Visitors,
    proxy: TestProxy,
}

impl Kinds {
    async fn new() -> Self {
        let echo = Origin::websocket().await;
        let (origin, mut visitors) = Origin::by_hand().await;
        let proxy = TestProxy::plain().await;
        let mut api = Api::of(&proxy).await;
        api.put(ROUTE, json!({ "port": echo.port() })).await;
        let mut socket = Socket::open(&proxy, "/a").await;
        socket.echo_text("hello").await;
        // The WebSocket stays on its instance, which drains with the others.
        api.put(
            &format!("{ROUTE}/instances/second"),
            json!({ "port": origin.port() }),
        )
        .await;
        let mut visits = Vec::new();
        let mut clients = Vec::new();
        while clients.len() < 2 {
            let mut client = proxy.client().await;
            client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
            // Every other request is for the first instance, which takes it for a bad handshake.
            tokio::select! {
                visit = visitors.next() => {
                    let mut visit = visit;
                    visit.request().await.expect("a request");
                    visits.push(visit);
                    clients.push(client);
                }
                _response = client.response() => {}
            }
        }
        visits[0].begin_chunks().await;
        visits[0].send_chunk("hello").await;
        let waiting = clients.pop().expect("a client");
        let mut download = clients.pop().expect("a client");
        download.response_head().await.expect("an answer");
        Self {
            api,
            socket,
            download,
            waiting,
            visits,
            _origins: [echo, origin],
            _visitors: visitors,
            proxy,
        }
    }

    /// All of them are cut, each in its way.
    async fn are_cut(&mut self) {
        let close = self.socket.next().await;
        let Some(Message::Close(Some(frame))) = close else {
            panic!("no Close frame: {close:?}");
        };
        assert_eq!(frame.code, CloseCode::Away);
        assert_eq!(self.socket.next().await, None);
        let rest = self.download.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
        let response = self.waiting.response().await;
        assert_eq!(response.verdict(), (500, "DRAINED".to_owned()));
        self.waiting.rest().await;
        for visit in &mut self.visits {
            visit.rest().await;
        }
        self.api.until_gone(ROUTE).await;
        let client = &mut self.proxy.client().await;
        assert_eq!(client.get("/a").await.status, 501);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_its_end_everything_is_cut() {
    let mut kinds = Kinds::new().await;
    let begin = Instant::now();
    let removed = kinds.api.delete(&format!("{ROUTE}?drain=1s")).await;
    assert_eq!(removed["result"], "draining");
    kinds.socket.echo_text("still").await;
    kinds.visits[0].send_chunk("more").await;
    kinds.are_cut().await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1) && took < SOON, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_time_everything_is_cut_at_once() {
    let mut kinds = Kinds::new().await;
    let begin = Instant::now();
    kinds.api.delete(&format!("{ROUTE}?drain=0s")).await;
    kinds.are_cut().await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_removal_sets_another_end_or_is_the_end() {
    let left = |route: &Option<Value>| {
        let left = route.as_ref().expect("a route")["instances"][0]["drain_ends_in"].clone();
        humantime::parse_duration(left.as_str().expect("a drain")).expect("a duration")
    };
    for last in ["", "?drain=0s", "?drain=1s"] {
        let mut kinds = Kinds::new().await;
        kinds.api.delete(&format!("{ROUTE}?drain=10m")).await;
        let long = left(&kinds.api.get(ROUTE).await);
        kinds.api.delete(&format!("{ROUTE}?drain=1h")).await;
        let longer = left(&kinds.api.get(ROUTE).await);
        assert!(
            longer > long + Duration::from_mins(40),
            "{long:?} {longer:?}"
        );
        kinds.api.delete(&format!("{ROUTE}?drain=1m")).await;
        assert!(left(&kinds.api.get(ROUTE).await) <= Duration::from_mins(1));
        kinds.socket.echo_text("still").await;
        let begin = Instant::now();
        let removed = kinds.api.delete(&format!("{ROUTE}{last}")).await;
        let result = if last.is_empty() {
            "removed"
        } else {
            "draining"
        };
        assert_eq!(removed["result"], result, "{last}");
        kinds.are_cut().await;
        let took = begin.elapsed();
        assert!(took < SOON, "{last}: {took:?}");
        assert!(last != "?drain=1s" || took >= Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_is_cut() {
    let echo = Origin::websocket().await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    for prefix in ["a", "b"] {
        let target = format!("/v1/routes/*/{prefix}");
        api.put(&target, json!({ "port": echo.port() })).await;
    }
    let mut gone = Socket::open(&proxy, "/a").await;
    let mut other = Socket::open(&proxy, "/b").await;
    gone.echo_text("a").await;
    other.echo_text("b").await;
    // The same app, the same key, but not the instance that drains.
    api.put(ROUTE, json!({ "port": echo.port(), "owner": "me" }))
        .await;
    let mut new = Socket::open(&proxy, "/a").await;
    new.echo_text("new").await;
    // The first one was replaced, so no drain is about it any more.
    api.delete(&format!("{ROUTE}?drain=0s")).await;
    assert!(matches!(new.next().await, Some(Message::Close(_))));
    for _ in 0..3 {
        gone.echo_text("still a").await;
        other.echo_text("still b").await;
    }
    api.until_gone(ROUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_are_cut_at_once() {
    let origin = Origin::silent().await;
    let proxy = TestProxy::start("threads: 2").await;
    let mut api = Api::of(&proxy).await;
    api.put(ROUTE, json!({ "port": origin.port() })).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = proxy.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    eventually("all are on their way", async || {
        origin.requests().len() == 100
    })
    .await;
    let route = api.get(ROUTE).await.unwrap();
    assert_eq!(route["instances"][0]["in_flight"], 100);
    let begin = Instant::now();
    api.delete(&format!("{ROUTE}?drain=0s")).await;
    for client in &mut clients {
        assert_eq!(client.response().await.error(), "DRAINED");
    }
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    eventually("no connection is left", async || origin.open() == 0).await;
}
