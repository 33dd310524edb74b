//! The list of routes: filters, pages, and large ones that nobody has to wait for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Client, Origin, TestProxy, answer, api_request, eventually, get, in_time, problem,
};

/// How many routes are many.
const MANY: usize = 20_000;

fn entry(host: &str, prefix: &str, owner: Option<&str>) -> Value {
    json!({"host": host, "prefix": prefix, "instances": [{"port": 4321, "owner": owner}]})
}

fn many() -> Value {
    let routes: Vec<Value> = (0..MANY)
        .map(|number| entry("*", &format!("/r{number:05}"), None))
        .collect();
    json!({ "routes": routes })
}

fn keys(list: &Value) -> Vec<String> {
    let key = |route: &Value| {
        let text = |field: &str| route[field].as_str().unwrap().to_owned();
        text("host") + &text("prefix")
    };
    list["routes"].as_array().unwrap().iter().map(key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose() {
    let proxy = TestProxy::plain().await;
    let empty = proxy.api("GET", "/v1/routes", None).await;
    let document = answer(&empty, 200);
    assert_eq!(
        document,
        json!({"generation": 0, "total": 0, "routes": [], "next": null})
    );
    let set = json!({"routes": [
        entry("*", "/", None),
        entry("*", "/shop", Some("a")),
        entry("*", "/shop/cart", Some("b")),
        entry("*", "/shopping", Some("a")),
        entry("*.example.com", "/shop", Some("b")),
        entry("www.example.com", "/", Some("team / ü")),
        entry("[::1]", "/x%2fy", None),
    ]});
    proxy.write("PUT", "/v1/routes", Some(set), 200).await;
    for (query, expected) in [
        ("", 7),
        ("?host=*", 4),
        ("?host=%2A&prefix=/shop", 2),
        ("?host=*.Example.com", 1),
        ("?host=WWW.example.com", 1),
        ("?host=%5B::0:1%5D", 1),
        ("?host=other.example", 0),
        ("?prefix=/", 7),
        ("?prefix=/SHOP/", 3),
        ("?prefix=shop", 3),
        ("?prefix=/shop/cart", 1),
        ("?prefix=/x%252fy", 1),
        ("?owner=a", 2),
        ("?owner=b&prefix=/shop&host=*", 1),
        ("?owner=team+/+%C3%BC", 1),
        ("?owner=", 0),
        ("?owner=A", 0),
    ] {
        let list = proxy.look(&format!("/v1/routes{query}")).await;
        assert_eq!(list["total"], expected, "{query}");
        assert_eq!(keys(&list).len(), expected, "{query}");
        assert_eq!(list["next"], Value::Null);
    }
    for (query, parameter) in [
        ("host=a*", "host"),
        ("host=", "host"),
        ("prefix=", "prefix"),
        ("prefix=/a%3Fb", "prefix"),
        ("inactive_since=soon", "inactive_since"),
        ("inactive_since=30", "inactive_since"),
        ("inactive_since=", "inactive_since"),
        ("inactive_since=2026-13-01T00:00:00Z", "inactive_since"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=a%20b/x", "cursor"),
        ("owners=a", "owners"),
    ] {
        let target = format!("/v1/routes?{query}");
        let document = proxy
            .refused("GET", &target, None, (400, "INVALID_QUERY"))
            .await;
        assert_eq!(document["parameter"], parameter, "{query}: {document}");
    }
    let twice = "/v1/routes?limit=1&limit=2";
    proxy
        .refused("GET", twice, None, (400, "INVALID_QUERY"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inactive_routes_are_found() {
    let origin = Origin::saying("x").await;
    let proxy = TestProxy::plain().await;
    let instances = json!([{"port": origin.port()}]);
    let set = json!({"routes": [
        {"host": "*", "prefix": "/busy", "instances": instances},
        {"host": "*", "prefix": "/idle", "instances": instances},
    ]});
    proxy.write("PUT", "/v1/routes", Some(set), 200).await;
    for (since, expected) in [
        ("0s", 2),
        ("1h", 0),
        ("1000y", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("2020-01-31T12:00:00.5%2B02:00", 0),
        ("2999-01-31T12:00:00-02:00", 2),
        ("2999-01-31T12:00:00Z", 2),
    ] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let list = proxy
            .look(&format!("/v1/routes?inactive_since={since}"))
            .await;
        assert_eq!(list["total"], expected, "{since}");
    }
    // Later than both were made, one has a request.
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(get(proxy.address(), "/busy").await.status, 200);
    let moment = proxy.look("/v1/routes/*/busy").await["activity"]["last_activity"].clone();
    let since = moment.as_str().unwrap().to_owned();
    let list = proxy
        .look(&format!("/v1/routes?inactive_since={since}"))
        .await;
    assert_eq!(keys(&list), ["*/idle"], "{since}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_route_that_stays() {
    let proxy = TestProxy::start("threads: 2").await;
    let mut routes: Vec<Value> = (0..200)
        .flat_map(|number| {
            ["*", "*.example.com", "a.example.com", "[::1]"]
                .map(|host| entry(host, &format!("/stay{number}"), None))
        })
        .collect();
    routes.push(entry("*", "/", None));
    let set = json!({ "routes": routes });
    proxy.write("PUT", "/v1/routes", Some(set), 200).await;
    let all: BTreeSet<String> = keys(&proxy.look("/v1/routes").await).into_iter().collect();
    assert_eq!(all.len(), 801);
    for limit in [1, 7, 800, 801, 10_000] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        for page in 0.. {
            // The table changes between the pages, before and behind the cursor.
            if limit == 7 {
                let target = format!("/v1/routes/*/go{}", page / 2);
                let (method, body) = if page % 2 == 0 {
                    ("PUT", Some(json!({"port": 1})))
                } else {
                    ("DELETE", None)
                };
                assert!(proxy.api(method, &target, body).await.status < 300);
            }
            if limit == 1 && page == 50 {
                break;
            }
            let target = format!("/v1/routes?limit={limit}{cursor}");
            let list = proxy.look(&target).await;
            assert!(list["total"].as_u64().unwrap() >= 801);
            let keys = keys(&list);
            assert!(!keys.is_empty() && keys.len() <= limit, "{target}");
            seen.extend(keys);
            match list["next"].as_str() {
                None => break,
                Some(next) => {
                    let next = next
                        .replace('%', "%25")
                        .replace('[', "%5B")
                        .replace(']', "%5D");
                    cursor = format!("&cursor={next}");
                }
            }
        }
        let distinct: BTreeSet<String> = seen.iter().cloned().collect();
        assert_eq!(distinct.len(), seen.len(), "a route came twice");
        let staying = seen.iter().filter(|key| all.contains(*key)).count();
        assert_eq!(staying, if limit == 1 { 50 } else { 801 }, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_holds_up_no_writer_and_is_of_one_moment() {
    let proxy = TestProxy::start("threads: 2\nlog: info,audit=off").await;
    let set = proxy.write("PUT", "/v1/routes", Some(many()), 200).await;
    assert_eq!(set["created"], MANY);
    let address = proxy.control().await;
    let mut writer = Client::connect(address).await;
    let mut number = 0;
    let mut write = async || {
        number += 1;
        let body = json!({"port": 1 + number % 60_000});
        let request = api_request("PUT", "/v1/routes/*/r00000", &[], Some(&body));
        let begin = Instant::now();
        assert_eq!(writer.exchange(request).await.status, 200);
        begin.elapsed()
    };
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(write().await);
    }
    let reader = tokio::spawn(async move {
        let mut lists = Vec::new();
        for _ in 0..3 {
            let request = api_request("GET", "/v1/routes", &[], None);
            lists.push(Client::connect(address).await.exchange(request).await);
        }
        lists
    });
    let mut busy = Vec::new();
    while !reader.is_finished() {
        busy.push(write().await);
    }
    for response in in_time("the lists", reader).await.unwrap() {
        let document = answer(&response, 200);
        assert_eq!(
            (&document["total"], keys(&document).len()),
            (&json!(MANY), MANY)
        );
        // Its first route is as the list's generation has it.
        let first = document["routes"][0]["generation"].as_u64().unwrap();
        assert_eq!(Some(first), document["generation"].as_u64());
    }
    idle.sort();
    busy.sort();
    assert!(busy.len() > 20, "{}", busy.len());
    let (idle, busy) = (idle[idle.len() / 2], busy[busy.len() / 2]);
    // A list takes hundreds of milliseconds here; a writer that waited for one would take as long.
    let most = (idle * 20).max(Duration::from_millis(50));
    assert!(busy < most, "{busy:?} beside lists, {idle:?} without");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_holds_nobody_up() {
    let proxy = TestProxy::start("log: info,audit=off").await;
    proxy.write("PUT", "/v1/routes", Some(many()), 200).await;
    let before = proxy.resident_kib();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = Client::connect(proxy.control().await).await;
        reader
            .send(api_request("GET", "/v1/routes", &[], None))
            .await;
        readers.push(reader);
    }
    for reader in &mut readers {
        assert_eq!(reader.response_head().await.expect("a head").status, 200);
    }
    for number in 0..50 {
        let target = format!("/v1/routes/*/x{number}");
        let begin = Instant::now();
        proxy
            .write("PUT", &target, Some(json!({"port": 1})), 201)
            .await;
        proxy.look(&target).await;
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
    }
    // What is not read is not written either: a whole list has some ten megabytes.
    let more = proxy.resident_kib().saturating_sub(before);
    assert!(more < 100_000, "{more} KiB");
    drop(readers);
    eventually("the connections are closed", async || {
        proxy.open_files() < 60
    })
    .await;
    problem(
        &proxy.api("GET", "/v1/routes/*/none", None).await,
        (404, "NO_SUCH_ROUTE"),
    );
}
