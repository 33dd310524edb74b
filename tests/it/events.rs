//! `GET /v1/events`: what is told of each change, and in which words.

use serde_json::{Value, json};

use crate::support::{Api, ClosedPort, Origin, Reader, TestProxy, Told};

const ROUTE: &str = "/v1/routes/*/a";

fn key(told: &Told) -> (&str, &str) {
    let text = |name: &str| told.data[name].as_str().unwrap_or_default();
    (text("host"), text("prefix"))
}

/// The ports of the instances before or after.
fn ports(side: &Value) -> Option<Vec<u64>> {
    let instances = side["instances"].as_array()?.iter();
    Some(instances.filter_map(|i| i["port"].as_u64()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_route_is_told() {
    let proxy = TestProxy::plain().await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    let created = api
        .put(ROUTE, json!({ "port": 4001, "owner": "me", "ttl": "1h" }))
        .await;
    let told = reader.expect("route_created").await;
    assert_eq!(key(&told), ("*", "/a"));
    assert_eq!(told.data["generation"], created["generation"]);
    assert_eq!(told.data["before"], Value::Null);
    let instance = json!({ "id": "default", "host": "localhost", "port": 4001, "unix": null, "owner": "me", "ttl": "1h" });
    assert_eq!(told.data["after"]["instances"], json!([instance]));
    // Neither a renewal nor what is unchanged is news, nor is what would be done.
    api.put(ROUTE, json!({ "port": 4001, "owner": "me", "ttl": "1h" }))
        .await;
    api.put(&format!("{ROUTE}?dry_run=true"), json!({ "port": 4005 }))
        .await;
    api.put(ROUTE, json!({ "port": 4002 })).await;
    let told = reader.expect("route_replaced").await;
    assert_eq!(ports(&told.data["before"]), Some(vec![4001]));
    assert_eq!(ports(&told.data["after"]), Some(vec![4002]));
    let target = format!("{ROUTE}/instances/b");
    api.put(&target, json!({ "port": 4003 })).await;
    let told = reader.expect("instance_joined").await;
    assert_eq!(told.data["instance"]["id"], "b");
    assert_eq!(ports(&told.data["after"]), Some(vec![4002, 4003]));
    api.put(&target, json!({ "port": 4004 })).await;
    let told = reader.expect("instance_replaced").await;
    assert_eq!(told.data["instance"]["port"], 4004);
    assert_eq!(ports(&told.data["before"]), Some(vec![4002, 4003]));
    api.delete(&target).await;
    let told = reader.expect("instance_left").await;
    assert_eq!(told.data["instance"]["id"], "b");
    assert_eq!(ports(&told.data["after"]), Some(vec![4002]));
    let removed = api.delete(ROUTE).await;
    let told = reader.expect("route_removed").await;
    assert_eq!(told.data["generation"], removed["generation"]);
    assert_eq!(told.data["after"], Value::Null);
    let mut last = 0;
    let mut again = Reader::after(&proxy, Some(&first_id(&told))).await;
    for name in [
        "route_created",
        "route_replaced",
        "instance_joined",
        "instance_replaced",
        "instance_left",
        "route_removed",
    ] {
        let told = again.expect(name).await;
        assert!(told.number() > last);
        last = told.number();
    }
}

/// The id before the first event of a process.
fn first_id(told: &Told) -> String {
    let (epoch, _) = told.id.split_once('-').expect("an id");
    format!("{epoch}-0")
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_told_in_the_words_of_the_contract() {
    let proxy = TestProxy::plain().await;
    let mut reader = Reader::of(&proxy).await;
    let body =
        json!({ "prefix": "/shop", "port": 4321, "reqHostNames": ["a.example", "b.example"] });
    assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    let told = reader
        .expect_all(&[
            "route_created",
            "route_created",
            "route_registered",
            "route_registered",
        ])
        .await;
    let hosts: Vec<_> = told.iter().map(|told| key(told).0).collect();
    assert_eq!(hosts, ["a.example", "b.example", "a.example", "b.example"]);
    let target = json!({ "host": "localhost", "port": 4321, "unix": null });
    assert_eq!(told[2].data["target"], target);
    // Renewing a lease, and nothing else, is no event.
    let leased = json!({ "prefix": "/leased", "port": 4321, "ttl": "1h" }).to_string();
    proxy.register_json(&leased).await;
    reader
        .expect_all(&["route_created", "route_registered"])
        .await;
    proxy.register_json(&leased).await;
    let refused = proxy
        .register_json(r#"{"prefix": "/x", "port": 99999}"#)
        .await;
    assert_eq!(refused.status, 400);
    let told = reader.expect("register_error").await;
    assert_eq!(told.data["error"], refused.error());
    let message = told.data["message"].as_str().expect("a message");
    assert!(refused.message().starts_with(message), "{message}");
    assert_eq!(told.data["peer"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_proxied_are_told() {
    let closed = ClosedPort::new();
    let proxy = TestProxy::plain().await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    api.put(ROUTE, json!({ "host": "127.0.0.1", "port": closed.port() }))
        .await;
    reader.expect("route_created").await;
    let mut client = proxy.client().await;
    client.get("/nowhere?query=secret").await;
    let told = reader.expect("proxy_error").await;
    let expected = json!({
        "error": "NOT_FOUND", "message": told.data["message"], "status": 501, "method": "GET",
        "host": "localhost", "path": "/nowhere", "route": null,
    });
    assert_eq!(told.data, expected);
    client.get("/a/b").await;
    let told = reader.expect("proxy_error").await;
    assert_eq!(told.data["error"], "UNREACHABLE");
    assert_eq!(told.data["route"], json!({ "host": "*", "prefix": "/a" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_lease_is_told() {
    let proxy = TestProxy::plain().await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    api.put(ROUTE, json!({ "port": 4001 })).await;
    api.put(
        &format!("{ROUTE}/instances/short"),
        json!({ "port": 4002, "ttl": "1s" }),
    )
    .await;
    api.put("/v1/routes/*/b", json!({ "port": 4003, "ttl": "1s" }))
        .await;
    reader
        .expect_all(&["route_created", "instance_joined", "route_created"])
        .await;
    let told = reader.expect("lease_expired").await;
    assert_eq!(key(&told), ("*", "/a"));
    assert_eq!(told.data["instance"]["id"], "short");
    assert_eq!(ports(&told.data["after"]), Some(vec![4001]));
    let told = reader.expect("lease_expired").await;
    assert_eq!(key(&told), ("*", "/b"));
    assert_eq!(told.data["after"], Value::Null);
    let told = reader.expect("route_removed").await;
    assert_eq!(key(&told), ("*", "/b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_change_is_one_event() {
    let proxy = TestProxy::plain().await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    let set = |count: usize, port: u16| {
        let entry = |n: usize| json!({ "host": "*", "prefix": format!("/{n}"), "instances": [{ "port": port }] });
        json!({ "routes": (0..count).map(entry).collect::<Vec<_>>() })
    };
    let put = api.put("/v1/routes", set(300, 4001)).await;
    let told = reader.expect("routes_changed").await;
    let expected = json!({ "generation": put["generation"], "created": 300, "replaced": 0,
                           "unchanged": 0, "removed": 0 });
    assert_eq!(told.data, expected);
    api.put("/v1/routes", set(2, 4001)).await;
    let told = reader.expect("routes_changed").await;
    assert_eq!(told.data["removed"], 298);
    assert_eq!(told.data["unchanged"], 2);
    // A small one is told route by route.
    api.put("/v1/routes", set(2, 4002)).await;
    reader
        .expect_all(&["route_replaced", "route_replaced"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_comes_first() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let (mut api, mut reader) = (Api::of(&proxy).await, Reader::of(&proxy).await);
    let mut ids = Vec::new();
    for n in 0..10 {
        api.put(
            &format!("/v1/routes/*/{n}"),
            json!({ "port": origin.port() }),
        )
        .await;
        ids.push(reader.expect("route_created").await.id);
    }
    drop(reader);
    for n in 10..20 {
        api.put(
            &format!("/v1/routes/*/{n}"),
            json!({ "port": origin.port() }),
        )
        .await;
    }
    for (at, id) in ids.iter().enumerate() {
        let mut reader = Reader::after(&proxy, Some(id)).await;
        for n in at + 1..20 {
            let told = reader.expect("route_created").await;
            assert_eq!(key(&told).1, format!("/{n}"));
            assert!(ids.get(n).is_none_or(|id| *id == told.id), "{told:?}");
        }
        // Then those that come.
        if at == 9 {
            api.delete("/v1/routes/*/0").await;
            assert_eq!(key(&reader.expect("route_removed").await).1, "/0");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_process_has_missed_something() {
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let mut watching = Reader::of(&proxy).await;
    api.put(ROUTE, json!({ "port": 4001 })).await;
    let first = watching.expect("route_created").await;
    for id in ["00000000-5", "nonsense", "1-2-3", "-", "ffffffff-1"] {
        let mut reader = Reader::after(&proxy, Some(id)).await;
        let told = reader.expect("missed").await;
        assert_eq!(told.data, json!({ "missed": null }), "{id}");
        // Then all that this process has seen.
        assert_eq!(reader.expect("route_created").await.id, first.id);
    }
    // One that this process has not given out yet has missed nothing.
    let (epoch, _) = first.id.split_once('-').expect("an id");
    let mut reader = Reader::after(&proxy, Some(&format!("{epoch}-1000"))).await;
    api.delete(ROUTE).await;
    assert_eq!(
        reader.expect("route_removed").await.number(),
        first.number() + 1
    );
}
