//! Whoever meets a limit reads its key, in the reply and in the log: it is the only way to know what to change.

use std::net::SocketAddr;

use crate::support::{Client, Origin, TestProxy, request};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Traffic,
    Control,
}

/// A configuration, a request that goes beyond it, its status, and the key.
type Case = (&'static str, To, String, u16, &'static str);

fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

fn post(path: &str, length: usize, body: &str) -> String {
    let fields = format!("Content-Length: {length}\r\n");
    head(&format!("POST {path}"), &fields) + body
}

fn of_the_head() -> Vec<Case> {
    use To::Traffic;
    let long = format!("A: {}\r\n", "x".repeat(3000));
    vec![
        (
            "limits: {head: 2KiB, target: 200}",
            Traffic,
            head("GET /", &long),
            431,
            "limits.head",
        ),
        (
            "limits: {fields: 10}",
            Traffic,
            head("GET /", &"A: 1\r\n".repeat(12)),
            431,
            "limits.fields",
        ),
        (
            "limits: {target: 200}",
            Traffic,
            head(&format!("GET /{}", "x".repeat(300)), ""),
            414,
            "limits.target",
        ),
        (
            "timeouts: {head: 300ms}",
            Traffic,
            "GET / HTTP/1.1\r\nHost:".to_owned(),
            408,
            "timeouts.head",
        ),
    ]
}

fn of_the_body() -> Vec<Case> {
    use To::Traffic;
    let chunked =
        head("POST /", "Transfer-Encoding: chunked\r\n") + "b\r\n01234567890\r\n0\r\n\r\n";
    vec![
        (
            "limits: {body: 10}",
            Traffic,
            post("/", 11, "01234567890"),
            413,
            "limits.body",
        ),
        ("limits: {body: 10}", Traffic, chunked, 413, "limits.body"),
        (
            "timeouts: {client_body: 300ms}",
            Traffic,
            post("/", 11, ""),
            408,
            "timeouts.client_body",
        ),
        (
            "registration: {body_limit: 1KiB}",
            Traffic,
            post("/register", 1025, &"x".repeat(1025)),
            413,
            "registration.body_limit",
        ),
        (
            "registration: {body_timeout: 300ms}",
            Traffic,
            post("/register", 11, ""),
            408,
            "registration.body_timeout",
        ),
    ]
}

fn of_the_control_api() -> Vec<Case> {
    let put = |length: usize, body: &str| {
        let fields = format!("Content-Length: {length}\r\n");
        head("PUT /v1/routes", &fields) + body
    };
    vec![
        (
            "control: {listen: \"127.0.0.1:0\", body_limit: 1KiB}",
            To::Control,
            put(1025, &" ".repeat(1025)),
            413,
            "control.body_limit",
        ),
        (
            "control: {listen: \"127.0.0.1:0\", body_timeout: 300ms}",
            To::Control,
            put(11, ""),
            408,
            "control.body_timeout",
        ),
        (
            "control: {listen: \"127.0.0.1:0\"}\nlimits: {routes: 1}",
            To::Control,
            {
                let route = |prefix| {
                    format!(r#"{{"host":"*","prefix":"/{prefix}","instances":[{{"port":1}}]}}"#)
                };
                let body = format!(r#"{{"routes":[{},{}]}}"#, route("a"), route("b"));
                put(body.len(), &body)
            },
            429,
            "limits.routes",
        ),
    ]
}

async fn address(proxy: &TestProxy, to: To) -> SocketAddr {
    match to {
        To::Traffic => proxy.address(),
        To::Control => proxy.control().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_and_its_line_in_the_log_name_the_key() {
    let origin = Origin::saying("hello").await;
    let cases = [of_the_head(), of_the_body(), of_the_control_api()];
    for (configuration, to, bytes, status, key) in cases.into_iter().flatten() {
        // A proxy of its own, since floods of such lines are left out of the log.
        let proxy = TestProxy::start(configuration).await;
        proxy.register("/app", origin.port()).await;
        let bytes = bytes.replace(" / HTTP", " /app HTTP");
        let response = request(address(&proxy, to).await, bytes).await;
        let text = response.text();
        assert_eq!(response.status, status, "{key}: {text}");
        assert!(text.contains(key), "{key}: {text}");
        proxy.logged(&[key]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_may_only_register_is_told_by_which_keys() {
    let proxy = TestProxy::start("limits: {connections_per_client: 1}").await;
    let mut first = proxy.client().await;
    assert_eq!(first.get("/").await.status, 501);
    let mut second = Client::connect(proxy.address()).await;
    let refused = second.get("/").await;
    assert_eq!(refused.verdict(), (503, "TOO_MANY_CONNECTIONS".to_owned()));
    assert!(
        refused.text().contains("limits.connections_per_client"),
        "{}",
        refused.text()
    );
    proxy.logged(&["limits.connections_per_client"]).await;
}
