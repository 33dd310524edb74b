//! Routes that insist on encryption, and what browsers are told about it.

use serde_json::{Value, json};

use crate::support::cli::Edge;
use crate::support::{
    Client, Home, Origin, Response, TestProxy, answer, get, output_of, problem, registration, run,
};
use crate::tls::{Authority, curl, tls_port};

/// What a request in cleartext gets.
async fn plain(proxy: &TestProxy, method: &str, target: &str, body: &str) -> Response {
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.test:8080\r\nAccept: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Client::connect(proxy.address()).await.exchange(text).await
}

async fn register(proxy: &TestProxy, body: Value) {
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.status, 200, "{body}: {}", response.text());
}

fn code(response: &Response) -> Value {
    let body: Value = serde_json::from_slice(&response.body).expect("JSON");
    body["error"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_sends_cleartext_on_refuses_it_or_serves_it() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    let port = origin.port();
    for policy in ["optional", "redirect", "require"] {
        let prefix = format!("/{policy}");
        register(
            &proxy,
            json!({"prefix": prefix, "port": port, "tls": policy}),
        )
        .await;
    }
    let secured = tls_port(&proxy).await;

    assert_eq!(plain(&proxy, "GET", "/optional", "").await.text(), "app");
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
        let mut client = Client::connect(proxy.address()).await;
        let request = format!(
            "{method} /redirect/a%2Fb//c/./d?e=f%20g&h HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n"
        );
        let response = client.exchange(&request).await;
        assert_eq!(response.status, 308, "{method}");
        assert_eq!(
            response.field("location"),
            Some(&*format!(
                "https://shop.test:{secured}/redirect/a%2Fb//c/./d?e=f%20g&h"
            ))
        );
        assert_eq!(response.field("strict-transport-security"), None);
        // The connection is of use for the next one.
        assert_eq!(client.exchange(&request).await.status, 308, "{method}");
    }
    let posted = plain(&proxy, "POST", "/redirect/a", "some body").await;
    assert_eq!(posted.status, 308);
    for method in ["GET", "POST"] {
        let refused = plain(&proxy, method, "/require/a", "").await;
        assert_eq!(
            (refused.status, code(&refused)),
            (403, json!("TLS_REQUIRED"))
        );
        assert!(refused.text().contains("https"), "{}", refused.text());
    }
    assert_eq!(
        origin.requests().len(),
        1,
        "the app has seen what it should not"
    );
    for path in ["/optional", "/redirect", "/require"] {
        let served = curl(&authority, secured, "shop.test", path, &[]).await;
        assert_eq!(served, "app\n2 200", "{path}");
    }
    let shown = answer(&proxy.api("GET", "/v1/routes/*/redirect", None).await, 200);
    assert_eq!(shown["tls"], "redirect");
    assert_eq!(shown["activity"]["requests"]["3xx"], 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authoritys_question_is_always_answered() {
    let origin = Origin::saying("token").await;
    let proxy = TestProxy::plain().await;
    for policy in ["redirect", "require"] {
        register(
            &proxy,
            json!({"prefix": "/", "port": origin.port(), "tls": policy, "client_certificate": "require"}),
        )
        .await;
        let path = "/.well-known/acme-challenge/abc";
        assert_eq!(plain(&proxy, "GET", path, "").await.text(), "token");
        for other in ["/.well-known/acme-challenge/../x", "/.well-known/acme"] {
            let status = plain(&proxy, "GET", other, "").await.status;
            assert!(matches!(status, 308 | 403), "{other}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_told_over_tls_alone() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("app").await;
    let own = Origin::sending(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nStrict-Transport-Security: max-age=5\r\n\r\nok",
    )
    .await;
    let general = "  hsts: max-age=31536000; includeSubDomains\n";
    let proxy = TestProxy::start(&authority.configuration("shop", general)).await;
    let port = origin.port();
    register(&proxy, json!({"prefix": "/general", "port": port})).await;
    register(
        &proxy,
        json!({"prefix": "/short", "port": port, "hsts": "Max-Age=60"}),
    )
    .await;
    register(
        &proxy,
        json!({"prefix": "/off", "port": port, "hsts": "off"}),
    )
    .await;
    register(
        &proxy,
        json!({"prefix": "/own", "port": own.port(), "hsts": "max-age=1"}),
    )
    .await;
    let secured = tls_port(&proxy).await;
    let year = "max-age=31536000; includeSubDomains";
    for (path, expected) in [
        ("/general", vec![year]),
        ("/short", vec!["max-age=60"]),
        ("/off", vec![]),
        ("/own", vec!["max-age=5"]),
        // The proxy's own answer.
        ("/nowhere", vec![year]),
    ] {
        for http in ["--http1.1", "--http2"] {
            let seen = curl(&authority, secured, "shop.test", path, &["-i", http]).await;
            let values: Vec<&str> = seen
                .lines()
                .filter_map(|line| line.split_once(": "))
                .filter(|(name, _)| name.eq_ignore_ascii_case("strict-transport-security"))
                .map(|(_, value)| value)
                .collect();
            assert_eq!(values, expected, "{path} {http}");
        }
    }
    for path in ["/general", "/own"] {
        let cleartext = plain(&proxy, "GET", path, "").await;
        assert_eq!(cleartext.field("strict-transport-security"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_says_it_for_all_who_do_not() {
    let origin = Origin::saying("app").await;
    let port = origin.port();
    let proxy = TestProxy::start(&format!(
        "tls: {{routes: redirect}}\ntrusted_proxies: [127.0.0.2]\nroutes:\n\
         - {{prefix: /static, port: {port}}}\n- {{prefix: /open, port: {port}, tls: optional}}\n"
    ))
    .await;
    register(&proxy, json!({"prefix": "/late", "port": port})).await;
    register(
        &proxy,
        json!({"prefix": "/strict", "port": port, "tls": "require"}),
    )
    .await;
    for (path, status) in [
        ("/static", 308),
        ("/open", 200),
        ("/late", 308),
        ("/strict", 403),
        ("/nowhere", 501),
    ] {
        let response = plain(&proxy, "GET", path, "").await;
        assert_eq!(response.status, status, "{path}");
    }
    // A proxy in front that has ended TLS, and somebody who only says so.
    for (source, status) in [("127.0.0.2", 200), ("127.0.0.1", 308)] {
        for said in [
            "X-Forwarded-Proto: https",
            "Forwarded: for=1.2.3.4;proto=https",
        ] {
            let client = Client::connect_from(source.parse().unwrap(), proxy.address()).await;
            let request = format!("GET /static HTTP/1.1\r\nHost: shop.test\r\n{said}\r\n\r\n");
            let response = client.unwrap().exchange(request).await;
            assert_eq!(response.status, status, "{source} {said}");
        }
    }
    let nowhere = Client::connect(proxy.address())
        .await
        .exchange("GET /static HTTP/1.0\r\nAccept: application/json\r\n\r\n")
        .await;
    assert_eq!((nowhere.status, code(&nowhere)), (400, json!("BAD_HOST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_in_cleartext_is_refused_too() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    register(
        &proxy,
        json!({"prefix": "/", "port": origin.port(), "tls": "require"}),
    )
    .await;
    let response = Client::connect(proxy.address())
        .await
        .exchange(
            "GET /chat HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    assert_eq!(response.status, 403);
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_joins_keeps_what_the_route_asks() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let port = origin.port();
    let tls = async || {
        let shown = answer(&proxy.api("GET", "/v1/routes/*/a", None).await, 200);
        (shown["tls"].clone(), shown["hsts"].clone())
    };
    register(
        &proxy,
        json!({"prefix": "/a", "port": port, "instance": "x", "tls": "require"}),
    )
    .await;
    register(
        &proxy,
        json!({"prefix": "/a", "port": port, "instance": "y"}),
    )
    .await;
    assert_eq!(tls().await, (json!("require"), Value::Null));
    register(
        &proxy,
        json!({"prefix": "/a", "port": port, "instance": "z", "hsts": "max-age=1"}),
    )
    .await;
    assert_eq!(tls().await, (json!("require"), json!("max-age=1")));
    assert_eq!(plain(&proxy, "GET", "/a", "").await.status, 403);
    // An instance that goes leaves the rest as it is.
    let gone = proxy
        .api("DELETE", "/v1/routes/*/a/instances/z", None)
        .await;
    answer(&gone, 200);
    assert_eq!(tls().await.0, json!("require"));
    // Nor does an app take anything back that registers again without a word on it.
    register(&proxy, json!({"prefix": "/a", "port": port, "ttl": "1h"})).await;
    assert_eq!(tls().await, (json!("require"), json!("max-age=1")));
    register(
        &proxy,
        json!({"prefix": "/a", "port": port, "tls": "optional"}),
    )
    .await;
    assert_eq!(tls().await, (json!("optional"), json!("max-age=1")));
    assert_eq!(plain(&proxy, "GET", "/a", "").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_outlives_an_apps_registration() {
    let origin = Origin::saying("app").await;
    let port = origin.port();
    let proxy = TestProxy::start(&format!(
        "routes:\n- {{prefix: /static, port: {port}, tls: require}}\n"
    ))
    .await;
    let put = json!({"port": port, "ttl": "1h", "tls": "require"});
    answer(
        &proxy.api("PUT", "/v1/routes/*/leased", Some(put)).await,
        201,
    );
    for prefix in ["/static", "/leased"] {
        let renewal = json!({"prefix": prefix, "port": port, "ttl": "1h"});
        register(&proxy, renewal).await;
        assert_eq!(
            plain(&proxy, "GET", prefix, "").await.status,
            403,
            "{prefix}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_meets_the_new_routes_demands() {
    let (mut old, mut visitors) = Origin::by_hand().await;
    let new = Origin::saying("secret").await;
    let proxy = TestProxy::plain().await;
    register(&proxy, json!({"prefix": "/app", "port": old.port()})).await;
    let request = "GET /app/admin HTTP/1.1\r\nHost: shop.test\r\nAccept: application/json\r\n\r\n";
    let mut client = Client::connect(proxy.address()).await;
    client.send(request).await;
    let mut visit = visitors.next().await;
    visit.serve("first").await;
    assert_eq!(client.response().await.text(), "first");
    // The second goes out on the same connection; then the app is another, and the old one dies.
    client.send(request).await;
    visit.request().await.expect("the second request");
    register(
        &proxy,
        json!({"prefix": "/app", "port": new.port(), "tls": "require"}),
    )
    .await;
    drop(visit);
    old.stop().await;
    let response = client.response().await;
    assert_eq!(
        (response.status, code(&response)),
        (403, json!("TLS_REQUIRED"))
    );
    assert!(new.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_takes_it_in_every_shape() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let port = origin.port();
    let settings = json!({"tls": "require", "hsts": "max-age=1", "client_certificate": "require"});
    let with = |mut body: Value| {
        for (name, value) in settings.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let shown = async |target: &str| {
        let route = answer(&proxy.api("GET", target, None).await, 200);
        json!({"tls": route["tls"], "hsts": route["hsts"],
               "client_certificate": route["client_certificate"]})
    };
    let put = async |target: &str, body: Value| proxy.api("PUT", target, Some(body)).await;

    let single = put("/v1/routes/*/a", with(json!({"port": port}))).await;
    assert_eq!(answer(&single, 201)["route"]["tls"], "require");
    assert_eq!(shown("/v1/routes/*/a").await, settings);
    let again = put("/v1/routes/*/a", with(json!({"port": port}))).await;
    assert_eq!(answer(&again, 200)["result"], "unchanged");
    let without = put("/v1/routes/*/a", json!({"port": port})).await;
    assert_eq!(answer(&without, 200)["result"], "replaced");
    assert_eq!(plain(&proxy, "GET", "/a", "").await.text(), "app");

    let list = with(json!({"instances": [{"port": port}]}));
    answer(&put("/v1/routes/*/b", list.clone()).await, 201);
    assert_eq!(shown("/v1/routes/*/b").await, settings);

    let mut change = list.clone();
    (change["op"], change["host"], change["prefix"]) = (json!("put"), json!("*"), json!("/c"));
    let changes = json!({"changes": [change]});
    answer(&proxy.api("PATCH", "/v1/routes", Some(changes)).await, 200);
    assert_eq!(shown("/v1/routes/*/c").await, settings);

    let mut entry = list.clone();
    (entry["host"], entry["prefix"]) = (json!("*"), json!("/d"));
    answer(&put("/v1/routes", json!({"routes": [entry]})).await, 200);
    assert_eq!(shown("/v1/routes/*/d").await, settings);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_are_named_and_nothing_changes() {
    let proxy = TestProxy::plain().await;
    for (field, value, code) in [
        ("tls", json!("on"), "INVALID_TLS"),
        ("tls", json!(true), "INVALID_TLS"),
        ("tls", json!("Require"), "INVALID_TLS"),
        ("hsts", json!("max-age=1y"), "INVALID_HSTS"),
        ("hsts", json!({"max_age": 1}), "INVALID_HSTS"),
        ("hsts", json!("max-age=1\r\nX: y"), "INVALID_HSTS"),
        (
            "client_certificate",
            json!("off"),
            "INVALID_CLIENT_CERTIFICATE",
        ),
    ] {
        let mut body = json!({"prefix": "/a", "port": 4321});
        body[field] = value.clone();
        let refused = Client::connect(proxy.address())
            .await
            .exchange(registration(body.to_string()))
            .await;
        let said: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(
            (refused.status, &said["error"]),
            (400, &json!(code)),
            "{body}"
        );
        let message = said["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{message}");

        let mut body = json!({"port": 4321});
        body[field] = value;
        let put = proxy.api("PUT", "/v1/routes/*/a", Some(body)).await;
        let said = problem(&put, (400, code));
        assert_eq!(said["pointer"], format!("/{field}"), "{said}");
    }
    let join = json!({"changes": [{"op": "join", "host": "*", "prefix": "/a",
                                   "instance": {"port": 1}, "tls": "require"}]});
    let refused = proxy.api("PATCH", "/v1/routes", Some(join)).await;
    assert_eq!(
        problem(&refused, (400, "INVALID_BODY"))["pointer"],
        "/changes/0/tls"
    );
    assert_eq!(get(proxy.address(), "/a").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_names_its_place() {
    for (text, place, problem) in [
        (
            "tls:\n  routes: always\n",
            "2:11",
            "optional, redirect or require",
        ),
        ("tls:\n  hsts: 1y\n", "2:9", "max-age"),
        (
            "routes:\n- prefix: /a\n  port: 1\n  tls: on\n",
            "4:8",
            "optional, redirect or require",
        ),
        (
            "routes:\n- prefix: /a\n  port: 1\n  hsts: max-age\n",
            "4:9",
            "max-age",
        ),
        (
            "routes:\n- prefix: /a\n  port: 1\n  client_certificate: off\n",
            "4:23",
            "optional or require",
        ),
    ] {
        let output = run(&["check"], text).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(&format!(":{place}: ")), "{text}: {said}");
        assert!(said.contains(problem), "{text}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_a_restart() {
    let origin = Origin::saying("app").await;
    let home = Home::new("");
    let mut proxy = home.start().await;
    register(
        &proxy,
        json!({"prefix": "/", "port": origin.port(), "tls": "require", "hsts": "max-age=1"}),
    )
    .await;
    proxy.stop().await;
    let proxy = home.start().await;
    assert_eq!(plain(&proxy, "GET", "/", "").await.status, 403);
    let shown = answer(&proxy.api("GET", "/v1/routes/*/", None).await, 200);
    assert_eq!(shown["hsts"], "max-age=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sets_shows_exports_and_imports_it() {
    let origin = Origin::saying("app").await;
    let port = origin.port().to_string();
    let edge = Edge::start().await;
    edge.ok(&[
        "routes",
        "put",
        "/a",
        "--port",
        &port,
        "--tls",
        "require",
        "--hsts",
        "max-age=1",
    ])
    .await;
    edge.ok(&[
        "register",
        "--prefix",
        "/b",
        "--port",
        &port,
        "--tls",
        "redirect",
        "--client-certificate",
        "require",
    ])
    .await;
    let shown = edge.ok(&["routes", "get", "/a"]).await.out;
    assert!(
        shown.contains("require") && shown.contains("max-age=1"),
        "{shown}"
    );
    let exported = edge.ok(&["routes", "export"]).await.out;
    let file = edge.path().join("routes.json");
    std::fs::write(&file, &exported).unwrap();
    for key in ["/a", "/b"] {
        edge.ok(&["routes", "remove", key]).await;
    }
    edge.ok(&["routes", "import", file.to_str().unwrap()]).await;
    assert_eq!(edge.ok(&["routes", "export"]).await.out, exported);
    assert_eq!(plain(&edge.proxy, "GET", "/a", "").await.status, 403);
    assert_eq!(plain(&edge.proxy, "GET", "/b", "").await.status, 308);
    let both = edge.command(&[
        "routes",
        "put",
        "/a",
        "--instance",
        "x",
        "--port",
        &port,
        "--tls",
        "require",
    ]);
    let refused = output_of(both).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
