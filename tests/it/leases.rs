//! Leases: what nobody renews is gone in its time, and a renewal is no change.
//!
//! Time is the registry's own clock, `std::time::Instant`, which the kernel keeps apart from the date:
//! no test here sets the machine's date, since nothing in the life of a lease reads it. It is read only
//! to show `since` and `last_activity` to people.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Origin, TestProxy, eventually};

/// By when a lease that has ended is gone.
const LATE: Duration = Duration::from_secs(1);

fn leased(port: u16, ttl: &str) -> Value {
    json!({ "port": port, "ttl": ttl })
}

/// What is left of a route's only lease.
fn left(route: &Value) -> Duration {
    let left = route["instances"][0]["expires_in"].as_str();
    humantime::parse_duration(left.expect("a lease")).expect("a duration")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_gone_in_its_time_and_not_before() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    let begin = Instant::now();
    let body = json!({ "prefix": "/a", "port": origin.port(), "ttl": "1s" });
    assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    let answered = Instant::now();
    // Somebody else's, which stays.
    proxy.register("/b", origin.port()).await;
    eventually("its requests find no route", async || {
        client.get("/a").await.status == 501
    })
    .await;
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        answered.elapsed() < Duration::from_secs(1) + LATE,
        "{:?}",
        answered.elapsed()
    );
    let mut api = Api::of(&proxy).await;
    assert_eq!(api.get("/v1/routes/*/a").await, None);
    assert_eq!(client.get("/b").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_leaves_its_route_to_the_others() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let base = "/v1/routes/*/a";
    let begin = Instant::now();
    api.put(
        &format!("{base}/instances/one"),
        json!({ "port": one.port() }),
    )
    .await;
    let joined = api
        .put(&format!("{base}/instances/two"), leased(two.port(), "1s"))
        .await;
    assert_eq!(joined["route"]["instances"].as_array().unwrap().len(), 2);
    api.until_gone(&format!("{base}/instances/two")).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    let route = api.get(base).await.unwrap();
    assert_eq!(route["instances"].as_array().unwrap().len(), 1);
    assert!(route["generation"].as_u64() > joined["generation"].as_u64());
    let mut client = proxy.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("/a").await.text(), "one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_no_change() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let port = origin.port();
    let instance = json!({ "id": "default", "port": port, "ttl": "30s" });
    let put = json!({ "op": "put", "host": "*", "prefix": "/a", "instances": [instance] });
    let join = json!({ "op": "join", "host": "*", "prefix": "/a", "instance": instance });
    let renewals = [
        (
            "POST",
            "/register",
            json!({ "prefix": "/a", "port": port, "ttl": "30s" }),
        ),
        ("PUT", "/v1/routes/*/a", leased(port, "30s")),
        (
            "PUT",
            "/v1/routes/*/a/instances/default",
            leased(port, "30s"),
        ),
        ("PATCH", "/v1/routes", json!({ "changes": [put] })),
        ("PATCH", "/v1/routes", json!({ "changes": [join, join] })),
        (
            "PUT",
            "/v1/routes",
            json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [instance] }] }),
        ),
    ];
    api.put("/v1/routes/*/a", leased(port, "30s")).await;
    let first = api.call("GET", "/v1/routes/*/a", None).await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/a").await.text(), "app");
    for (method, target, body) in renewals {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let before = api.get("/v1/routes/*/a").await.unwrap();
        assert!(left(&before) <= Duration::from_millis(29_940), "{before}");
        api.ok(method, target, Some(body)).await;
        let after = api.call("GET", "/v1/routes/*/a", None).await;
        assert!(
            left(&after.json()) > left(&before),
            "{method} {target}: {}",
            after.text()
        );
        for field in ["etag", "x-route-generation"] {
            assert_eq!(after.field(field), first.field(field), "{method} {target}");
        }
        assert_eq!(after.json()["generation"], first.json()["generation"]);
        assert_eq!(
            after.json()["instances"][0]["since"],
            first.json()["instances"][0]["since"]
        );
        assert_eq!(client.get("/a").await.text(), "app");
    }
    assert_eq!(origin.accepted(), 1, "idle connections are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_renewed_stays_until_nobody_renews_it() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    let body = json!({ "prefix": "/a", "port": origin.port(), "ttl": "1s", "instance": "x" });
    let begin = Instant::now();
    let mut renewed = begin;
    while begin.elapsed() < Duration::from_millis(2500) {
        let asked = Instant::now();
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.text());
        renewed = asked;
        let got = client.get("/a").await;
        assert_eq!((got.status, got.text().as_str()), (200, "app"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eventually("it ends", async || client.get("/a").await.status == 501).await;
    assert!(renewed.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_given_up_and_taken_again() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let target = "/v1/routes/*/a";
    let leased_at = api.put(target, leased(origin.port(), "1s")).await;
    let for_good = api.put(target, json!({ "port": origin.port() })).await;
    assert_eq!(for_good["result"], "replaced");
    assert!(for_good["generation"].as_u64() > leased_at["generation"].as_u64());
    let instance = &for_good["route"]["instances"][0];
    assert_eq!(
        (&instance["ttl"], &instance["expires_in"]),
        (&Value::Null, &Value::Null)
    );
    // The old lease has no power any more, and neither has a longer one's shorter successor.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(api.get(target).await.is_some());
    api.put(target, leased(origin.port(), "1h")).await;
    let begin = Instant::now();
    let again = api.put(target, leased(origin.port(), "1s")).await;
    assert_eq!(again["route"]["instances"][0]["ttl"], "1s");
    api.until_gone(target).await;
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(1) + LATE,
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_end_in_time_while_requests_are_served() {
    const COUNT: usize = 20_000;
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("log: warn,audit=off,dynamic_reverse_proxy::server=info").await;
    proxy.register("/app", origin.port()).await;
    let mut api = Api::of(&proxy).await;
    let instance = [json!({ "port": origin.port(), "ttl": "3s" })];
    let changes: Vec<_> = (0..COUNT)
        .map(|n| json!({ "op": "put", "host": "*", "prefix": format!("/p/{n}"), "instances": instance }))
        .collect();
    let begin = Instant::now();
    api.ok("PATCH", "/v1/routes", Some(json!({ "changes": changes })))
        .await;
    let answered = Instant::now();
    let mut client = proxy.client().await;
    let mut slowest = Duration::ZERO;
    eventually("all of them end", async || {
        let asked = Instant::now();
        assert_eq!(client.get("/app").await.text(), "app");
        slowest = slowest.max(asked.elapsed());
        let routes = api.get("/v1/status").await.unwrap()["routes"].clone();
        if routes != json!(COUNT + 1) {
            assert!(begin.elapsed() >= Duration::from_secs(3), "too early");
        }
        routes == json!(1)
    })
    .await;
    let took = answered.elapsed();
    assert!(took < Duration::from_secs(3) + 2 * LATE, "{took:?}");
    assert!(slowest < LATE, "a request waited for {slowest:?}");
}
