//! The id of a request: in its response, and in every line of the log about it.

use crate::support::{Client, ClosedPort, Origin, TestProxy, eventually};

/// The lines of the log that have this id.
fn lines(proxy: &TestProxy, id: &str) -> Vec<String> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| {
        line.contains(&format!("[{id}]")) || line.contains(&format!("\"request\":\"{id}\""))
    });
    lines.map(str::to_owned).collect()
}

/// Sends a request, and waits for lines with the id of its response that hold all of these.
async fn is_told(proxy: &TestProxy, mut client: Client, request: &str, wanted: &[&str]) {
    client.send(request).await;
    let response = client.response().await;
    let id = response.field("x-request-id").expect("an id").to_owned();
    eventually(&format!("lines about {request:?}"), async || {
        let lines = lines(proxy, &id).join("\n");
        wanted.iter().all(|wanted| lines.contains(wanted))
    })
    .await;
}

fn post(target: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_about_a_request_has_its_id() {
    let origin = Origin::saying("ok").await;
    let dead = ClosedPort::new();
    let proxy = TestProxy::start("log: debug\ntimeouts:\n  head: 300ms").await;
    let register = format!(r#"{{"prefix": "/a", "port": {}}}"#, origin.port());
    let renewal = post("/register", "", &register);
    let refused = post("/register", "", r#"{"prefix": "/a"}"#);
    let relayed = post("/register", "Via: 1.1 other\r\n", &register);
    let gone = post(
        "/register",
        "",
        &format!(r#"{{"prefix": "/gone", "port": {}}}"#, dead.port()),
    );
    let cases: [(&str, &[&str]); 10] = [
        (&renewal, &["registered ", "\"action\":\"register\""]),
        (&gone, &["registered "]),
        (&refused, &["registration refused: "]),
        (
            &relayed,
            &["registration refused: FORBIDDEN", "(from 127.0.0.1)"],
        ),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET a/a -> ", "complete after"],
        ),
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", &["no route"]),
        (
            "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n",
            &["GET a/gone -> ", "refused"],
        ),
        ("GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", &["400"]),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
            &["127.0.0.1", "refused: 400 BAD_REQUEST: "],
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n",
            &["refused: 408 HEAD_TIMEOUT: "],
        ),
    ];
    for (request, wanted) in cases {
        is_told(&proxy, proxy.client().await, request, wanted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_client_is_that_of_a_call_of_the_control_api() {
    let proxy = TestProxy::plain().await;
    let mut client = Client::connect(proxy.control().await).await;
    let body = r#"{"port": 1}"#;
    let length = body.len();
    client
        .send(format!(
            "PUT /v1/routes/*/a HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: deploy-7\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 201);
    assert_eq!(response.field("x-request-id"), Some("deploy-7"));
    eventually("the line of the audit", async || {
        !lines(&proxy, "deploy-7").is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_would_end_its_brackets_in_the_log_is_not_taken() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    client
        .send("GET /none HTTP/1.1\r\nHost: a\r\nX-Request-Id: a]b\r\n\r\n")
        .await;
    let response = client.response().await;
    let id = response.field("x-request-id").expect("an id");
    assert_eq!(id.len(), 32, "{id}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_said_to_be_cut_by_timeouts_send() {
    let origin = Origin::start(|mut visit| async move {
        visit.request().await.expect("a request");
        visit.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while visit.offer(vec![0; 8192]).await.is_ok() {}
    })
    .await;
    let proxy = TestProxy::start("timeouts: {send: 500ms}").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: deaf\r\n\r\n")
        .await;
    eventually("a line about it", async || {
        let lines = lines(&proxy, "deaf");
        lines.iter().any(|line| line.contains("timeouts.send"))
    })
    .await;
    drop(client);
}

/// What a library says of a request has no id: it is not to be said at all.
#[tokio::test(flavor = "multi_thread")]
async fn no_line_about_a_request_is_without_an_id() {
    let origin = Origin::start(|mut visit| async move {
        let request = visit.head().await.expect("a request");
        if request.line.contains("/more") {
            visit
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA")
                .await;
        }
        visit.request().await;
    })
    .await;
    let proxy = TestProxy::start("log: debug\ntimeouts: {client_body: 300ms}").await;
    proxy.register("/", origin.port()).await;
    let more = "GET /more HTTP/1.1\r\nHost: a\r\n\r\n";
    is_told(&proxy, proxy.client().await, more, &["complete after"]).await;
    let slow = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nslow";
    is_told(&proxy, proxy.client().await, slow, &["BODY_TIMEOUT"]).await;
    let log = proxy.log();
    let is_of_request = |line: &&str| {
        let words = ["refused client", "Peer sent", "left before", "extra"];
        words.iter().any(|words| line.contains(words))
    };
    for line in log.lines().filter(is_of_request) {
        assert!(line.ends_with(']') || line.contains("] "), "{line}");
        assert!(!line.contains("pingora_core"), "{line}");
    }
}
