//! Several instances of an app behind one route: who gets a request, and how they come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Api, ClosedPort, Origin, Reader, TestProxy};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Three origins behind `/`.
async fn three(proxy: &TestProxy) -> Vec<Origin> {
    let mut api = Api::of(proxy).await;
    let mut origins = Vec::new();
    for name in NAMES {
        let origin = Origin::saying(name).await;
        let body = json!({ "port": origin.port() });
        api.put(&format!("/v1/routes/*//instances/{name}"), body)
            .await;
        origins.push(origin);
    }
    origins
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reply_to_an_instance_that_joins_names_its_own_target() {
    let proxy = TestProxy::plain().await;
    let mut events = Reader::of(&proxy).await;
    // Before and behind the others, whatever their order is.
    for (name, port) in [("m", 7001), ("z", 7002), ("0", 7003)] {
        let body = json!({ "prefix": "/", "port": port, "instance": name }).to_string();
        let response = proxy.register_json(body).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["port"], port, "{name}");
        let line = format!("registered */ -> localhost:{port}");
        proxy.logged(&[&line]).await;
        let told = loop {
            let told = events.next().await;
            if told.name == "route_registered" {
                break told.data;
            }
        };
        assert_eq!(told["target"]["port"], port, "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_thread_requests_go_round() {
    let proxy = TestProxy::start("threads: 1").await;
    let _origins = three(&proxy).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut before = String::new();
    // On whatever connections they come.
    for _ in 0..3 {
        let mut client = proxy.client().await;
        for _ in 0..10 {
            let text = client.get("/").await.text();
            assert_ne!(text, before);
            *counts.entry(text.clone()).or_default() += 1;
            before = text;
        }
    }
    for name in NAMES {
        assert_eq!(counts.get(name), Some(&10), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_threads_each_gets_a_share() {
    let proxy = TestProxy::start("threads: 4").await;
    let _origins = three(&proxy).await;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..40 {
        let mut client = proxy.client().await;
        for _ in 0..3 {
            *counts.entry(client.get("/").await.text()).or_default() += 1;
        }
    }
    // Exactly even on each thread, up to what does not divide.
    for name in NAMES {
        let count = counts.get(name).copied().unwrap_or(0);
        assert!((36..=44).contains(&count), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_is_passed_over() {
    let closed = [ClosedPort::new(), ClosedPort::new()];
    let origin = Origin::echoing().await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let instance = |id: &str, port: u16| json!({ "id": id, "host": "127.0.0.1", "port": port });
    let instances = [
        instance("a", closed[0].port()),
        instance("b", closed[1].port()),
        instance("c", origin.port()),
    ];
    let route = api
        .put("/v1/routes/*/", json!({ "instances": instances }))
        .await;
    assert_eq!(route["result"], "created");
    let mut client = proxy.client().await;
    for number in 0..12 {
        let body = format!("body {number}");
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let response = client.exchange(request).await;
        assert_eq!((response.status, response.text()), (200, body));
        assert_eq!(client.get("/").await.status, 200);
    }
    // Those that refuse count nothing.
    counted(&mut api, "2xx", 24).await;
    let route = api.get("/v1/routes/*/").await.unwrap();
    for instance in route["instances"].as_array().unwrap() {
        assert_eq!(instance["in_flight"], 0, "{route}");
    }
    assert!(!proxy.log().contains("UNREACHABLE"), "{}", proxy.log());
    // With nobody left it is an error, once.
    api.delete("/v1/routes/*//instances/c").await;
    let response = client.get("/").await;
    assert_eq!(response.verdict(), (500, "UNREACHABLE".to_owned()));
    counted(&mut api, "5xx", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_without_a_name_replaces_all() {
    let proxy = TestProxy::plain().await;
    let _origins = three(&proxy).await;
    let origin = Origin::saying("alone").await;
    proxy.register("/", origin.port()).await;
    let mut api = Api::of(&proxy).await;
    let route = api.get("/v1/routes/*/").await.unwrap();
    let ids: Vec<_> = route["instances"].as_array().unwrap().iter().collect();
    assert_eq!(ids.len(), 1, "{route}");
    assert_eq!(ids[0]["id"], "default");
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_under_load_loses_nothing() {
    let proxy = Arc::new(TestProxy::start("threads: 2").await);
    let mut api = Api::of(&proxy).await;
    let first = slow_echo().await;
    api.put(
        "/v1/routes/*//instances/first",
        json!({ "port": first.port() }),
    )
    .await;
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (proxy, stop, served) =
                (Arc::clone(&proxy), Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                let mut client = proxy.client().await;
                let request = if number % 2 == 0 {
                    "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
                } else {
                    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
                };
                while !stop.load(Ordering::Relaxed) {
                    let response = client.exchange(request).await;
                    assert_eq!(response.status, 200, "{}", response.text());
                    assert_ne!(response.field("connection"), Some("close"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let end = Instant::now() + Duration::from_millis(2500);
    let mut turns = 0;
    while Instant::now() < end {
        let mut origin = slow_echo().await;
        let target = format!("/v1/routes/*//instances/turn-{turns}");
        api.put(&target, json!({ "port": origin.port() })).await;
        // Until it has had something to do.
        api.until(&target, |_| origin.accepted() > 0).await;
        let removed = api.delete(&format!("{target}?drain=10s")).await;
        assert_eq!(removed["result"], "draining");
        api.until_gone(&target).await;
        // Nobody waits for it any more.
        origin.stop().await;
        turns += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request fails");
    }
    assert!(turns >= 3, "only {turns} instances came and went");
    let served = served.load(Ordering::Relaxed);
    assert!(served > 100, "only {served} requests");
    counted(&mut api, "2xx", served).await;
}

/// Waits until so many requests of a class are counted, which happens after their answers, and none is
/// on its way.
async fn counted(api: &mut Api, class: &str, count: usize) {
    api.until("/v1/routes/*/", |route| {
        let activity = &route.as_ref().expect("a route")["activity"];
        activity["requests"][class] == json!(count) && activity["in_flight"] == json!(0)
    })
    .await;
}

/// An origin that takes a moment for each request.
async fn slow_echo() -> Origin {
    Origin::start(|mut visit| async move {
        while visit.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(3)).await;
            visit.answer(200, "served").await;
        }
    })
    .await
}
