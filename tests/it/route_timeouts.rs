//! The times that the app of one route may take, in place of those of the configuration.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, DeafPort, Origin, OriginConnection, Response, TestProxy, Visitors};

/// Long enough to be told from at once, and to be waited for.
const SHORT: &str = "400ms";

/// Much less than every limit that is not meant.
const SOON: Duration = Duration::from_secs(5);

async fn proxy(engine: &str, limits: &str) -> TestProxy {
    TestProxy::start(&format!("engine: {engine}\ntimeouts: {{{limits}}}\n")).await
}

async fn put(proxy: &TestProxy, port: u16, timeouts: Value) {
    let body = json!({"host": "127.0.0.1", "port": port, "timeouts": timeouts});
    proxy.write("PUT", "/v1/routes/*/", Some(body), 201).await;
}

async fn ask(proxy: &TestProxy, head: &str) -> Response {
    let request = format!("{head}Host: a\r\nAccept: application/json\r\n\r\n");
    Client::connect(proxy.address())
        .await
        .exchange(request)
        .await
}

/// The reply and the log name the limit, as that of the route or of the configuration.
async fn names(proxy: &TestProxy, response: &Response, verdict: (u16, &str), limit: &str) {
    assert_eq!(response.verdict(), (verdict.0, verdict.1.to_owned()));
    let message = response.message();
    assert!(message.ends_with(&format!(" ({limit}).")), "{message}");
    proxy.logged(&[&format!("({limit})")]).await;
}

