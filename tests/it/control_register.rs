//! `POST /register` with what it has beside the contract: `ttl`, `instance` and `owner`.

use serde_json::{Value, json};

use crate::support::{Client, Origin, TestProxy, api_request, eventually, get};

async fn ids(proxy: &TestProxy, target: &str) -> Vec<String> {
    let route = proxy.look(target).await;
    let instances = route["instances"].as_array().unwrap().iter();
    instances
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn register(proxy: &TestProxy, body: &Value) -> crate::support::Response {
    let response = proxy.register_json(body.to_string()).await;
    if response.status == 200 {
        let document = response.json();
        assert_eq!(document["message"], "Registered.");
        assert_eq!(document.as_object().unwrap().len(), 4, "{document}");
    }
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_instance_it_joins_and_without_it_replaces() {
    let (a, b) = (Origin::saying("a").await, Origin::saying("b").await);
    let proxy = TestProxy::plain().await;
    for (id, origin) in [("a", &a), ("b", &b)] {
        let body = json!({"prefix": "/x", "port": origin.port(), "instance": id});
        assert_eq!(register(&proxy, &body).await.status, 200);
    }
    assert_eq!(ids(&proxy, "/v1/routes/*/x").await, ["a", "b"]);
    let mut texts = std::collections::BTreeSet::new();
    for _ in 0..8 {
        texts.insert(get(proxy.address(), "/x").await.text());
    }
    assert_eq!(texts.len(), 2, "{texts:?}");
    // The same id again is that instance, anew.
    let body = json!({"prefix": "/x", "port": a.port(), "instance": "b"});
    let answered = register(&proxy, &body).await;
    assert_eq!(answered.field("x-route-generation"), Some("3"));
    assert_eq!(ids(&proxy, "/v1/routes/*/x").await, ["a", "b"]);
    let body = json!({"prefix": "/x", "port": b.port()});
    assert_eq!(register(&proxy, &body).await.status, 200);
    assert_eq!(ids(&proxy, "/v1/routes/*/x").await, ["default"]);
    for _ in 0..4 {
        assert_eq!(get(proxy.address(), "/x").await.text(), "b");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_ttl_it_is_a_lease() {
    let proxy = TestProxy::plain().await;
    let body = json!({"prefix": "/x", "port": 1, "ttl": "2s", "owner": "team", "reqHostNames": ["a.example", "b.example"]});
    assert_eq!(register(&proxy, &body).await.status, 200);
    for host in ["a.example", "b.example"] {
        let route = proxy.look(&format!("/v1/routes/{host}/x")).await;
        let one = &route["instances"][0];
        assert_eq!(
            (&one["ttl"], &one["owner"]),
            (&json!("2s"), &json!("team")),
            "{route}"
        );
        assert!(one["expires_in"].is_string(), "{route}");
    }
    // Again, it is a renewal: the same instance, no other generation.
    let since = proxy.look("/v1/routes/a.example/x").await["instances"][0]["since"].clone();
    let renewed = register(&proxy, &body).await;
    assert_eq!(renewed.field("x-route-generation"), Some("1"));
    let now = proxy.look("/v1/routes/a.example/x").await["instances"][0]["since"].clone();
    assert_eq!(since, now);
    eventually("the leases end", async || {
        proxy.look("/v1/status").await["routes"] == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ttl_it_is_always_anew() {
    let proxy = TestProxy::plain().await;
    for generation in ["1", "2", "3"] {
        let answered = register(&proxy, &json!({"prefix": "/x", "port": 1})).await;
        assert_eq!(answered.field("x-route-generation"), Some(generation));
    }
    // What had a lease has none.
    register(&proxy, &json!({"prefix": "/x", "port": 1, "ttl": "1s"})).await;
    register(&proxy, &json!({"prefix": "/x", "port": 1})).await;
    assert_eq!(
        proxy.look("/v1/routes/*/x").await["instances"][0]["ttl"],
        Value::Null
    );
    // Null is as if it was not there.
    let body = json!({"prefix": "/x", "port": 1, "ttl": null, "owner": null, "instance": null, "host": null});
    assert_eq!(register(&proxy, &body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_is_refused() {
    let proxy = TestProxy::plain().await;
    for (field, values, code) in [
        (
            "ttl",
            json!(["", "0s", "-1s", "1y", "soon", "30", 30, true, {}]),
            "INVALID_TTL",
        ),
        (
            "instance",
            json!(["", "a b", "a/b", "ü", "x".repeat(65), 1, [], {}]),
            "INVALID_INSTANCE",
        ),
        (
            "owner",
            json!(["", "a\nb", "x".repeat(65), 1, ["a"]]),
            "INVALID_OWNER",
        ),
    ] {
        for value in values.as_array().unwrap() {
            let mut body = json!({"prefix": "/x", "port": 1});
            body[field] = value.clone();
            let response = register(&proxy, &body).await;
            assert_eq!(response.verdict(), (400, code.to_owned()), "{body}");
            let message = response.message();
            assert!(
                message.ends_with('.') && message.contains(field),
                "{message}"
            );
        }
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_listener_registers_too() {
    let proxy = TestProxy::plain().await;
    let body = json!({"prefix": "/x", "port": 1});
    let request = api_request("POST", "/register", &[], Some(&body));
    let response = Client::connect(proxy.control().await)
        .await
        .exchange(request)
        .await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        response.json(),
        json!({"message": "Registered.", "host": "localhost", "port": 1, "prefix": "/x"})
    );
    assert_eq!(response.field("x-route-generation"), Some("1"));
    // Its refusals are the contract's.
    let request = api_request("POST", "/register", &[], Some(&json!({"prefix": "/x"})));
    let response = Client::connect(proxy.control().await)
        .await
        .exchange(request)
        .await;
    assert_eq!(response.verdict(), (400, "INCOMPLETE_REQUEST".to_owned()));
}
