//! What is kept beyond the process: everything that was answered, as it was.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dynamic_reverse_proxy::registry::store::{
    Embedded, InstanceRecord, Meta, RouteRecord, Store, Write,
};
use dynamic_reverse_proxy::route::{InstanceSpec, KeyedInstances, Port, RouteSpec, Settings};
use serde_json::{Value, json};

use crate::support::{
    Api, Client, Home, Origin, ReservedPort, TestProxy, api_request, eventually, get,
};

/// What of the routes is the same after a restart, and their leases.
async fn kept(api: &mut Api) -> (Value, Vec<Option<Duration>>) {
    let mut list = api.get("/v1/routes").await.expect("a list");
    let mut leases = Vec::new();
    for route in list["routes"].as_array_mut().expect("routes") {
        let route = route.as_object_mut().expect("a route");
        route.remove("activity");
        for instance in route["instances"].as_array_mut().expect("instances") {
            // A request that was answered a moment ago may still count.
            instance["in_flight"].take();
            let left = instance["expires_in"].take();
            leases.push(
                left.as_str()
                    .map(|left| humantime::parse_duration(left).unwrap()),
            );
        }
    }
    (list, leases)
}

/// Routes of every kind.
async fn fill(proxy: &TestProxy, port: u16) {
    let mut api = Api::of(proxy).await;
    proxy.register("/plain", port).await;
    for (id, ttl) in [("one", "30s"), ("two", "1h")] {
        let body = json!({ "prefix": "/leased", "port": port, "ttl": ttl, "instance": id,
                           "reqHostNames": ["a.example", "*.b.example"] });
        assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    }
    api.put(
        "/v1/routes/*/owned",
        json!({ "port": port, "owner": "team" }),
    )
    .await;
    api.put("/v1/routes/*/gone", json!({ "port": port })).await;
    api.put("/v1/routes/*/drained", json!({ "port": port }))
        .await;
    api.put(
        "/v1/routes/*/%C3%A4/a%2Fb",
        json!({ "host": "::1", "port": port }),
    )
    .await;
    let changes = json!({ "changes": [
        { "op": "put", "host": "*", "prefix": "/", "instances": [{ "port": port, "ttl": "1d" }] },
        { "op": "remove", "host": "*", "prefix": "/gone" },
        { "op": "remove", "host": "*", "prefix": "/drained", "drain": "1h" },
    ] });
    api.ok("PATCH", "/v1/routes", Some(changes)).await;
    api.until_gone("/v1/routes/*/drained").await;
    // A lease that is longer now than at first, and one that is there no more.
    for ttl in [json!("5s"), Value::Null, json!("2h")] {
        api.put("/v1/routes/*/changed", json!({ "port": port, "ttl": ttl }))
            .await;
    }
    api.put(
        "/v1/routes/*/for-good",
        json!({ "port": port, "ttl": "5s" }),
    )
    .await;
    api.put("/v1/routes/*/for-good", json!({ "port": port }))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_as_it_was() {
    let origin = Origin::saying("app").await;
    let home = Home::new("");
    let mut proxy = home.start().await;
    fill(&proxy, origin.port()).await;
    for signal in ["TERM", "KILL", "KILL", "TERM"] {
        let mut api = Api::of(&proxy).await;
        let tag = api.call("GET", "/v1/routes/*/plain", None).await;
        let (before, leases) = kept(&mut api).await;
        assert_eq!(before["total"], 8, "{before}");
        proxy.signal(signal);
        proxy.ended().await;
        proxy = home.start().await;
        let mut api = Api::of(&proxy).await;
        let (after, left) = kept(&mut api).await;
        assert_eq!(after, before, "after {signal}");
        assert_eq!(left.len(), leases.len());
        for (before, after) in leases.iter().zip(&left) {
            // A little has passed, or was not written down before the end.
            let is_near = |before: &Duration, after: &Duration| {
                before.abs_diff(*after) < Duration::from_secs(6)
            };
            let is_same = match (before, after) {
                (Some(before), Some(after)) => is_near(before, after),
                (before, after) => before == after,
            };
            assert!(is_same, "{signal}: {before:?} {after:?}");
        }
        let again = api.call("GET", "/v1/routes/*/plain", None).await;
        assert_eq!(again.field("etag"), tag.field("etag"));
        assert_eq!(
            again.field("x-route-generation"),
            tag.field("x-route-generation")
        );
        // The condition of before holds, and changes go on from there.
        let condition = [("If-Match", tag.field("etag").expect("an entity tag"))];
        let body = json!({ "port": origin.port(), "owner": format!("after {signal}{}", before["generation"]) });
        let request = api_request("PUT", "/v1/routes/*/plain", &condition, Some(&body));
        let put = Client::connect(proxy.control().await)
            .await
            .exchange(request)
            .await;
        assert_eq!(put.status, 200, "{}", put.text());
        assert_eq!(
            put.json()["generation"].as_u64(),
            before["generation"].as_u64().map(|before| before + 1)
        );
        assert_eq!(proxy.client().await.get("/plain").await.text(), "app");
    }
    assert_eq!(
        Api::of(&proxy).await.get("/v1/status").await.unwrap()["store"],
        "embedded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_the_proxy_is_down_does_not_count() {
    let home = Home::new("");
    let mut proxy = home.start().await;
    let begin = Instant::now();
    let mut api = Api::of(&proxy).await;
    for route in ["/v1/routes/*/a", "/v1/routes/*/b"] {
        api.put(route, json!({ "port": 4001, "ttl": "2s" })).await;
    }
    let target = "/v1/routes/*/a";
    api.put(target, json!({ "port": 4001, "ttl": "2s" })).await;
    proxy.stop().await;
    let down = Instant::now();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    proxy = home.start().await;
    let down = down.elapsed();
    let mut api = Api::of(&proxy).await;
    assert!(api.get(target).await.is_some(), "{}", proxy.log());
    api.until_gone(target).await;
    let lived = begin.elapsed().checked_sub(down).unwrap();
    let late = Duration::from_millis(3500);
    assert!(lived > Duration::from_secs(1) && lived < late, "{lived:?}");
    api.until_gone("/v1/routes/*/b").await;
    // And the end of the lease is kept as well.
    proxy.signal("KILL");
    proxy.ended().await;
    let proxy = home.start().await;
    let list = Api::of(&proxy).await.get("/v1/routes").await.unwrap();
    assert_eq!(list["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_configuration_are_there_at_each_start() {
    let (own, other) = (Origin::saying("own").await, Origin::saying("other").await);
    let routes = format!(
        "port: 0\ncontrol:\n  listen: 127.0.0.1:0\nroutes:\n  - prefix: /a\n    port: {port}\n  - prefix: /b\n    port: {port}\n",
        port = own.port()
    );
    let mut home = Home::new("");
    let plain = "port: 0\ncontrol:\n  listen: 127.0.0.1:0\n";
    home.set(&routes);
    let mut proxy = home.start().await;
    let mut client = proxy.client().await;
    for path in ["/a", "/b"] {
        assert_eq!(client.get(path).await.text(), "own");
    }
    // Somebody takes one over, and removes the other.
    proxy.register("/a", other.port()).await;
    Api::of(&proxy).await.delete("/v1/routes/*/b").await;
    assert_eq!(client.get("/a").await.text(), "other");
    assert_eq!(client.get("/b").await.status, 501);
    proxy.stop().await;
    proxy = home.start().await;
    let mut client = proxy.client().await;
    assert_eq!(
        client.get("/a").await.text(),
        "other",
        "what is stored wins"
    );
    assert_eq!(
        client.get("/b").await.text(),
        "own",
        "and the rest is there again"
    );
    proxy.stop().await;
    // None of it was stored but what somebody did.
    home.set(plain);
    let proxy = home.start().await;
    let list = Api::of(&proxy).await.get("/v1/routes").await.unwrap();
    assert_eq!(list["total"], 1, "{list}");
    assert_eq!(list["routes"][0]["prefix"], "/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_come_back() {
    const COUNT: u64 = 100_000;
    let origin = Origin::saying("app").await;
    let home = Home::new("log: warn,dynamic_reverse_proxy::server=info\n");
    let record = |number: u64| RouteRecord {
        generation: number + 1,
        route: RouteSpec {
            own: KeyedInstances {
                host: Some("*".to_owned()),
                prefix: format!("/app/{number}"),
                instances: vec![InstanceSpec {
                    host: Some("127.0.0.1".to_owned()),
                    port: Port::new(origin.port()),
                    ..InstanceSpec::default()
                }],
            },
            group: Settings::default(),
        },
        instances: vec![InstanceRecord {
            addresses: vec![([127, 0, 0, 1], origin.port()).into()],
            since: 0,
        }],
    };
    let writes: Vec<_> = (0..COUNT)
        .map(|n| Write::PutRoute(format!("*/app/{n}").into(), Box::new(record(n))))
        .collect();
    let mut store = Embedded::open(&home.file()).unwrap();
    store.load().unwrap();
    let meta = Meta {
        generation: COUNT,
        clock: 1,
    };
    store.commit(&writes, meta).unwrap();
    drop(store);
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    let status = api.get("/v1/status").await.unwrap();
    assert_eq!(
        (&status["routes"], &status["generation"]),
        (&json!(COUNT), &json!(COUNT))
    );
    let mut client = proxy.client().await;
    for number in (0..COUNT).step_by(9973) {
        let path = format!("/app/{number}/x");
        assert_eq!(client.get(&path).await.text(), "app", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_loses_no_registration() {
    let origin = Origin::saying("app").await;
    let (traffic, control) = (ReservedPort::new(), ReservedPort::new());
    let mut home = Home::new("");
    home.set(&format!(
        "listen: ['127.0.0.1:{}']\nthreads: 2\nupgrade_sock: {}\ncontrol:\n  listen: 127.0.0.1:{}\n",
        traffic.port(),
        home.file().with_file_name("upgrade.sock").display(),
        control.port(),
    ));
    let address = ([127, 0, 0, 1], control.port()).into();
    drop((traffic, control));
    let mut old = home.start().await;
    let mut api = Api::at(old.control().await).await;
    api.put(
        "/v1/routes/*/leased",
        json!({ "port": origin.port(), "ttl": "1h" }),
    )
    .await;
    // An old connection, and one after the other.
    let on_old = Api::at(address).await;
    let traffic = old.address();
    let writer = tokio::spawn(register_for(address, traffic, origin.port()));
    let directory = tempfile::tempdir().unwrap();
    let mut command = home.command();
    command.arg("-u");
    let new = tokio::spawn(TestProxy::spawn(command, directory));
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Keeps the old process alive.
    let mut slow = old.client().await;
    slow.send("GET /x HTTP/1.1\r\nHo").await;
    old.signal("QUIT");
    let mut new = new.await.unwrap();
    let answered = writer.await.unwrap();
    assert!(answered.len() > 20, "{answered:?}");
    drop((on_old, slow));
    let mut api = Api::at(address).await;
    for number in &answered {
        let target = format!("/v1/routes/*/r/{number}");
        assert!(api.get(&target).await.is_some(), "{target} of {answered:?}");
    }
    assert!(api.get("/v1/routes/*/leased").await.is_some());
    eventually("the old one ends", async || !old.is_running()).await;
    assert!(!old.log().contains(" ERROR "), "{}", old.log());
    new.stop().await;
    // All of it is on disk, too.
    let proxy = home.start().await;
    let list = Api::of(&proxy).await.get("/v1/routes").await.unwrap();
    assert!(list["total"].as_u64().unwrap() > answered.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_the_old_process_takes_no_changes_and_no_processor() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let mut home = Home::new("");
    home.set(&format!(
        "port: 0\ncontrol:\n  listen: 127.0.0.1:0\nupgrade_sock: {}\n",
        home.file().with_file_name("upgrade.sock").display()
    ));
    let mut proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    api.put(
        "/v1/routes/*/",
        json!({ "port": origin.port(), "ttl": "1h" }),
    )
    .await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    proxy.signal("QUIT");
    proxy.logged(&["SIGQUIT"]).await;
    // Said, as long as it says anything.
    let body = json!({ "port": origin.port() });
    let mut line = Client::connect(proxy.control().await).await;
    drop(
        line.offer(api_request("PUT", "/v1/routes/*/late", &[], Some(&body)))
            .await,
    );
    if let Some(response) = line.read(false).await {
        assert_eq!(response.status, 503, "{}", response.text());
        assert_eq!(response.json()["code"], "CLOSED");
    }
    // Another process may have the store.
    let mut store = Embedded::open(&home.file()).unwrap();
    assert_eq!(store.load().unwrap().routes.len(), 1);
    // The leases' time goes on, without anybody to tell it.
    let before = proxy.processor_time();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let spent = proxy.processor_time().saturating_sub(before);
    assert!(spent < Duration::from_millis(300), "{spent:?} in 6 s");
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
    assert!(proxy.ended().await.status.success());
}

/// Registers one route after the other for a while, and says which were answered.
async fn register_for(control: SocketAddr, traffic: SocketAddr, port: u16) -> Vec<u64> {
    let end = Instant::now() + Duration::from_millis(2500);
    let mut answered = Vec::new();
    let mut client = Client::connect(control).await;
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let body = json!({ "port": port });
        let target = format!("/v1/routes/*/r/{number}");
        let request = api_request("PUT", &target, &[], Some(&body));
        drop(client.offer(request).await);
        match client.read(false).await {
            Some(response) if response.status == 201 => {
                answered.push(number);
                // Whichever process takes the next connection knows it.
                let path = format!("/r/{number}");
                assert_eq!(get(traffic, &path).await.text(), "app", "{path}");
                let mut api = Api::at(control).await;
                assert!(api.get(&format!("/v1/routes/*{path}")).await.is_some());
            }
            Some(response) => {
                // The old process, which says so, or the new one on its way.
                assert_eq!(response.status, 503, "{}", response.text());
                assert_eq!(response.json()["code"], "CLOSED");
                client = Client::connect(control).await;
            }
            None => client = Client::connect(control).await,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answered
}
