//! However a request ends, it is counted once, and no longer as in flight.

use serde_json::{Value, json};

use crate::support::{
    Api, Client, ClosedPort, HANDSHAKE, Origin, OriginConnection, Socket, TestProxy, Visitors,
};

const ROUTE: &str = "/v1/routes/*/a";

struct Case {
    proxy: TestProxy,
    api: Api,
    _origin: Origin,
    visitors: Visitors,
}

impl Case {
    async fn new(configuration: &str) -> Self {
        let (origin, visitors) = Origin::by_hand().await;
        let proxy = TestProxy::start(configuration).await;
        let mut api = Api::of(&proxy).await;
        api.put(ROUTE, json!({ "port": origin.port() })).await;
        Self {
            proxy,
            api,
            _origin: origin,
            visitors,
        }
    }

    /// A request on its way.
    async fn send(&mut self, request: &str) -> (Client, OriginConnection) {
        let mut client = self.proxy.client().await;
        client.send(request).await;
        let mut visit = self.visitors.next().await;
        visit.head().await.expect("a request");
        (client, visit)
    }

    /// Waits until nothing is in flight, and the counts are these.
    async fn counts(&mut self, class: &str, expected: u64) {
        let mut last = Value::Null;
        let end = tokio::time::Instant::now() + crate::support::DEADLINE;
        loop {
            let route = self.api.get(ROUTE).await.expect("a route");
            let activity = &route["activity"];
            let is_over = activity["in_flight"] == 0 && route["instances"][0]["in_flight"] == 0;
            if is_over && activity["requests"][class] == json!(expected) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "{class} {expected}: {last}"
            );
            last = route;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_client_goes() {
    let mut case = Case::new("").await;
    for (expected, request) in [
        GET,
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf",
        HANDSHAKE,
    ]
    .into_iter()
    .enumerate()
    {
        let (client, _visit) = case.send(request).await;
        drop(client);
        case.counts("aborted", expected as u64 + 1).await;
    }
    // After the answer has begun it counts as the answer.
    let (mut client, mut visit) = case.send(GET).await;
    visit.begin_chunks().await;
    visit.send_chunk("one").await;
    client.response_head().await.expect("an answer");
    drop(client);
    case.counts("2xx", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_goes() {
    let mut case = Case::new("").await;
    let (mut client, visit) = case.send(GET).await;
    drop(visit);
    assert_eq!(client.response().await.error(), "UPSTREAM_CLOSED");
    case.counts("5xx", 1).await;
    let (mut client, mut visit) = case.send(GET).await;
    visit.begin_chunks().await;
    visit.send_chunk("one").await;
    drop(visit);
    client.rest().await;
    case.counts("2xx", 1).await;
    let (mut client, mut visit) = case.send(GET).await;
    visit.send("nonsense\r\n\r\n").await;
    assert_eq!(client.response().await.error(), "INVALID_RESPONSE");
    case.counts("5xx", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_over() {
    let mut case = Case::new("timeouts:\n  first_byte: 200ms").await;
    let (mut client, _visit) = case.send(GET).await;
    assert_eq!(client.response().await.status, 504);
    case.counts("5xx", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_refused_or_ends() {
    let mut case = Case::new("").await;
    let (mut client, mut visit) = case.send(HANDSHAKE).await;
    visit.answer(403, "no").await;
    assert_eq!(client.response().await.status, 403);
    case.counts("4xx", 1).await;
    for (expected, client_ends) in [(1, true), (2, false)] {
        let origin = Origin::websocket().await;
        let mut api = Api::of(&case.proxy).await;
        api.put(ROUTE, json!({ "port": origin.port() })).await;
        let mut socket = Socket::open(&case.proxy, "/a").await;
        socket.echo_text("hello").await;
        let mut origin = origin;
        if client_ends {
            drop(socket.into_stream());
        } else {
            origin.stop().await;
            assert_eq!(socket.next().await, None);
        }
        case.counts("1xx", expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_or_the_request_is_bad() {
    let mut case = Case::new("").await;
    let closed = ClosedPort::new();
    let body = json!({ "host": "127.0.0.1", "port": closed.port() });
    case.api.put(ROUTE, body).await;
    let mut client = case.proxy.client().await;
    assert_eq!(client.get("/a").await.error(), "UNREACHABLE");
    case.counts("5xx", 1).await;
    // A path of nobody's counts nowhere.
    let mut client = case.proxy.client().await;
    assert_eq!(client.get("/nowhere").await.status, 501);
    case.counts("5xx", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_end_in_every_way() {
    let mut case = Case::new("threads: 2").await;
    let mut pairs = Vec::new();
    for _ in 0..100 {
        pairs.push(case.send(GET).await);
    }
    let route = case.api.get(ROUTE).await.unwrap();
    assert_eq!(route["activity"]["in_flight"], 100);
    let mut open = Vec::new();
    for (number, (mut client, mut visit)) in pairs.into_iter().enumerate() {
        match number % 4 {
            0 => {
                drop(client);
                open.push(visit);
            }
            1 => {
                drop(visit);
                assert_eq!(client.response().await.status, 500);
            }
            2 => {
                visit.answer(200, "fine").await;
                assert_eq!(client.response().await.status, 200);
            }
            _ => {
                visit.begin_chunks().await;
                client.response_head().await.expect("an answer");
                drop(client);
            }
        }
    }
    case.counts("2xx", 50).await;
    case.counts("aborted", 25).await;
    case.counts("5xx", 25).await;
}
