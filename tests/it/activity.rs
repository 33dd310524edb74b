//! What is counted behind a route: requests by their status, bytes, and the last time of either.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Api, Client, Origin, Socket, TestProxy};

const ROUTE: &str = "/v1/routes/*/a";

/// An origin whose status is the path's last segment.
async fn statuses() -> Origin {
    Origin::start(|mut visit| async move {
        while let Some(request) = visit.request().await {
            let status = request.target().rsplit('/').next().unwrap_or_default();
            visit.answer(status.parse().unwrap_or(200), "").await;
        }
    })
    .await
}

async fn started(origin: &Origin) -> (TestProxy, Api) {
    let proxy = TestProxy::start("threads: 2").await;
    let mut api = Api::of(&proxy).await;
    api.put(ROUTE, json!({ "port": origin.port() })).await;
    (proxy, api)
}

/// Waits until nothing is on its way any more, then what was counted.
async fn settled(api: &mut Api) -> Value {
    api.until(ROUTE, |route| {
        let route = route.as_ref().expect("a route");
        route["activity"]["in_flight"] == 0 && route["instances"][0]["in_flight"] == 0
    })
    .await;
    api.get(ROUTE).await.expect("a route")["activity"].clone()
}

fn last_activity(activity: &Value) -> SystemTime {
    let last = activity["last_activity"].as_str().expect("a time");
    humantime::parse_rfc3339(last).expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_the_class_of_their_status() {
    let origin = statuses().await;
    let (proxy, mut api) = started(&origin).await;
    let mut client = proxy.client().await;
    for status in [200, 204, 206, 301, 304, 404, 404, 404, 404, 503] {
        assert_eq!(client.get(&format!("/a/{status}")).await.status, status);
    }
    client
        .exchange("HEAD /a/200 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let activity = settled(&mut api).await;
    let expected = json!({ "1xx": 0, "2xx": 4, "3xx": 2, "4xx": 4, "5xx": 1, "aborted": 0 });
    assert_eq!(activity["requests"], expected);
    // The list says the same.
    let list = api.get("/v1/routes").await.unwrap();
    assert_eq!(list["routes"][0]["activity"]["requests"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_bodies_are_counted_both_ways() {
    let origin = Origin::echoing().await;
    let (proxy, mut api) = started(&origin).await;
    let mut client = proxy.client().await;
    let body = "x".repeat(100_000);
    let whole = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
    assert_eq!(client.exchange(whole).await.body.len(), 100_000);
    let activity = settled(&mut api).await;
    let bytes = json!({ "received": 100_000, "sent": 100_000 });
    assert_eq!(activity["bytes"], bytes);
    let chunked = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert_eq!(client.exchange(chunked).await.text(), "hello world");
    let activity = settled(&mut api).await;
    // The content, not its framing.
    assert_eq!(
        activity["bytes"],
        json!({ "received": 100_011, "sent": 100_011 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websockets_bytes_are_counted_while_they_pass() {
    let origin = Origin::websocket().await;
    let (proxy, mut api) = started(&origin).await;
    let mut socket = Socket::open(&proxy, "/a").await;
    let text = "x".repeat(1000);
    for _ in 0..10 {
        socket.echo_text(&text).await;
    }
    let route = api.get(ROUTE).await.unwrap();
    let activity = &route["activity"];
    assert_eq!(activity["in_flight"], 1);
    // 1,000 bytes, 4 of the frame's head, and 4 of the mask from the client.
    assert_eq!(
        activity["bytes"],
        json!({ "received": 10_080, "sent": 10_040 })
    );
    let before = last_activity(activity);
    tokio::time::sleep(Duration::from_millis(20)).await;
    socket.echo_text("a").await;
    let after = api.get(ROUTE).await.unwrap();
    assert!(last_activity(&after["activity"]) > before);
    socket.send(Message::Close(None)).await;
    while socket.next().await.is_some() {}
    let activity = settled(&mut api).await;
    assert_eq!(activity["requests"]["1xx"], 1, "{activity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_activity_moves_with_requests_and_bytes() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let (proxy, mut api) = started(&origin).await;
    let made = last_activity(&settled(&mut api).await);
    let now = SystemTime::now();
    assert!(made <= now + Duration::from_secs(1) && made + Duration::from_secs(20) > now);
    let mut client = proxy.client().await;
    let mut last = made;
    let moved = async |api: &mut Api, what: &str| {
        let mut now = SystemTime::UNIX_EPOCH;
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        while now <= last {
            assert!(tokio::time::Instant::now() < end, "{what} is no activity");
            now = last_activity(&api.get(ROUTE).await.unwrap()["activity"]);
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut moved = moved;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a request");
    moved(&mut api, "a request's beginning").await;
    client.send("body").await;
    visit.bytes(4).await;
    moved(&mut api, "a piece of its body").await;
    client.send("body").await;
    visit.bytes(4).await;
    moved(&mut api, "another piece").await;
    visit.begin_chunks().await;
    visit.send_chunk("one").await;
    client.response_head().await.expect("an answer");
    client.chunk().await.expect("a chunk");
    moved(&mut api, "a piece of the answer").await;
    visit.send_chunk("").await;
    client.chunk().await.expect("the last chunk");
    moved(&mut api, "the end").await;
    // Looking at it is none.
    let before = settled(&mut api).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let after = settled(&mut api).await;
    let drift = last_activity(&after)
        .duration_since(last_activity(&before))
        .unwrap_or_default();
    assert!(drift < Duration::from_millis(10), "{drift:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inactive_are_found_exactly() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let entry = |n: usize| {
        json!({ "op": "put", "host": "*", "prefix": format!("/{n}"),
                "instances": [{ "port": origin.port() }] })
    };
    let changes: Vec<_> = (0..20).map(entry).collect();
    api.ok("PATCH", "/v1/routes", Some(json!({ "changes": changes })))
        .await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let border = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut client = proxy.client().await;
    for n in [3, 7, 11] {
        assert_eq!(client.get(&format!("/{n}/x")).await.text(), "app");
    }
    // A WebSocket that is silent counts as nothing else, and a new route is active.
    api.put("/v1/routes/*/new", json!({ "port": origin.port() }))
        .await;
    let idle = async |api: &mut Api, since: &str| {
        let list = api.get(&format!("/v1/routes?inactive_since={since}")).await;
        let list = list.expect("a list");
        let routes = list["routes"].as_array().expect("routes").iter();
        let prefixes = routes.map(|route| route["prefix"].as_str().expect("a prefix").to_owned());
        let mut prefixes: Vec<String> = prefixes.collect();
        prefixes.sort();
        prefixes
    };
    let mut expected: Vec<String> = (0..20)
        .filter(|n| ![3, 7, 11].contains(n))
        .map(|n| format!("/{n}"))
        .collect();
    expected.sort();
    let date = humantime::format_rfc3339_millis(border).to_string();
    assert_eq!(idle(&mut api, &date).await, expected);
    assert_eq!(idle(&mut api, "500ms").await, expected);
    assert!(idle(&mut api, "1h").await.is_empty());
    assert_eq!(idle(&mut api, "0s").await.len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_of_the_target_goes_on_counting() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("second").await);
    let (proxy, mut api) = started(&one).await;
    let mut client = proxy.client().await;
    client.get("/a").await;
    let before = settled(&mut api).await;
    api.put(ROUTE, json!({ "port": two.port() })).await;
    proxy.register("/a", two.port()).await;
    assert_eq!(settled(&mut api).await["requests"], before["requests"]);
    client.get("/a").await;
    let after = settled(&mut api).await;
    assert_eq!(after["requests"]["2xx"], 2);
    assert_eq!(after["bytes"]["sent"], 9);
    // Another route of the same key is another one.
    api.delete(ROUTE).await;
    api.put(ROUTE, json!({ "port": two.port() })).await;
    assert_eq!(settled(&mut api).await["requests"]["2xx"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_right_under_load() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let (proxy, mut api) = started(&origin).await;
    let mut pairs: Vec<(Client, _)> = Vec::new();
    for number in 1..=40 {
        let mut client = proxy.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        pairs.push((client, visit));
        let route = api.get(ROUTE).await.unwrap();
        assert_eq!(route["activity"]["in_flight"], json!(number));
        assert_eq!(route["instances"][0]["in_flight"], json!(number));
    }
    while let Some((mut client, mut visit)) = pairs.pop() {
        visit.answer(200, "").await;
        assert_eq!(client.response().await.status, 200);
        let left = pairs.len();
        api.until(ROUTE, |route| {
            let route = route.as_ref().expect("a route");
            route["activity"]["in_flight"] == json!(left)
                && route["instances"][0]["in_flight"] == json!(left)
        })
        .await;
    }
    assert_eq!(settled(&mut api).await["requests"]["2xx"], 40);
}
