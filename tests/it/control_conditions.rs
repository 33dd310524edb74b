//! Conditional writes (RFC 9110, 13.1): whoever is late is told so, and overwrites nothing.

use serde_json::{Value, json};

use crate::support::{Client, TestProxy, answer, api_request, etag, generation, problem};

const ROUTE: &str = "/v1/routes/*/a";
const INSTANCE: &str = "/v1/routes/*/a/instances/b";
const SET: &str = "/v1/routes";
const FAILED: (u16, &str) = (412, "PRECONDITION_FAILED");

fn port(port: u16) -> Value {
    json!({ "port": port })
}

fn set(port: u16) -> Value {
    json!({"routes": [{"host": "*", "prefix": "/a", "instances": [{"port": port}]}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_written_only_as_it_was_read() {
    let proxy = TestProxy::plain().await;
    let with = async |method: &str, target: &str, field: (&str, &str), body: Option<Value>| {
        proxy.call(method, target, &[field], body.as_ref()).await
    };
    let only_new = ("If-None-Match", "*");
    let only_old = ("If-Match", "*");
    problem(&with("PUT", ROUTE, only_old, Some(port(1))).await, FAILED);
    problem(&with("DELETE", ROUTE, only_old, None).await, FAILED);
    problem(
        &with("PUT", ROUTE, ("If-Match", "\"x\""), Some(port(1))).await,
        FAILED,
    );
    let created = with("PUT", ROUTE, only_new, Some(port(1))).await;
    answer(&created, 201);
    let refused = with("PUT", ROUTE, only_new, Some(port(2))).await;
    let document = problem(&refused, FAILED);
    assert!(
        document["detail"]
            .as_str()
            .unwrap()
            .contains("generation 1"),
        "{document}"
    );
    assert_eq!(document.get("pointer"), None);
    // Also if nothing would change.
    problem(&with("PUT", ROUTE, only_new, Some(port(1))).await, FAILED);
    problem(&with("DELETE", ROUTE, only_new, None).await, FAILED);

    let first = etag(&created);
    let second = with("PUT", ROUTE, ("If-Match", &first), Some(port(2))).await;
    answer(&second, 200);
    let second = etag(&second);
    assert_ne!(first, second);
    for stale in [&*first, "\"\"", "\"x\"", "\"0-2\"", &format!("W/{second}")] {
        for (method, target, body) in [
            ("PUT", ROUTE, Some(port(3))),
            ("DELETE", ROUTE, None),
            ("PUT", INSTANCE, Some(port(3))),
            ("DELETE", INSTANCE, None),
        ] {
            let refused = with(method, target, ("If-Match", stale), body).await;
            problem(&refused, FAILED);
            assert_eq!(generation(&refused), 2);
        }
    }
    for garbage in [
        "",
        "x",
        "2",
        "\"x",
        "x\"",
        "w/\"x\"",
        "\"a\"\"b\"",
        "*, \"a\"",
        "\u{e9}",
    ] {
        let refused = with("PUT", ROUTE, ("If-Match", garbage), Some(port(3))).await;
        problem(&refused, (400, "INVALID_CONDITION"));
    }
    for garbage in ["x", "\"x\"", ""] {
        let refused = with("PUT", ROUTE, ("If-None-Match", garbage), Some(port(3))).await;
        problem(&refused, (400, "INVALID_CONDITION"));
    }
    // One of several, in one line or in two; and any.
    let listed = format!("\"a,b\" , W/\"c\",{second}");
    answer(
        &with("PUT", ROUTE, ("If-Match", &listed), Some(port(3))).await,
        200,
    );
    let third = etag(&proxy.api("GET", ROUTE, None).await);
    let lines = [("If-Match", "\"x\""), ("If-Match", third.as_str())];
    answer(&proxy.call("PUT", ROUTE, &lines, Some(&port(4))).await, 200);
    answer(&with("PUT", INSTANCE, only_old, Some(port(5))).await, 201);
    let tag = etag(&proxy.api("GET", INSTANCE, None).await);
    assert_eq!(tag, etag(&proxy.api("GET", ROUTE, None).await));
    answer(
        &with("DELETE", INSTANCE, ("If-Match", &tag), None).await,
        200,
    );
    let tag = etag(&proxy.api("GET", ROUTE, None).await);
    answer(&with("DELETE", ROUTE, ("If-Match", &tag), None).await, 200);
    // Gone, and made anew: the tag of before is of no use.
    problem(
        &with("PUT", ROUTE, ("If-Match", &tag), Some(port(1))).await,
        FAILED,
    );
    answer(&with("PUT", ROUTE, only_new, Some(port(4))).await, 201);
    problem(
        &with("DELETE", ROUTE, ("If-Match", &tag), None).await,
        FAILED,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_another_proxy_is_worth_nothing() {
    let (one, other) = (TestProxy::plain().await, TestProxy::plain().await);
    let tag = etag(&one.api("PUT", ROUTE, Some(port(1))).await);
    other.write("PUT", ROUTE, Some(port(1)), 201).await;
    let fields = [("If-Match", tag.as_str())];
    problem(
        &other.call("PUT", ROUTE, &fields, Some(&port(2))).await,
        FAILED,
    );
    answer(&one.call("PUT", ROUTE, &fields, Some(&port(2))).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_is_written_only_as_it_was_read() {
    let proxy = TestProxy::plain().await;
    let with = async |method: &str, name: &str, value: &str, body: Value| {
        proxy.call(method, SET, &[(name, value)], Some(&body)).await
    };
    let empty = etag(&proxy.api("GET", SET, None).await);
    answer(&with("PUT", "If-Match", &empty, set(1)).await, 200);
    problem(&with("PUT", "If-Match", &empty, set(2)).await, FAILED);
    // A change of any route is one of the set, by whatever way.
    let read = etag(&proxy.api("GET", SET, None).await);
    proxy.register("/b", 2).await;
    let document = problem(&with("PUT", "If-Match", &read, set(2)).await, FAILED);
    assert!(
        document["detail"]
            .as_str()
            .unwrap()
            .contains("The set of routes"),
        "{document}"
    );
    assert_eq!(document.get("pointer"), None);
    let changes = json!({"changes": [{"op": "remove", "host": "*", "prefix": "/a"}]});
    let refused = with("PATCH", "If-Match", &read, changes.clone()).await;
    assert_eq!(problem(&refused, FAILED).get("pointer"), None);
    // The set is always there.
    for method in ["PUT", "PATCH"] {
        let body = if method == "PUT" {
            set(1)
        } else {
            changes.clone()
        };
        problem(
            &with(method, "If-None-Match", "*", body.clone()).await,
            FAILED,
        );
        problem(
            &with(method, "If-Match", "x", body).await,
            (400, "INVALID_CONDITION"),
        );
    }
    answer(&with("PATCH", "If-Match", "*", changes).await, 200);
    let read = proxy.api("GET", "/v1/routes?limit=1", None).await;
    let done = with("PUT", "If-Match", &etag(&read), set(3)).await;
    answer(&done, 200);
    answer(&with("PUT", "If-Match", &etag(&done), set(4)).await, 200);
    assert_eq!(
        proxy.look("/v1/routes/*/a").await["instances"][0]["port"],
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_at_once_exactly_one_wins() {
    let proxy = TestProxy::start("threads: 2\nlog: info,audit=off").await;
    let address = proxy.control().await;
    proxy.write("PUT", ROUTE, Some(port(1)), 201).await;
    for round in 0_u16..150 {
        let target = if round % 2 == 0 { ROUTE } else { SET };
        let tag = etag(&proxy.api("GET", target, None).await);
        let writers: Vec<_> = (0..4_u16)
            .map(|writer| {
                let port_number = 1000 + round * 4 + writer;
                let body = match target {
                    SET => set(port_number),
                    _ => port(port_number),
                };
                let request =
                    api_request("PUT", target, &[("If-Match", tag.as_str())], Some(&body));
                tokio::spawn(async move {
                    let response = Client::connect(address).await.exchange(request).await;
                    (response.status, port_number)
                })
            })
            .collect();
        let mut won = Vec::new();
        for writer in writers {
            let (status, port) = writer.await.unwrap();
            match status {
                200 => won.push(port),
                status => assert_eq!(status, 412),
            }
        }
        assert_eq!(won.len(), 1, "round {round}");
        let now = proxy.look(ROUTE).await["instances"][0]["port"].clone();
        assert_eq!(now, won[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_create_exactly_one_does() {
    let proxy = TestProxy::start("threads: 2").await;
    let address = proxy.control().await;
    for round in 0..30 {
        let target = format!("/v1/routes/*/r{round}");
        let creators: Vec<_> = (1..8)
            .map(|number| {
                let fields = [("If-None-Match", "*")];
                let request = api_request("PUT", &target, &fields, Some(&port(number)));
                tokio::spawn(async move {
                    Client::connect(address)
                        .await
                        .exchange(request)
                        .await
                        .status
                })
            })
            .collect();
        let mut statuses = Vec::new();
        for creator in creators {
            statuses.push(creator.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 412, 412, 412, 412, 412, 412]);
    }
}