async fn arrived(visitors: &mut Visitors) -> OriginConnection {
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    visit
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_is_waited_for_as_the_route_says() {
    for engine in ["direct", "pingora"] {
        let origin = Origin::silent().await;
        for (limits, own, limit) in [
            (
                "",
                json!({"first_byte": SHORT}),
                "timeouts.first_byte of the route",
            ),
            (
                "first_byte: 400ms",
                json!({"between_bytes": "2m"}),
                "timeouts.first_byte",
            ),
        ] {
            let proxy = proxy(engine, limits).await;
            put(&proxy, origin.port(), own).await;
            for head in [
                "GET / HTTP/1.1\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 0\r\n",
            ] {
                let begin = Instant::now();
                let response = ask(&proxy, head).await;
                names(&proxy, &response, (504, "TIMEOUT"), limit).await;
                assert!(begin.elapsed() < SOON, "{engine}: {:?}", begin.elapsed());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_app_has_the_time_that_its_route_gives_it() {
    for engine in ["direct", "pingora"] {
        for own in ["off", "1m"] {
            let (origin, mut visitors) = Origin::by_hand().await;
            let proxy = proxy(engine, "first_byte: 200ms, between_bytes: 200ms").await;
            let limits = json!({"first_byte": own, "between_bytes": own});
            put(&proxy, origin.port(), limits).await;
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let mut visit = arrived(&mut visitors).await;
            let pause = Duration::from_millis(700);
            tokio::time::sleep(pause).await;
            visit.begin_chunks().await;
            for piece in ["one", "two", ""] {
                tokio::time::sleep(pause).await;
                visit.send_chunk(piece).await;
            }
            let response = client.response().await;
            assert_eq!(
                (response.status, &*response.text()),
                (200, "onetwo"),
                "{engine} {own}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_may_pause_as_long_as_the_route_says() {
    for engine in ["direct", "pingora"] {
        for (limits, own, limit) in [
            (
                "",
                json!({"between_bytes": SHORT}),
                "timeouts.between_bytes of the route",
            ),
            (
                "between_bytes: 400ms",
                json!({"connect": "5s"}),
                "timeouts.between_bytes",
            ),
        ] {
            // With the one limit that Pingora has for both, the longer counts.
            let limits = format!("first_byte: 200ms, {limits}");
            let (origin, mut visitors) = Origin::by_hand().await;
            let proxy = proxy(engine, &limits).await;
            put(&proxy, origin.port(), own).await;
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let mut visit = arrived(&mut visitors).await;
            visit.begin_chunks().await;
            visit.send_chunk("part").await;
            let begin = Instant::now();
            let response = client.response().await;
            assert_eq!(
                (response.is_whole, &*response.text()),
                (false, "part"),
                "{engine}"
            );
            assert!(begin.elapsed() < SOON, "{engine}: {:?}", begin.elapsed());
            proxy.logged(&[&format!("({limit})")]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_waited_for_as_the_route_says() {
    for engine in ["direct", "pingora"] {
        for (limits, own, limit) in [
            (
                "connect: 1m",
                json!({"connect": SHORT}),
                "timeouts.connect of the route",
            ),
            (
                "connect: 400ms",
                json!({"first_byte": "2m"}),
                "timeouts.connect",
            ),
        ] {
            let deaf = DeafPort::new().await;
            let proxy = proxy(engine, limits).await;
            put(&proxy, deaf.port(), own).await;
            let begin = Instant::now();
            let response = ask(&proxy, "GET / HTTP/1.1\r\n").await;
            names(&proxy, &response, (500, "UNREACHABLE"), limit).await;
            assert!(begin.elapsed() < SOON, "{engine}: {:?}", begin.elapsed());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_not_said_again_stays() {
    let proxy = TestProxy::plain().await;
    for (said, shown) in [
        (
            json!({"first_byte": "1m 30s"}),
            json!({"first_byte": "1m30s"}),
        ),
        (Value::Null, json!({"first_byte": "1m30s"})),
        (
            json!({"connect": "5s"}),
            json!({"connect": "5s", "first_byte": "1m30s"}),
        ),
        (
            json!({"first_byte": "off"}),
            json!({"connect": "5s", "first_byte": "off"}),
        ),
    ] {
        let body = json!({"prefix": "/a", "port": 4321, "timeouts": said});
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(
            proxy.look("/v1/routes/*/a").await["timeouts"],
            shown,
            "{said}"
        );
    }
    // A put says all.
    proxy
        .write("PUT", "/v1/routes/*/a", Some(json!({"port": 4321})), 200)
        .await;
    assert_eq!(proxy.look("/v1/routes/*/a").await["timeouts"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_limit_is_refused_at_its_place() {
    let proxy = TestProxy::plain().await;
    for (timeouts, place, why) in [
        (json!("connect=1s"), "", "is not an object"),
        (json!([null, null, null]), "", "is not an object"),
        (json!({"conect": "1s"}), "/conect", "`first_byte`"),
        (json!({"connect": "off"}), "/connect", "cannot be off"),
        (
            json!({"connect": "0s"}),
            "/connect",
            "write more than 0s, and at most 30d",
        ),
        (
            json!({"first_byte": 60}),
            "/first_byte",
            "60 is not a string",
        ),
        (
            json!({"first_byte": "60"}),
            "/first_byte",
            "write a number and a unit",
        ),
        (
            json!({"between_bytes": "31d"}),
            "/between_bytes",
            "30 days, the longest limit",
        ),
        (
            json!({"between_bytes": "-1s"}),
            "/between_bytes",
            "not a length of time",
        ),
    ] {
        let mut body = json!({"port": 4321, "timeouts": timeouts});
        let refused = proxy
            .refused(
                "PUT",
                "/v1/routes/*/a",
                Some(body.clone()),
                (400, "INVALID_TIMEOUTS"),
            )
            .await;
        assert_eq!(refused["pointer"], format!("/timeouts{place}"), "{refused}");
        let told = |text: &serde_json::Value| {
            let text = text.as_str().unwrap();
            let name = format!("timeouts{}: ", place.replace('/', "."));
            let is_told = text.to_lowercase().starts_with(&name) && text.contains(why);
            assert!(is_told, "{name}{why}: {text}");
        };
        told(&refused["detail"]);
        body["prefix"] = json!("/a");
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(
            response.verdict(),
            (400, "INVALID_TIMEOUTS".to_owned()),
            "{body}"
        );
        told(&response.json()["message"]);
    }
    assert_eq!(proxy.look("/v1/status").await["routes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_taken_back_alone() {
    let proxy = TestProxy::plain().await;
    let own = json!({"port": 4321, "timeouts": {"connect": "1s", "first_byte": "off"}});
    proxy.write("PUT", "/v1/routes/*/a", Some(own), 201).await;
    let mut instances = proxy.look("/v1/routes/*/a").await["instances"].take();
    for (timeouts, result, left) in [
        (
            json!({}),
            "unchanged",
            json!({"connect": "1s", "first_byte": "off"}),
        ),
        (
            json!({"between_bytes": null}),
            "unchanged",
            json!({"connect": "1s", "first_byte": "off"}),
        ),
        (
            json!({"connect": null, "between_bytes": "2s"}),
            "replaced",
            json!({"first_byte": "off", "between_bytes": "2s"}),
        ),
        (
            json!({"first_byte": null, "between_bytes": null}),
            "replaced",
            json!(null),
        ),
        (json!({"first_byte": null}), "unchanged", json!(null)),
        (
            json!({"first_byte": "3s"}),
            "replaced",
            json!({"first_byte": "3s"}),
        ),
        (json!(null), "replaced", json!(null)),
    ] {
        let change = json!({"op": "set", "host": "*", "prefix": "/a", "timeouts": timeouts});
        let body = json!({"changes": [change]});
        let changed = proxy.write("PATCH", "/v1/routes", Some(body), 200).await;
        assert_eq!(changed["results"][0]["result"], result, "{timeouts}");
        let mut route = proxy.look("/v1/routes/*/a").await;
        assert_eq!(route["timeouts"], left, "{timeouts}");
        assert_eq!(route["instances"].take(), instances.take(), "{timeouts}");
        instances = proxy.look("/v1/routes/*/a").await["instances"].take();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limits_are_no_setting() {
    let proxy = TestProxy::plain().await;
    let nothing = [json!({}), json!({"connect": null}), json!(null)];
    for timeouts in &nothing {
        let own = json!({"port": 4321, "timeouts": timeouts});
        let written = proxy.api("PUT", "/v1/routes/*/a", Some(own)).await.json();
        let is_known = written["result"] == "created" || written["result"] == "unchanged";
        assert!(is_known, "{timeouts}: {written}");
        let route = written["route"].as_object().unwrap();
        assert!(!route.contains_key("timeouts"), "{timeouts}: {written}");
    }
    let plain = Some(json!({"port": 4321}));
    let written = proxy.write("PUT", "/v1/routes/*/a", plain, 200).await;
    assert_eq!(written["result"], "unchanged", "{written}");
    let entry = json!({"host": "*", "prefix": "/a", "instances": [{"port": 4321}], "timeouts": {}});
    let set = Some(json!({"routes": [entry]}));
    let changed = proxy.write("PUT", "/v1/routes", set, 200).await;
    assert_eq!(changed["unchanged"], 1, "{changed}");
}
