//! One route as a resource: put, read, removed, and taking traffic from the answer on.

use serde_json::{Value, json};

use crate::support::{
    Client, Origin, TestProxy, answer, api_request, etag, eventually, generation, problem, request,
};

fn port(port: u16) -> Value {
    json!({ "port": port })
}

/// What a client gets for a host and a path.
async fn said(proxy: &TestProxy, host: &str, path: &str) -> (u16, String) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    let response = request(proxy.address(), text).await;
    (response.status, response.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_put_read_replaced_and_removed() {
    let (first, second) = (
        Origin::saying("first").await,
        Origin::saying("second").await,
    );
    let proxy = TestProxy::plain().await;
    let target = "/v1/routes/*/shop";
    problem(
        &proxy.api("GET", target, None).await,
        (404, "NO_SUCH_ROUTE"),
    );

    let created = proxy.api("PUT", target, Some(port(first.port()))).await;
    let document = answer(&created, 201);
    assert_eq!(document["result"], "created");
    assert_eq!(document["dry_run"], false);
    assert_eq!(document["generation"], 1);
    assert_eq!(generation(&created), 1);
    assert_eq!(created.field("location"), Some(target));
    let route = &document["route"];
    assert_eq!(
        (&route["host"], &route["prefix"]),
        (&json!("*"), &json!("/shop"))
    );
    assert_eq!(route["generation"], 1);
    let instance = &route["instances"][0];
    for (field, value) in [
        ("id", json!("default")),
        ("host", json!("localhost")),
        ("port", json!(first.port())),
        ("owner", Value::Null),
        ("ttl", Value::Null),
        ("state", json!("ready")),
        ("expires_in", Value::Null),
        ("drain_ends_in", Value::Null),
        ("in_flight", json!(0)),
    ] {
        assert_eq!(instance[field], value, "{field}");
    }
    assert_eq!(said(&proxy, "any.example", "/shop/cart").await.1, "first");

    let read = proxy.api("GET", target, None).await;
    let document = answer(&read, 200);
    assert_eq!(etag(&read), etag(&created));
    assert_eq!(
        document["instances"][0]["since"],
        route["instances"][0]["since"]
    );
    eventually("the request is counted", async || {
        proxy.look(target).await["activity"]["requests"]["2xx"] == 1
    })
    .await;

    // The same again changes nothing, and says so.
    let same = proxy.api("PUT", target, Some(port(first.port()))).await;
    let document = answer(&same, 200);
    assert_eq!(document["result"], "unchanged");
    assert_eq!((generation(&same), etag(&same)), (1, etag(&created)));
    assert_eq!(same.field("location"), None);

    let replaced = proxy.api("PUT", target, Some(port(second.port()))).await;
    let document = answer(&replaced, 200);
    assert_eq!(document["result"], "replaced");
    assert_eq!(document["route"]["generation"], 2);
    assert_ne!(etag(&replaced), etag(&created));
    assert_eq!(said(&proxy, "any.example", "/shop").await.1, "second");

    let removed = proxy.api("DELETE", target, None).await;
    let document = answer(&removed, 200);
    assert_eq!(
        document,
        json!({"result": "removed", "generation": 3, "dry_run": false})
    );
    assert_eq!(generation(&removed), 3);
    assert_eq!(said(&proxy, "any.example", "/shop").await.0, 501);
    for method in ["GET", "DELETE"] {
        let gone = proxy.api(method, target, None).await;
        problem(&gone, (404, "NO_SUCH_ROUTE"));
        assert_eq!(generation(&gone), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_takes_traffic_from_its_answer_on() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let proxy = TestProxy::start("threads: 2").await;
    let mut control = Client::connect(proxy.control().await).await;
    let mut client = proxy.client().await;
    for round in 0..200 {
        let (origin, text) = if round % 2 == 0 { (&a, "a") } else { (&b, "b") };
        let body = json!({ "port": origin.port() });
        let put = api_request("PUT", "/v1/routes/*/x", &[], Some(&body));
        let response = control.exchange(put).await;
        assert!(response.status < 300, "{}", response.text());
        assert_eq!(client.get("/x").await.text(), text, "round {round}");
        if round % 10 == 9 {
            let delete = api_request("DELETE", "/v1/routes/*/x", &[], None);
            assert_eq!(control.exchange(delete).await.status, 200);
            assert_eq!(client.get("/x").await.status, 501, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_stand_for_routes() {
    let proxy = TestProxy::plain().await;
    for (path, host, prefix, location) in [
        ("*", "*", "/", "/v1/routes/*/"),
        ("*/", "*", "/", "/v1/routes/*/"),
        ("%2A/a", "*", "/a", "/v1/routes/*/a"),
        ("*/a/", "*", "/a", "/v1/routes/*/a"),
        ("*/a//b", "*", "/a//b", "/v1/routes/*/a//b"),
        ("*/Shop/CART", "*", "/Shop/CART", "/v1/routes/*/Shop/CART"),
        ("*/a%20b", "*", "/a%20b", "/v1/routes/*/a%20b"),
        ("*/%61%2Fb", "*", "/a%2Fb", "/v1/routes/*/a%2Fb"),
        ("*/%C3%A9", "*", "/%C3%A9", "/v1/routes/*/%C3%A9"),
        (
            "Example.COM/a",
            "example.com",
            "/a",
            "/v1/routes/example.com/a",
        ),
        (
            "example.com.",
            "example.com",
            "/",
            "/v1/routes/example.com/",
        ),
        (
            "*.Example.com/a",
            "*.example.com",
            "/a",
            "/v1/routes/*.example.com/a",
        ),
        ("10.0.0.1/a", "10.0.0.1", "/a", "/v1/routes/10.0.0.1/a"),
        ("%5B::1%5D/a", "[::1]", "/a", "/v1/routes/%5B::1%5D/a"),
        ("%5B0:0::0001%5D/b", "[::1]", "/b", "/v1/routes/%5B::1%5D/b"),
        (
            "*/a/%69nstances/b",
            "*",
            "/a/instances/b",
            "/v1/routes/*/a/%69nstances/b",
        ),
        (
            "*/a/instances",
            "*",
            "/a/instances",
            "/v1/routes/*/a/instances",
        ),
        (
            "*/registered",
            "*",
            "/registered",
            "/v1/routes/*/registered",
        ),
    ] {
        let target = format!("/v1/routes/{path}");
        let created = proxy.api("PUT", &target, Some(port(4321))).await;
        let document = answer(&created, 201);
        let route = &document["route"];
        assert_eq!(
            (&route["host"], &route["prefix"]),
            (&json!(host), &json!(prefix)),
            "{path}"
        );
        assert_eq!(created.field("location"), Some(location), "{path}");
        // Both spellings are the same route.
        let read = proxy.look(location).await;
        assert_eq!(read["instances"], route["instances"], "{path}");
        assert_eq!(proxy.look(&target).await["host"], host);
        let listed = proxy.look("/v1/routes").await;
        assert_eq!(
            (&listed["total"], &listed["routes"][0]["prefix"]),
            (&json!(1), &json!(prefix))
        );
        proxy.write("DELETE", location, None, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_regard_to_case_two_spellings_are_two_routes() {
    let (upper, lower) = (Origin::saying("upper").await, Origin::saying("lower").await);
    let proxy = TestProxy::start("routing:\n  case_sensitive: true").await;
    proxy
        .write("PUT", "/v1/routes/*/Shop", Some(port(upper.port())), 201)
        .await;
    proxy
        .write("PUT", "/v1/routes/*/shop", Some(port(lower.port())), 201)
        .await;
    assert_eq!(said(&proxy, "a", "/Shop/x").await.1, "upper");
    assert_eq!(said(&proxy, "a", "/shop/x").await.1, "lower");
    let listed = proxy.look("/v1/routes?prefix=/Shop").await;
    assert_eq!(listed["total"], 1, "{listed}");
    proxy.write("DELETE", "/v1/routes/*/Shop", None, 200).await;
    assert_eq!(proxy.look("/v1/routes/*/shop").await["prefix"], "/shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_told_apart() {
    let names = ["any", "wild", "exact", "six"];
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::saying(name).await);
    }
    let proxy = TestProxy::plain().await;
    for (host, origin) in ["*", "*.example.com", "www.example.com", "%5B::1%5D"]
        .iter()
        .zip(&origins)
    {
        let target = format!("/v1/routes/{host}/shop");
        proxy
            .write("PUT", &target, Some(port(origin.port())), 201)
            .await;
    }
    for (host, text) in [
        ("other.example", "any"),
        ("example.com", "any"),
        ("a.b.example.com", "wild"),
        ("WWW.Example.com:8080", "exact"),
        ("www.example.com.", "exact"),
        ("[::1]:80", "six"),
    ] {
        assert_eq!(said(&proxy, host, "/SHOP/x").await.1, text, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_path_is_refused_and_no_field_of_the_body_blamed() {
    let proxy = TestProxy::plain().await;
    let long = format!("*/{}", "a".repeat(3000));
    for (path, code) in [
        ("/a", "INVALID_HOST_PATTERN"),
        ("a*/x", "INVALID_HOST_PATTERN"),
        ("*.*.example.com/x", "INVALID_HOST_PATTERN"),
        ("example.com:80/x", "INVALID_HOST_PATTERN"),
        ("%5B::zz%5D/x", "INVALID_HOST_PATTERN"),
        ("::1/x", "INVALID_HOST_PATTERN"),
        ("%FF/x", "BAD_PATH"),
        ("*/../x", "INVALID_PREFIX"),
        ("*/a/./x", "INVALID_PREFIX"),
        ("*/%2e%2e/x", "INVALID_PREFIX"),
        ("*/a%zz", "INVALID_PREFIX"),
        ("*/a%00", "INVALID_PREFIX"),
        (&long, "INVALID_PREFIX"),
        ("*/register", "RESERVED_PREFIX"),
        ("*/Register/x", "RESERVED_PREFIX"),
        ("*/a/instances/", "INVALID_INSTANCE"),
        ("*/a/instances/a%2Fb", "INVALID_INSTANCE"),
        ("*/a/instances/a%20b", "INVALID_INSTANCE"),
    ] {
        let target = format!("/v1/routes/{path}");
        for (method, body) in [("GET", None), ("PUT", Some(port(4321))), ("DELETE", None)] {
            let document = proxy.refused(method, &target, body, (400, code)).await;
            assert_eq!(document.get("pointer"), None, "{document}");
        }
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_goes_on_over_a_replacement_and_begins_anew_after_a_removal() {
    let origin = Origin::saying("twelve bytes").await;
    let proxy = TestProxy::plain().await;
    let target = "/v1/routes/*/a";
    proxy
        .write("PUT", target, Some(port(origin.port())), 201)
        .await;
    for _ in 0..3 {
        assert_eq!(said(&proxy, "x", "/a").await.0, 200);
    }
    let body = json!({"instances": [{"id": "a", "port": origin.port()}]});
    proxy.write("PUT", target, Some(body), 200).await;
    eventually("all three are counted", async || {
        let activity = proxy.look(target).await["activity"].clone();
        activity["requests"]["2xx"] == 3 && activity["bytes"]["sent"] == 36
    })
    .await;
    proxy.write("DELETE", target, None, 200).await;
    proxy
        .write("PUT", target, Some(port(origin.port())), 201)
        .await;
    let activity = proxy.look(target).await["activity"].clone();
    assert_eq!(activity["requests"]["2xx"], 0, "{activity}");
}
