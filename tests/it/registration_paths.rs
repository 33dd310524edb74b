//! `registration.path`: one path or several, the same at every listener, and what a browser is told there.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{Origin, Response, TestProxy, eventually, get, request};

const LISTED: &str = "registration:\n  path: [/register, /routes, /_proxy/apps/]\n";

/// A registration at a path.
async fn register(address: SocketAddr, path: &str, body: &str) -> Response {
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    request(address, text).await
}

async fn registration_listener(proxy: &TestProxy) -> SocketAddr {
    let mut address = None;
    eventually("the listener is named", async || {
        let log = proxy.log();
        let lines = log.split_inclusive('\n');
        let mut whole = lines.filter(|line| line.ends_with('\n'));
        let shown = whole.find_map(|line| line.trim_end().split_once("registration on "));
        address = shown.and_then(|(_, shown)| shown.parse().ok());
        address.is_some()
    })
    .await;
    address.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_register_at_each_path_of_the_list() {
    let origin = Origin::saying("app").await;
    for engine in ["direct", "pingora"] {
        let proxy = TestProxy::start(&format!("engine: {engine}\n{LISTED}")).await;
        let body = json!({"prefix": "/", "port": origin.port()}).to_string();
        for path in ["/register", "/ROUTES/", "/routes?a=b", "/_proxy/%61pps"] {
            let response = register(proxy.address(), path, &body).await;
            assert_eq!(response.status, 200, "{path}: {}", response.text());
        }
        for path in ["/routes-of-trains", "/a/routes", "/_proxy", "/_proxy/app"] {
            assert_eq!(get(proxy.address(), path).await.text(), "app", "{path}");
        }
        for path in ["/routes/a", "/_proxy/apps/a"] {
            let response = get(proxy.address(), path).await;
            assert_eq!(response.verdict(), (404, "NO_SUCH_PATH".to_owned()));
            let said = response.message();
            assert!(said.contains("the proxy's own") && said.contains("registration.path"));
        }
        for prefix in ["/routes", "/Routes/a", "/_proxy/apps", "/register"] {
            let body = json!({"prefix": prefix, "port": origin.port()}).to_string();
            let response = register(proxy.address(), "/routes", &body).await;
            let verdict = (400, "RESERVED_PREFIX".to_owned());
            assert_eq!(response.verdict(), verdict, "{engine}: {prefix}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_the_same_at_listeners_of_registration() {
    let proxy = TestProxy::start(&format!("{LISTED}  listen: 127.0.0.1:0\n")).await;
    let own = registration_listener(&proxy).await;
    let body = json!({"prefix": "/routes", "port": 4321}).to_string();
    for path in ["/register", "/routes", "/_proxy/apps"] {
        assert_eq!(register(own, path, &body).await.status, 200, "{path}");
    }
    assert_eq!(register(own, "/route", &body).await.status, 404);
    // At the traffic's listener it is a path like any other.
    let traffic = get(proxy.address(), "/_proxy/apps").await;
    assert_eq!(traffic.verdict(), (501, "NOT_FOUND".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_the_same_at_control_listeners() {
    let more =
        "control:\n  listen: 127.0.0.1:0\nregistration:\n  path: [/routes, /v1/routes, /v1]\n";
    let proxy = TestProxy::start(more).await;
    let control = proxy.control().await;
    let body = json!({"prefix": "/x", "port": 4321}).to_string();
    for path in ["/register", "/routes", "/Routes/?a=b", "/v1"] {
        let response = register(control, path, &body).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
    }
    // Of the API's own paths none is taken away.
    assert_eq!(register(control, "/v1/routes", &body).await.status, 405);
    assert_eq!(proxy.look("/v1/routes/*/x").await["prefix"], "/x");
    assert_eq!(
        register(proxy.address(), "/v1/routes", &body).await.status,
        200
    );
    assert_eq!(
        register(proxy.address(), "/register", &body).await.status,
        501
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_whose_path_it_is() {
    let proxy = TestProxy::start(LISTED).await;
    let hint = "This path is the proxy's own, where apps register";
    let page = "Accept: text/html,*/*;q=0.8\r\n";
    let cases = [
        ("", 405, "application/json"),
        (page, 405, "text/html; charset=utf-8"),
        // A link of another site's page.
        ("Sec-Fetch-Site: cross-site\r\n", 403, "application/json"),
        // Below it, too.
        ("", 404, "application/json"),
        (page, 404, "text/html; charset=utf-8"),
    ];
    for (fields, status, kind) in cases {
        let below = if status == 404 { "/x" } else { "" };
        let text = format!("GET /routes{below} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let response = request(proxy.address(), text).await;
        let said = response.text();
        assert_eq!(response.status, status, "{said}");
        assert_eq!(response.field("content-type"), Some(kind));
        assert_eq!(response.field("allow"), (status == 405).then_some("POST"));
        assert!(
            said.contains(hint) && said.contains("registration.path"),
            "{said}"
        );
    }
    // An app that means to register is told what it needs, and no more.
    let refused = register(proxy.address(), "/routes", "{").await;
    assert!(!refused.message().contains(hint), "{}", refused.message());
}
