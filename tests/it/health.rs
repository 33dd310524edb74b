//! Health probes: whether the process lives, and whether requests should be sent to it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::overload::stopped_during;
use crate::support::http2::{self, Http2};
use crate::support::{
    Client, Guarded, Origin, Response, TestProxy, api_request, eventually, get, in_time, output_of,
    request,
};

/// The paths on the traffic's listeners.
const PATHS: &str = "health: {liveness_path: /-/healthy, readiness_path: /-/ready}\n";

/// Checks the response to a probe.
fn check(response: &Response, expected: (u16, &str)) {
    let document = response.json();
    assert_eq!(
        (response.status, &document),
        (expected.0, &json!({ "status": expected.1 }))
    );
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(response.field("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_answers_probes_of_anybody() {
    let guarded = Guarded::start(&[("admin", "")]).await;
    let control = guarded.proxy.control().await;
    for (path, word) in [("/healthz", "alive"), ("/readyz", "ready")] {
        for fields in [
            &[][..],
            &[("Host", "proxy.example:80")],
            &[("Authorization", "Bearer wrong")],
            &[("X-Forwarded-For", "192.0.2.1")],
        ] {
            let probe = api_request("GET", path, fields, None);
            let begin = Instant::now();
            check(&request(control, probe).await, (200, word));
            assert!(
                begin.elapsed() < Duration::from_millis(900),
                "{fields:?} has waited"
            );
        }
        let old = request(control, format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        check(&old, (200, word));
        let head = request(control, api_request("HEAD", path, &[], None)).await;
        let length = format!("{{\"status\":\"{word}\"}}").len().to_string();
        assert_eq!(
            (head.status, head.field("content-length")),
            (200, Some(length.as_str()))
        );
        let (status, _) = guarded.over_unix("GET", path, None).await;
        assert_eq!(status, 200);
        // Nothing else is for anybody.
        for (method, path) in [
            ("POST", path.to_owned()),
            ("DELETE", path.to_owned()),
            ("GET", format!("{path}/")),
            ("GET", format!("{path}/x")),
            ("GET", format!("/.{path}")),
            ("GET", path.to_uppercase()),
            ("GET", "/v1/status".to_owned()),
        ] {
            let other = request(control, api_request(method, &path, &[], None)).await;
            assert_eq!(other.status, 401, "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_says_that_it_has_started_is_ready() {
    for threads in [1, 4] {
        let proxy = TestProxy::start(&format!("{PATHS}threads: {threads}\n")).await;
        check(&get(proxy.address(), "/-/ready").await, (200, "ready"));
        check(&get(proxy.control().await, "/readyz").await, (200, "ready"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traffic_answers_probes_at_these_very_paths() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(&format!("{PATHS}http2: {{cleartext: true}}\n")).await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    let mut http2 = Http2::connect(proxy.address()).await;
    for (path, word) in [("/-/healthy", "alive"), ("/-/ready", "ready")] {
        check(&client.get(path).await, (200, word));
        check(
            &client.get(&format!("{path}?from=balancer")).await,
            (200, word),
        );
        let host = format!("GET {path} HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
        check(&client.exchange(host).await, (200, word));
        check(
            &request(proxy.address(), format!("GET {path} HTTP/1.0\r\n\r\n")).await,
            (200, word),
        );
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.exchange(head).await.status, 200);
        let answer = http2.get(path).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{{\"status\":\"{word}\"}}"))
        );
        assert_eq!(
            http2
                .send(http2::request(http::Method::HEAD, path))
                .await
                .status,
            200
        );
        // All else is the app's.
        for (method, path) in [
            ("POST", path.to_owned()),
            ("OPTIONS", path.to_owned()),
            ("GET", format!("{path}/")),
            ("GET", format!("{path}/x")),
            ("GET", format!("{path}x")),
            ("GET", path.to_uppercase()),
            ("GET", "/healthz".to_owned()),
            ("GET", "/readyz".to_owned()),
        ] {
            let other = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(
                client.exchange(other).await.text(),
                "app",
                "{method} {path}"
            );
        }
    }
    // RFC 9112, 3.2: a request without Host is none, whatever it asks for.
    let hostless = request(proxy.address(), "GET /-/ready HTTP/1.1\r\n\r\n").await;
    assert_eq!(hostless.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_traffic_has_no_probes() {
    let proxy = TestProxy::plain().await;
    for path in ["/healthz", "/readyz", "/-/healthy", "/-/ready", "/off"] {
        assert_eq!(get(proxy.address(), path).await.status, 501, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_sends_its_clients_to_https_answers_probes() {
    let listen = "listen: [{address: '127.0.0.1:0', redirect_to_https: true}]\n";
    let proxy = TestProxy::start(&format!("{PATHS}{listen}")).await;
    check(&get(proxy.address(), "/-/ready").await, (200, "ready"));
    assert_eq!(get(proxy.address(), "/-/other").await.status, 308);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_leave_no_line_in_the_log_and_no_event() {
    let proxy = TestProxy::start(&format!("{PATHS}log: debug\nhttp2: {{cleartext: true}}\n")).await;
    let control = proxy.control().await;
    let mut http2 = Http2::connect(proxy.address()).await;
    for _ in 0..3 {
        for path in ["/-/healthy", "/-/ready"] {
            assert_eq!(get(proxy.address(), path).await.status, 200);
            assert_eq!(http2.get(path).await.status, 200);
        }
        for path in ["/healthz", "/readyz"] {
            let probe = api_request("GET", path, &[("Host", "unknown.example")], None);
            assert_eq!(request(control, probe).await.status, 200);
        }
    }
    // What comes later has its line.
    assert_eq!(get(proxy.address(), "/nowhere").await.status, 501);
    proxy.logged(&["/nowhere", "no route"]).await;
    let log = proxy.log();
    for path in ["/-/healthy", "/-/ready", "/healthz", "/readyz"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(path)).collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_cannot_have_a_path_of_probes_for_its_prefix() {
    let proxy = TestProxy::start(PATHS).await;
    for prefix in ["/-/ready", "/-/READY/", "/-/healthy"] {
        let body = json!({ "prefix": prefix, "port": 4321 }).to_string();
        let response = proxy.register_json(body).await;
        assert_eq!(
            response.verdict(),
            (400, "RESERVED_PREFIX".to_owned()),
            "{prefix}"
        );
        assert!(
            response.message().contains("`health`"),
            "{}",
            response.message()
        );
    }
    // Those beside it, and below it, are for anybody.
    for prefix in ["/-", "/-/ready/x", "/-/readyz"] {
        proxy.register(prefix, 4321).await;
    }
}

/// The first request that has waited would be shed.
#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_when_requests_are_shed() {
    let overload = "http2: {cleartext: true}\noverload: {target: 300ms, interval: 0s}\n";
    for (path, word, is_last) in [
        ("/-/ready", "ready", false),
        ("/-/healthy", "alive", true),
        ("/-/ready", "ready", true),
    ] {
        let proxy = TestProxy::start(&format!("{PATHS}{overload}")).await;
        let mut client = proxy.client().await;
        if !is_last {
            check(&client.get(path).await, (200, word));
        }
        let close = if is_last { "Connection: close\r\n" } else { "" };
        let probe = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{close}\r\n");
        stopped_during(&proxy, async || client.send(probe).await).await;
        check(&client.response().await, (200, word));
        proxy.logged(&["overload: a request has waited"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_listeners_close_readiness_probes_are_refused() {
    let origin = Origin::saying("app").await;
    let mut proxy = TestProxy::start(&format!("{PATHS}lame_duck: 1500ms\n")).await;
    proxy.register("/", origin.port()).await;
    let (traffic, control) = (proxy.address(), proxy.control().await);
    let begin = Instant::now();
    proxy.signal("TERM");
    eventually("it is not ready", async || {
        get(control, "/readyz").await.status == 503
    })
    .await;
    // New connections are taken, and served as before.
    check(&get(traffic, "/-/ready").await, (503, "stopping"));
    check(&get(traffic, "/-/healthy").await, (200, "alive"));
    check(&get(control, "/healthz").await, (200, "alive"));
    let head = request(control, api_request("HEAD", "/readyz", &[], None)).await;
    assert_eq!(head.status, 503);
    let mut client = proxy.client().await;
    let response = client.get("/").await;
    assert_eq!(response.text(), "app");
    assert_ne!(response.field("connection"), Some("close"));
    proxy.register("/late", origin.port()).await;
    assert!(
        begin.elapsed() < Duration::from_millis(1500),
        "the test is too slow"
    );
    let ended = proxy.ended().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        begin.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begin.elapsed()
    );
    client.is_closed().await;
    assert!(proxy.log().contains("lame_duck"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait_before_the_listeners_close() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let mut proxy = TestProxy::start("lame_duck: 1h\n").await;
    proxy.register("/", origin.port()).await;
    let control = proxy.control().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    proxy.signal("TERM");
    eventually("it is not ready", async || {
        get(control, "/readyz").await.status == 503
    })
    .await;
    proxy.signal("TERM");
    let address = proxy.address();
    eventually("new connections are refused", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    // What is in flight has its grace.
    assert!(proxy.is_running());
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
    assert!(proxy.ended().await.status.success());
}

/// The command of the Dockerfile's HEALTHCHECK, for a proxy whose control API is on this port.
async fn healthcheck(control: u16) -> bool {
    let dockerfile = include_str!("../../Dockerfile");
    let (_, check) = dockerfile.split_once("HEALTHCHECK").expect("a check");
    let (_, command) = check.split_once("CMD ").expect("a command");
    let command = command.lines().next().expect("a line");
    let words: Vec<String> = serde_json::from_str(command).expect("a list");
    let mut run = tokio::process::Command::new(&words[0]);
    run.args(&words[1..]).env("PORT", (control - 1).to_string());
    output_of(run).await.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_containers_healthcheck_asks_whether_it_is_ready() {
    let proxy = TestProxy::start("lame_duck: 1h\n").await;
    let control = proxy.control().await;
    assert!(healthcheck(control.port()).await);
    proxy.signal("TERM");
    eventually("it is not ready", async || {
        get(control, "/readyz").await.status == 503
    })
    .await;
    assert!(!healthcheck(control.port()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_hands_its_sockets_over_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("upgrade.sock");
    let proxy = TestProxy::start(&format!("upgrade_sock: {}\n", socket.display())).await;
    let mut control = Client::connect(proxy.control().await).await;
    check(&control.get("/readyz").await, (200, "ready"));
    // There is no new process yet: for some seconds the old one looks for it.
    proxy.signal("QUIT");
    let not_ready = async {
        loop {
            let response = control.get("/readyz").await;
            if response.status == 503 {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    check(
        &in_time("it is not ready", not_ready).await,
        (503, "stopping"),
    );
    check(&control.get("/healthz").await, (200, "alive"));
}
