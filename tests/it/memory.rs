//! Memory comes back, and errors about a large body are short.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{Api, Client, Response, TestProxy};

/// How much more than before may be resident afterwards, in KiB, and after how long.
const MOST_MORE: u64 = 16 * 1024;
const AFTER: Duration = Duration::from_secs(30);

/// A set of so many routes.
fn set(count: usize) -> String {
    let mut text = String::from(r#"{"routes":["#);
    for number in 0..count {
        let comma = if number > 0 { "," } else { "" };
        write!(
            text,
            r#"{comma}{{"host":"app-{number}.example.com","prefix":"/app","instances":[{{"port":4001}}]}}"#
        )
        .expect("a string grows");
    }
    text.push_str("]}");
    text
}

async fn put(proxy: &TestProxy, target: &str, body: &str) -> Response {
    send(proxy, "PUT", target, body).await
}

async fn send(proxy: &TestProxy, method: &str, target: &str, body: &str) -> Response {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut client = Client::connect(proxy.control().await).await;
    client
        .exchange([head.as_bytes(), body.as_bytes()].concat())
        .await
}

/// Waits until no more is resident than before; a minute at most, and it should be half of that.
async fn comes_back(proxy: &TestProxy, before: u64) {
    let begin = Instant::now();
    loop {
        let now = proxy.resident_kib();
        if now <= before + MOST_MORE {
            return;
        }
        assert!(
            begin.elapsed() < AFTER,
            "{before} KiB before, {now} KiB after {AFTER:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_comes_back_after_a_large_dry_run() {
    let proxy = TestProxy::start(
        "limits:\n  routes: 400000\n  routes_per_owner: 400000\n  hosts: 400000\n  \
         hosts_per_owner: 400000\n  instances: 400000\n  \
         instances_per_owner: 400000\n  route_memory: 4GiB\n",
    )
    .await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/stays", json!({ "port": 4001 })).await;
    let before = proxy.resident_kib();
    let response = put(&proxy, "/v1/routes?dry_run=true", &set(300_000)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["created"], 300_000);
    let peak = proxy.resident_kib();
    eprintln!("{before} KiB before, {peak} KiB at the end of the call");
    comes_back(&proxy, before).await;
    assert_eq!(api.get("/v1/routes").await.expect("a list")["total"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_comes_back_after_large_bodies_that_are_refused() {
    let proxy = TestProxy::plain().await;
    let before = proxy.resident_kib();
    let mut broken = set(300_000);
    broken.truncate(broken.len() - 2);
    let too_many = set(300_000);
    for (body, code) in [(broken, "NOT_JSON"), (too_many, "LIMIT_ROUTES")] {
        let response = put(&proxy, "/v1/routes", &body).await;
        assert_eq!(response.json()["code"], code, "{}", response.text());
    }
    comes_back(&proxy, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_a_large_body_is_short() {
    let proxy = TestProxy::plain().await;
    let long = "x".repeat(11 * 1024 * 1024);
    let bodies = [
        json!({ long.clone(): 1 }),
        json!({ "routes": [{ long.clone(): 1 }] }),
        json!({ "routes": long.clone() }),
        json!({ "routes": [{ "host": long.clone(), "prefix": "/a", "instances": [{ "port": 1 }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": long.clone() }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": 1, long.clone(): 1 }] }] }),
        json!({ "routes": [{ "host": "*", "prefix": "/a", "instances": [{ "port": 1, "protocol": long }] }] }),
    ];
    for body in bodies {
        let response = put(&proxy, "/v1/routes", &body.to_string()).await;
        assert_eq!(response.status, 400);
        let length = response.body.len();
        assert!(
            length < 4096,
            "{length} bytes: {:?}",
            &response.text()[..200]
        );
    }
    let registration = json!({ "prefix": "/a", "port": 1, "https": { "x".repeat(60_000): 1 } });
    let response = proxy.register_json(registration.to_string()).await;
    assert_eq!(response.status, 400);
    assert!(response.body.len() < 4096, "{}", response.body.len());
    let longest = proxy.log().lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 8192, "a line of the log has {longest} bytes");
}

/// A list has no more in it than its bound allows, before anything of it is made: an empty instance takes a
/// hundred times its bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_too_many_instances_is_not_kept() {
    type Body<'b> = &'b dyn Fn(&str) -> String;
    let instances = vec!["{}"; 1_000_000].join(",");
    let many = vec![r#"{"port":1}"#; 1001].join(",");
    let entry = |instances: &str| format!(r#""host":"*","prefix":"/a","instances":[{instances}]"#);
    let patch = |instances: &str| format!(r#"{{"changes":[{{"op":"put",{}}}]}}"#, entry(instances));
    let set = |instances: &str| format!(r#"{{"routes":[{{{}}}]}}"#, entry(instances));
    let one = |instances: &str| format!(r#"{{"instances":[{instances}]}}"#);
    let calls: [(&str, &str, Body<'_>, &str); 3] = [
        ("PUT", "/v1/routes", &set, "/routes/0/instances/0/port"),
        ("PUT", "/v1/routes/*/a", &one, "/instances/0/port"),
        ("PATCH", "/v1/routes", &patch, "/changes/0/instances/0/port"),
    ];
    for (method, target, body, pointer) in calls {
        let proxy = TestProxy::plain().await;
        let before = proxy.peak_kib();
        let response = send(&proxy, method, target, &body(&instances)).await;
        let peak = proxy.peak_kib();
        assert_eq!(response.json()["pointer"], pointer, "{}", response.text());
        eprintln!("{method} {target}: {before} KiB before, {peak} KiB at most");
        assert!(peak < before + 32 * 1024, "{before} KiB, then {peak} KiB");
        let response = send(&proxy, method, target, &body(&many)).await;
        assert_eq!(
            response.json()["code"],
            "INSTANCE_COUNT",
            "{}",
            response.text()
        );
    }
}

/// As many instances as the table may have are read, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_more_instances_than_the_table_may_have_is_not_read_on() {
    let proxy = TestProxy::start("limits: {instances: 10}").await;
    let entry = |number| {
        let instances = [
            json!({ "id": "a", "port": 1 }),
            json!({ "id": "b", "port": 2 }),
        ];
        json!({ "host": "*", "prefix": format!("/{number}"), "instances": instances })
    };
    let set = |count: usize| json!({ "routes": (0..count).map(entry).collect::<Vec<_>>() });
    let response = put(&proxy, "/v1/routes", &set(5).to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let response = put(&proxy, "/v1/routes", &set(6).to_string()).await;
    assert_eq!(response.json()["code"], "LIMIT_INSTANCES");
    assert_eq!(response.json()["pointer"], "/routes");
}

/// The name of an unknown field is in memory with its body, and at most twice beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_name_of_a_field_is_not_copied_again_and_again() {
    const NAME: usize = 32 * 1024 * 1024;
    let name = "x".repeat(NAME);
    let bodies = [
        format!(r#"{{"{name}":1}}"#),
        format!(r#"{{"routes":[{{"{name}":1}}]}}"#),
        format!(r#"{{"routes":[{{"host":"*","prefix":"/a","instances":[{{"{name}":1}}]}}]}}"#),
    ];
    for body in bodies {
        let proxy = TestProxy::plain().await;
        let before = proxy.peak_kib();
        let response = put(&proxy, "/v1/routes", &body).await;
        assert_eq!(response.status, 400);
        let copies = (proxy.peak_kib() - before) * 1024 / NAME as u64;
        eprintln!("{copies} copies");
        assert!(copies <= 3, "{copies} copies");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_paths_stay_neither_in_events_nor_in_the_log() {
    let proxy = TestProxy::plain().await;
    let before = proxy.resident_kib();
    let mut client = proxy.client().await;
    let path = format!("/{}", "x".repeat(15_000));
    for _ in 0..3000 {
        let response = client.get(&path).await;
        assert_eq!(response.status, 501);
    }
    let longest = proxy.log().lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 8192, "a line of the log has {longest} bytes");
    comes_back(&proxy, before).await;
}
