//! Limits on the table: what goes beyond is 429 with the limit's key, and nothing of it is made.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Api, Client, Home, Origin, TestProxy, command, get, registration};

/// Few of everything.
const TIGHT: &str = "limits:\n  routes: 5\n  routes_per_owner: 3\n  instances: 6\n  \
    instances_per_owner: 5\n  hosts_per_registration: 2\n";

fn instances(count: usize, owner: &str) -> Value {
    let one = |number| json!({ "id": format!("i{number}"), "port": 4001, "owner": owner });
    json!({ "instances": (0..count).map(one).collect::<Vec<_>>() })
}

fn entry(prefix: &str, owner: &str) -> Value {
    let instances = instances(1, owner)["instances"].clone();
    json!({ "host": "*", "prefix": prefix, "instances": instances })
}

/// The meter of a limit.
async fn meter(proxy: &TestProxy, key: &str) -> Value {
    let status = proxy.look("/v1/status").await;
    let limits = status["limits"].as_array().expect("limits").clone();
    let found = limits.into_iter().find(|limit| limit["key"] == key);
    found.expect("the limit")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limit_refuses_and_says_its_key() {
    let proxy = TestProxy::start(TIGHT).await;
    let mut api = Api::of(&proxy).await;
    for (prefix, owner) in [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y")] {
        let target = format!("/v1/routes/*/{prefix}");
        api.put(&target, instances(1, owner)).await;
    }
    let before = proxy.table().await;
    let cases = [
        (
            "e",
            1,
            "x",
            "LIMIT_ROUTES_PER_OWNER",
            "limits.routes_per_owner",
        ),
        ("d", 4, "y", "LIMIT_INSTANCES", "limits.instances"),
        (
            "c",
            4,
            "x",
            "LIMIT_INSTANCES_PER_OWNER",
            "limits.instances_per_owner",
        ),
    ];
    for (prefix, count, owner, code, key) in cases {
        let target = format!("/v1/routes/*/{prefix}");
        let body = Some(instances(count, owner));
        let refused = if code == "LIMIT_INSTANCES_PER_OWNER" {
            // With room for all but one owner.
            api.delete("/v1/routes/*/d").await;
            let refused = proxy.refused("PUT", &target, body, (429, code)).await;
            api.put("/v1/routes/*/d", instances(1, "y")).await;
            refused
        } else {
            proxy.refused("PUT", &target, body, (429, code)).await
        };
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(detail.contains(&format!("`{key}`")), "{detail}");
        assert_eq!(meter(&proxy, key).await["refused"], 1, "{key}");
    }
    api.put("/v1/routes/*/e", instances(1, "y")).await;
    let sixth = Some(instances(1, "z"));
    proxy
        .refused("PUT", "/v1/routes/*/f", sixth, (429, "LIMIT_ROUTES"))
        .await;
    // What is there may change, and what goes makes room.
    api.put("/v1/routes/*/e", json!({ "port": 4002, "owner": "y" }))
        .await;
    api.delete("/v1/routes/*/e").await;
    let prefixes = |table: &Value| -> Vec<Value> {
        let routes = table["routes"].as_array().expect("routes").iter();
        routes.map(|route| route["prefix"].clone()).collect()
    };
    assert_eq!(prefixes(&proxy.table().await), prefixes(&before));
    let routes = meter(&proxy, "limits.routes").await;
    assert_eq!((&routes["used"], &routes["most"]), (&json!(4), &json!(5)));
}

/// Hosts count once each, whatever number of routes is for them, and those of each owner for themselves.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_limited_in_all_and_for_each_owner() {
    let proxy = TestProxy::start("limits:\n  hosts: 3\n  hosts_per_owner: 2\n").await;
    let mut api = Api::of(&proxy).await;
    for (host, prefix, owner) in [
        ("a.example", "a", "x"),
        ("a.example", "b", "x"),
        ("*.example", "a", "x"),
        ("a.example", "c", "y"),
    ] {
        let target = format!("/v1/routes/{host}/{prefix}");
        api.put(&target, instances(1, owner)).await;
    }
    let before = proxy.table().await;
    let refused = async |host: &str, owner: &str, limit: &str| {
        let target = format!("/v1/routes/{host}/new");
        let code = format!("LIMIT_{}", limit.to_uppercase());
        let body = Some(instances(1, owner));
        let problem = proxy.refused("PUT", &target, body, (429, &code)).await;
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.contains(&format!("`limits.{limit}`")), "{detail}");
    };
    refused("c.example", "x", "hosts_per_owner").await;
    assert_eq!(proxy.table().await, before);
    api.put("/v1/routes/c.example/a", instances(1, "y")).await;
    refused("d.example", "z", "hosts").await;
    refused("*", "z", "hosts").await;
    let hosts = meter(&proxy, "limits.hosts").await;
    let shown = (&hosts["used"], &hosts["most"], &hosts["refused"]);
    assert_eq!(shown, (&json!(3), &json!(3), &json!(2)));
    assert_eq!(meter(&proxy, "limits.hosts_per_owner").await["refused"], 1);
    // A host is gone with the last of its routes, and another has its place.
    api.delete("/v1/routes/a.example/a").await;
    refused("c.example", "x", "hosts_per_owner").await;
    api.delete("/v1/routes/a.example/b").await;
    api.put("/v1/routes/c.example/x", instances(1, "x")).await;
    // A registration is a change as a whole.
    let body = json!({ "prefix": "/", "port": 4001, "reqHostNames": ["a.example", "e.example"] });
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.verdict(), (429, "LIMIT_HOSTS".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_or_a_list_beyond_a_limit_changes_nothing() {
    let proxy = TestProxy::start(TIGHT).await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/a", instances(1, "x")).await;
    let before = proxy.table().await;
    let entries = |count: usize| -> Vec<Value> {
        let owner = |number: usize| ["x", "y", "z"][number % 3];
        (0..count)
            .map(|number| entry(&format!("/r{number}"), owner(number)))
            .collect()
    };
    let puts = |count| -> Vec<Value> {
        let put = |mut entry: Value| {
            entry["op"] = "put".into();
            entry
        };
        entries(count).into_iter().map(put).collect()
    };
    for query in ["", "?dry_run=true"] {
        let target = format!("/v1/routes{query}");
        let refusals = [
            ("PUT", json!({ "routes": entries(6) })),
            ("PATCH", json!({ "changes": puts(5) })),
            ("PATCH", json!({ "changes": puts(6) })),
        ];
        for (method, body) in refusals {
            proxy
                .refused(method, &target, Some(body), (429, "LIMIT_ROUTES"))
                .await;
        }
    }
    assert_eq!(proxy.table().await, before);
    // What makes room in the same list counts.
    let mut changes = puts(5);
    changes.push(json!({ "op": "remove", "host": "*", "prefix": "/a" }));
    changes.remove(0);
    api.ok("PATCH", "/v1/routes", Some(json!({ "changes": changes })))
        .await;
    api.ok("PUT", "/v1/routes", Some(json!({ "routes": entries(5) })))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_names_a_limited_number_of_hosts() {
    let proxy = TestProxy::start(TIGHT).await;
    let body = |hosts: &[&str]| json!({ "prefix": "/", "port": 4001, "reqHostNames": hosts });
    let three = body(&["a.example.com", "b.example.com", "c.example.com"]);
    let response = proxy.register_json(three.to_string()).await;
    let verdict = (429, "LIMIT_HOSTS_PER_REGISTRATION".to_owned());
    assert_eq!(response.verdict(), verdict);
    let message = response.json()["message"].to_string();
    assert!(
        message.contains("`limits.hosts_per_registration`"),
        "{message}"
    );
    let two = body(&["a.example.com", "b.example.com"]);
    assert_eq!(proxy.register_json(two.to_string()).await.status, 200);
    assert_eq!(proxy.look("/v1/status").await["routes"], 2);
    assert_eq!(
        meter(&proxy, "limits.hosts_per_registration").await["refused"],
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_more_than_a_lowered_limit_is_served_and_may_shrink() {
    let mut home = Home::new("");
    let mut proxy = home.start().await;
    for number in 0..4 {
        proxy.register(&format!("/a{number}"), 4001).await;
    }
    proxy.stop().await;
    home.set("port: 0\ncontrol:\n  listen: 127.0.0.1:0\nlimits:\n  routes: 2\n");
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    assert_eq!(api.get("/v1/status").await.unwrap()["routes"], 4);
    let port = Some(json!({ "port": 4002 }));
    proxy
        .refused(
            "PUT",
            "/v1/routes/*/new",
            port.clone(),
            (429, "LIMIT_ROUTES"),
        )
        .await;
    api.put("/v1/routes/*/a0", json!({ "port": 4002 })).await;
    api.delete("/v1/routes/*/a1").await;
    proxy
        .refused("PUT", "/v1/routes/*/new", port, (429, "LIMIT_ROUTES"))
        .await;
}

/// The most that was ever resident, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let size = line.and_then(|line| line.split_whitespace().next());
    size.and_then(|size| size.parse().ok()).expect("VmHWM")
}

/// The body of a registration by its number.
type Body = Box<dyn Fn(usize) -> String>;

/// A loop that registers for ever, as a fault in one app does.
async fn register_for_ever(proxy: &TestProxy, body: impl Fn(usize) -> String) -> String {
    let mut client = Client::connect(proxy.address()).await;
    let end = Instant::now() + Duration::from_mins(2);
    for number in 0.. {
        assert!(
            Instant::now() < end,
            "no limit was met: {number} registrations"
        );
        let response = client.exchange(registration(body(number))).await;
        if response.status == 429 {
            return response.json()["error"]
                .as_str()
                .expect("a code")
                .to_owned();
        }
        assert_eq!(response.status, 200, "{}", response.text());
    }
    unreachable!("the loop has no other end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_registers_for_ever_lives_in_256_mib() {
    let origin = Origin::saying("hello").await;
    let hosts = |number: usize, length: usize| -> Vec<String> {
        let label = "x".repeat(length);
        (0..1000)
            .map(|index| format!("h{number}-{index}.{label}.example.com"))
            .collect()
    };
    // Many short names, one name with many prefixes, and few long ones.
    let short: Body = Box::new(move |number| {
        let body = json!({ "prefix": "/", "port": 4001, "reqHostNames": hosts(number, 4) });
        body.to_string()
    });
    let long: Body = Box::new(move |number| {
        let prefix = format!("/{number}/{}", "x".repeat(1900));
        let body =
            json!({ "prefix": prefix, "port": 4001, "reqHostNames": &hosts(number, 20)[..200] });
        body.to_string()
    });
    let prefixes: Body = Box::new(move |number| {
        let prefix = format!("/p{}", number % 115);
        let body =
            json!({ "prefix": prefix, "port": 4001, "reqHostNames": hosts(number / 115, 4) });
        body.to_string()
    });
    for (body, code) in [
        (short, "LIMIT_HOSTS_PER_OWNER"),
        (prefixes, "LIMIT_ROUTES_PER_OWNER"),
        (long, "LIMIT_ROUTE_MEMORY"),
    ] {
        let proxy = in_256_mib().await;
        proxy.register("/app", origin.port()).await;
        assert_eq!(register_for_ever(&proxy, body).await, code);
        lives(&proxy, code).await;
    }
}

/// Each registration has an owner of its own, and so has each instance of a route.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_registers_for_ever_as_new_owners_lives_in_256_mib() {
    let origin = Origin::saying("hello").await;
    let instance = |number: usize| json!({ "port": 1000, "owner": format!("o{number}") });
    let a_route_each: Changes = Box::new(move |first| {
        let put = |number: usize| {
            let instances = [instance(number)];
            json!({ "op": "put", "host": "*", "prefix": format!("/p{number}"), "instances": instances })
        };
        (first * 500..(first + 1) * 500).map(put).collect()
    });
    let an_instance_each: Changes = Box::new(move |number| {
        let instances = (number * 1000..(number + 1) * 1000).map(|number| {
            let mut one = instance(number);
            one["id"] = format!("i{number}").into();
            one
        });
        let instances: Vec<Value> = instances.collect();
        let prefix = format!("/p{number}");
        vec![json!({ "op": "put", "host": "*", "prefix": prefix, "instances": instances })]
    });
    for changes in [a_route_each, an_instance_each] {
        let proxy = in_256_mib().await;
        proxy.register("/app", origin.port()).await;
        let mut api = Api::of(&proxy).await;
        let end = Instant::now() + Duration::from_mins(2);
        for number in 0.. {
            assert!(Instant::now() < end, "no limit was met");
            let body = json!({ "changes": changes(number) });
            let response = api.call("PATCH", "/v1/routes", Some(body)).await;
            if response.status != 200 {
                assert_eq!(response.status, 429, "{}", response.text());
                assert_eq!(response.json()["code"], "LIMIT_ROUTE_MEMORY");
                break;
            }
        }
        lives(&proxy, "LIMIT_ROUTE_MEMORY").await;
    }
}

/// The changes of a call by its number.
type Changes = Box<dyn Fn(usize) -> Vec<Value>>;

/// A proxy whose data may take 256 MiB.
async fn in_256_mib() -> TestProxy {
    let home = Home::new("log: info,dynamic_reverse_proxy::registry=warn,audit=off\n");
    let mut limited = tokio::process::Command::new("prlimit");
    limited
        .arg("--data=268435456")
        .arg(command().as_std().get_program());
    limited.args(home.command().as_std().get_args());
    TestProxy::spawn(limited, tempfile::tempdir().expect("a folder")).await
}

/// It serves what is at `/app`, the operator gets in, and one limit has refused one change.
async fn lives(proxy: &TestProxy, code: &str) {
    let peak = peak_kib(proxy.pid());
    eprintln!("{code}: {peak} KiB at most");
    assert!(peak < 256 * 1024, "{peak} KiB");
    assert_eq!(get(proxy.address(), "/app").await.status, 200);
    let mut api = Api::of(proxy).await;
    api.delete("/v1/routes/*/app").await;
    let status = api.get("/v1/status").await.expect("a status");
    let refused = status["limits"].as_array().expect("limits").iter();
    let refused: Vec<_> = refused.filter(|limit| limit["refused"] == 1).collect();
    assert_eq!(refused.len(), 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_none_is_no_configuration() {
    for key in [
        "routes",
        "hosts",
        "hosts_per_owner",
        "instances_per_owner",
        "hosts_per_registration",
        "route_memory",
    ] {
        let output = crate::support::run(&["check"], &format!("limits:\n  {key}: 0\n")).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("limits.{key}")), "{text}");
    }
}
