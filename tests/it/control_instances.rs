//! One instance of a route as a resource.

use serde_json::{Value, json};

use crate::support::{Origin, TestProxy, answer, etag, generation, get, problem};

fn port(port: u16) -> Value {
    json!({ "port": port })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_joins_is_replaced_renewed_and_leaves() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let proxy = TestProxy::plain().await;
    let (first, second) = ("/v1/routes/*/x/instances/a", "/v1/routes/*/x/instances/b");
    let joined = proxy.api("PUT", first, Some(port(a.port()))).await;
    let document = answer(&joined, 201);
    assert_eq!(document["result"], "joined");
    assert_eq!(joined.field("location"), Some(first));
    assert_eq!(
        (document["generation"].as_u64(), generation(&joined)),
        (Some(1), 1)
    );

    let leased = json!({"port": b.port(), "ttl": "30s"});
    let joined = proxy.api("PUT", second, Some(leased.clone())).await;
    let document = answer(&joined, 201);
    assert_eq!(document["route"]["instances"].as_array().unwrap().len(), 2);
    assert_eq!(document["route"]["instances"][1]["ttl"], "30s");

    // Whether it is renewed is a matter of its own lease alone.
    let same = proxy.api("PUT", first, Some(port(a.port()))).await;
    assert_eq!(answer(&same, 200)["result"], "unchanged");
    let renewed = proxy.api("PUT", second, Some(leased)).await;
    assert_eq!(answer(&renewed, 200)["result"], "renewed");
    assert_eq!((generation(&renewed), etag(&renewed)), (2, etag(&joined)));

    let mut texts = Vec::new();
    for _ in 0..8 {
        texts.push(get(proxy.address(), "/x").await.text());
    }
    assert!(
        texts.contains(&"a".to_owned()) && texts.contains(&"b".to_owned()),
        "{texts:?}"
    );

    let read = proxy.api("GET", second, None).await;
    let document = answer(&read, 200);
    assert_eq!(
        (&document["id"], &document["port"]),
        (&json!("b"), &json!(b.port()))
    );
    assert_eq!(etag(&read), etag(&joined));

    let replaced = proxy.api("PUT", second, Some(port(a.port()))).await;
    let document = answer(&replaced, 200);
    assert_eq!(document["result"], "replaced");
    assert_eq!(document["route"]["instances"][1]["ttl"], Value::Null);

    let removed = proxy.write("DELETE", first, None, 200).await;
    assert_eq!(removed["result"], "removed");
    for (target, code) in [
        (first, "NO_SUCH_INSTANCE"),
        ("/v1/routes/*/y/instances/a", "NO_SUCH_ROUTE"),
    ] {
        for method in ["GET", "DELETE"] {
            problem(&proxy.api(method, target, None).await, (404, code));
        }
    }
    // With its last instance a route is gone.
    proxy.write("DELETE", second, None, 200).await;
    proxy
        .refused("GET", "/v1/routes/*/x", None, (404, "NO_SUCH_ROUTE"))
        .await;
    assert_eq!(get(proxy.address(), "/x").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_instances_can_be_followed() {
    let proxy = TestProxy::plain().await;
    for (path, location) in [
        ("*/instances/a", "/v1/routes/*/instances/a"),
        (
            "*.Example.com/A/instances/Web_1.x~y-z",
            "/v1/routes/*.example.com/A/instances/Web_1.x~y-z",
        ),
        (
            "%5B::1%5D/a%20b/instances/%61",
            "/v1/routes/%5B::1%5D/a%20b/instances/a",
        ),
        (
            "*/instances/b/instances/a",
            "/v1/routes/*/instances/b/instances/a",
        ),
    ] {
        let joined = proxy
            .api("PUT", &format!("/v1/routes/{path}"), Some(port(4321)))
            .await;
        answer(&joined, 201);
        assert_eq!(joined.field("location"), Some(location));
        let id = location.rsplit('/').next().unwrap();
        assert_eq!(proxy.look(location).await["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_are_put_at_once() {
    let proxy = TestProxy::plain().await;
    let instances = |ids: &[&str]| {
        let list: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "port": 4000, "host": "127.0.0.1", "owner": "team", "ttl": "1h"}))
            .collect();
        Some(json!({ "instances": list }))
    };
    let target = "/v1/routes/*/x";
    let created = proxy
        .write("PUT", target, instances(&["a", "b", "c"]), 201)
        .await;
    assert_eq!(created["route"]["instances"].as_array().unwrap().len(), 3);
    let one = &created["route"]["instances"][1];
    assert_eq!(
        (&one["owner"], &one["ttl"], &one["host"]),
        (&json!("team"), &json!("1h"), &json!("127.0.0.1"))
    );
    let again = proxy
        .write("PUT", target, instances(&["a", "b", "c"]), 200)
        .await;
    assert_eq!(again["result"], "renewed");
    assert_eq!(again["generation"], 1);
    let fewer = proxy
        .write("PUT", target, instances(&["c", "d"]), 200)
        .await;
    assert_eq!(fewer["result"], "replaced");
    let kept = &fewer["route"]["instances"][0];
    assert_eq!(
        (&kept["id"], &kept["since"]),
        (&json!("c"), &created["route"]["instances"][2]["since"])
    );

    for (body, code, pointer) in [
        (instances(&[]), "INSTANCE_COUNT", Some("/instances")),
        (
            instances(&["a", "b", "a"]),
            "DUPLICATE_INSTANCE",
            Some("/instances"),
        ),
        (
            instances(&["a", "b c"]),
            "INVALID_INSTANCE",
            Some("/instances/1/id"),
        ),
        (
            Some(json!({"instances": [{"port": 1}], "port": 2})),
            "INVALID_BODY",
            Some("/instances"),
        ),
        (Some(json!({})), "INVALID_BODY", Some("/port")),
        (
            Some(json!({"host": "localhost"})),
            "INVALID_BODY",
            Some("/port"),
        ),
    ] {
        let document = proxy.refused("PUT", target, body, (400, code)).await;
        assert_eq!(document["pointer"].as_str(), pointer, "{document}");
    }
    let many: Vec<String> = (0..1001).map(|number| format!("i{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    proxy
        .refused("PUT", target, instances(&many), (400, "INSTANCE_COUNT"))
        .await;
    proxy
        .write("PUT", target, instances(&many[..1000]), 200)
        .await;
    let document = proxy
        .refused(
            "PUT",
            &format!("{target}/instances/x"),
            Some(port(4000)),
            (400, "INSTANCE_COUNT"),
        )
        .await;
    assert!(
        document["detail"].as_str().unwrap().contains("1000"),
        "{document}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_stands_in_the_path() {
    let proxy = TestProxy::plain().await;
    let target = "/v1/routes/*/x/instances/a";
    let other = Some(json!({"id": "b", "port": 1}));
    let document = proxy
        .refused("PUT", target, other, (400, "INVALID_INSTANCE"))
        .await;
    assert_eq!(document["pointer"], "/id");
    // What is quoted is short, however long it was.
    let long = format!("/v1/routes/*/x/instances/{}", "x".repeat(2000));
    let document = proxy
        .refused("PUT", &long, Some(port(1)), (400, "INVALID_INSTANCE"))
        .await;
    assert!(
        document["detail"].as_str().unwrap().len() < 300,
        "{document}"
    );
    let same = Some(json!({"id": "a", "port": 1}));
    proxy.write("PUT", target, same, 201).await;
}
