//! Drains: an instance that leaves takes no more requests, and finishes those that it has.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Api, Client, Origin, OriginConnection, Reader, Socket, TestProxy, Visitors, eventually,
};

/// Far below the drains here, far above what their ends take.
const SOON: Duration = Duration::from_secs(5);

const ROUTE: &str = "/v1/routes/*/a";

/// A proxy, and an origin that the test plays behind `/a`.
async fn by_hand() -> (TestProxy, Api, Origin, Visitors) {
    let (origin, visitors) = Origin::by_hand().await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    api.put(ROUTE, json!({ "port": origin.port() })).await;
    (proxy, api, origin, visitors)
}

/// A request on its way, up to the origin.
async fn in_flight(proxy: &TestProxy, visitors: &mut Visitors) -> (Client, OriginConnection) {
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    (client, visit)
}

async fn answered(mut client: Client, mut visit: OriginConnection) {
    visit.answer(200, "done").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "done"));
}

fn duration(value: &Value) -> Duration {
    humantime::parse_duration(value.as_str().expect("a duration")).expect("a duration")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_the_last_request() {
    let (proxy, mut api, origin, mut visitors) = by_hand().await;
    let (client, visit) = in_flight(&proxy, &mut visitors).await;
    let mut reader = Reader::of(&proxy).await;
    let removed = api.delete(&format!("{ROUTE}?drain=1h")).await;
    assert_eq!(removed["result"], "draining");
    let mut other = proxy.client().await;
    assert_eq!(other.get("/a").await.status, 501);
    // It can be seen while it drains.
    let route = api.get(ROUTE).await.unwrap();
    let instance = &route["instances"][0];
    assert_eq!(instance["state"], "draining");
    assert_eq!(instance["in_flight"], 1);
    assert_eq!(route["activity"]["in_flight"], 1);
    let left = duration(&instance["drain_ends_in"]);
    assert!(left <= Duration::from_hours(1) && left > Duration::from_mins(59));
    let same = api
        .get(&format!("{ROUTE}/instances/default"))
        .await
        .unwrap();
    assert_eq!(same["state"], "draining");
    let list = api.get("/v1/routes").await.unwrap();
    assert_eq!(
        (&list["total"], &list["routes"][0]["prefix"]),
        (&json!(1), &json!("/a"))
    );
    let status = api.get("/v1/status").await.unwrap();
    assert_eq!(
        (&status["routes"], &status["draining"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(origin.requests().len(), 1);
    let begin = Instant::now();
    answered(client, visit).await;
    api.until_gone(ROUTE).await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    api.until_gone(&format!("{ROUTE}/instances/default")).await;
    let told = reader
        .expect_all(&[
            "instance_draining",
            "proxy_error",
            "instance_left",
            "route_removed",
        ])
        .await;
    for told in [&told[0], &told[2], &told[3]] {
        assert_eq!(
            (&told.data["host"], &told.data["prefix"]),
            (&json!("*"), &json!("/a"))
        );
        assert_eq!(told.data["generation"], removed["generation"], "{told:?}");
        assert_eq!(told.data["instance"]["id"], "default");
        assert_eq!(told.data["after"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_flight_is_not_waited_for() {
    let (proxy, mut api, _origin, _visitors) = by_hand().await;
    let begin = Instant::now();
    api.delete(&format!("{ROUTE}?drain=1h")).await;
    api.until_gone(ROUTE).await;
    assert!(begin.elapsed() < SOON);
    let again = api.call("DELETE", &format!("{ROUTE}?drain=1h"), None).await;
    assert_eq!(again.json()["code"], "NO_SUCH_ROUTE");
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_begins_anew_meanwhile() {
    let (proxy, mut api, _old, mut visitors) = by_hand().await;
    let (client, visit) = in_flight(&proxy, &mut visitors).await;
    api.delete(&format!("{ROUTE}?drain=1h")).await;
    let new = Origin::saying("new").await;
    let created = api.put(ROUTE, json!({ "port": new.port() })).await;
    assert_eq!(created["result"], "created");
    let mut other = proxy.client().await;
    assert_eq!(other.get("/a").await.text(), "new");
    let states = |route: &Option<Value>| -> Vec<Value> {
        let route = route.as_ref().expect("a route");
        let instances = route["instances"].as_array().unwrap().iter();
        instances
            .map(|instance| instance["state"].clone())
            .collect()
    };
    let route = api.get(ROUTE).await;
    assert_eq!(states(&route), ["ready", "draining"], "{route:?}");
    // The name stands for the new one.
    let one = api
        .get(&format!("{ROUTE}/instances/default"))
        .await
        .unwrap();
    assert_eq!(one["port"], json!(new.port()));
    answered(client, visit).await;
    api.until(ROUTE, |route| states(route) == ["ready"]).await;
    assert_eq!(other.get("/a").await.text(), "new");
    let same = api.get(ROUTE).await.unwrap();
    assert_eq!(
        same["generation"], created["generation"],
        "the end of the old one is no change"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_drains() {
    let (proxy, mut api, _origin, mut visitors) = by_hand().await;
    let (client, visit) = in_flight(&proxy, &mut visitors).await;
    let other = Origin::saying("other").await;
    api.put(
        &format!("{ROUTE}/instances/other"),
        json!({ "port": other.port() }),
    )
    .await;
    let mut reader = Reader::of(&proxy).await;
    let target = format!("{ROUTE}/instances/default");
    api.delete(&format!("{target}?drain=1h")).await;
    let mut requests = proxy.client().await;
    for _ in 0..4 {
        assert_eq!(requests.get("/a").await.text(), "other");
    }
    assert_eq!(api.get(&target).await.unwrap()["in_flight"], 1);
    answered(client, visit).await;
    api.until_gone(&target).await;
    let told = reader
        .expect_all(&["instance_draining", "instance_left"])
        .await;
    for told in told {
        assert_eq!(told.data["instance"]["id"], "default");
        let after = told.data["after"]["instances"].as_array().unwrap();
        assert_eq!(after.len(), 1, "{told:?}");
        assert_eq!(after[0]["id"], "other");
    }
    assert_eq!(requests.get("/a").await.text(), "other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_drains_too() {
    let (proxy, mut api, _origin, mut visitors) = by_hand().await;
    let (client, visit) = in_flight(&proxy, &mut visitors).await;
    let other = Origin::saying("other").await;
    let target = format!("{ROUTE}/instances/other");
    api.put(&target, json!({ "port": other.port() })).await;
    let key = |change: Value| {
        let mut change = change;
        change["host"] = json!("*");
        change["prefix"] = json!("/a");
        change
    };
    let changes = [
        key(json!({ "op": "leave", "id": "other" })),
        key(json!({ "op": "remove", "drain": "1h" })),
    ];
    let made = api
        .ok("PATCH", "/v1/routes", Some(json!({ "changes": changes })))
        .await;
    assert_eq!(made["results"][0]["result"], "removed");
    assert_eq!(made["results"][1]["result"], "draining");
    assert_eq!(
        api.get(ROUTE).await.unwrap()["instances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    answered(client, visit).await;
    api.until_gone(ROUTE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_or_removal_without_a_drain_cuts_nothing() {
    let origin = Origin::websocket().await;
    let (slow, mut visitors) = Origin::by_hand().await;
    let new = Origin::saying("new").await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    for (number, remove) in [false, true].into_iter().enumerate() {
        let target = format!("{ROUTE}/{number}");
        let path = format!("/a/{number}");
        api.put(&target, json!({ "port": origin.port() })).await;
        let mut socket = Socket::open(&proxy, &path).await;
        socket.echo_text("before").await;
        api.put(&target, json!({ "port": slow.port() })).await;
        socket.echo_text("replaced").await;
        let mut client = proxy.client().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let mut visit = visitors.next().await;
        visit.request().await.expect("a request");
        visit.begin_chunks().await;
        let head = client.response_head().await.expect("an answer").head;
        visit.send_chunk("one").await;
        if remove {
            assert_eq!(api.delete(&target).await["result"], "removed");
            assert_eq!(api.get(&target).await, None);
        } else {
            api.put(&target, json!({ "port": new.port() })).await;
        }
        socket.echo_text("after").await;
        visit.send_chunk("two").await;
        visit.send_chunk("").await;
        assert_eq!(client.framed(&head).await, (b"onetwo".to_vec(), true));
        let status = if remove { 501 } else { 200 };
        assert_eq!(client.get(&path).await.status, status);
        socket.echo_text("at the end").await;
    }
    eventually("it is counted", async || {
        let route = api.get(&format!("{ROUTE}/0")).await.unwrap();
        route["activity"]["requests"]["2xx"] == json!(2)
    })
    .await;
}
