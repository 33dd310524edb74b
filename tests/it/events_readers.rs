//! Readers of events: slow ones, many, and those that are there when the proxy stops.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Api, Origin, Reader, TestProxy};

/// How many events the proxy keeps for those that come back.
const KEPT: u64 = 8192;

/// The changes of a list, at most as many as have an event each.
const BATCH: usize = 200;

/// Replaces so many routes with long names.
async fn replace(api: &mut Api, port: u16) {
    let long = "x".repeat(400);
    let change = |n: usize| {
        json!({ "op": "put", "host": "*", "prefix": format!("/{n}/{long}"),
                "instances": [{ "port": port }] })
    };
    let changes: Vec<_> = (0..BATCH).map(change).collect();
    api.ok("PATCH", "/v1/routes", Some(json!({ "changes": changes })))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_read_slows_nobody_and_is_told_what_it_missed() {
    let origin = Origin::saying("app").await;
    let quiet = "log: warn,audit=off,dynamic_reverse_proxy::server=info";
    let proxy = TestProxy::start(quiet).await;
    let mut api = Api::of(&proxy).await;
    let mut hanging = Reader::hanging(&proxy).await;
    hanging.wake().await;
    let mut client = proxy.client().await;
    proxy.register("/app", origin.port()).await;
    // Once every event that is kept has been another before, the memory stays as it is.
    let rounds = usize::try_from(KEPT).unwrap() / BATCH + 10;
    for round in 0..rounds {
        replace(&mut api, 4000 + u16::try_from(round % 2).unwrap()).await;
    }
    let (before, begin) = (proxy.resident_kib(), Instant::now());
    for round in 0..rounds {
        replace(&mut api, 4000 + u16::try_from(round % 2).unwrap()).await;
        let asked = Instant::now();
        assert_eq!(client.get("/app").await.text(), "app");
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    let after = proxy.resident_kib();
    assert!(after < before + 16 * 1024, "{before} KiB, {after} KiB");
    let took = begin.elapsed();
    let mut watching = Reader::of(&proxy).await;
    // The end, which the one that hung comes to as well.
    api.put("/v1/routes/*/end", json!({ "port": 4000 })).await;
    let end = watching.expect("route_created").await;
    let (mut last, mut count, mut missed) = (0, 0, 0);
    loop {
        let told = hanging.next().await;
        // A `missed` stands where the first one was that is there again.
        assert!(
            told.number() > last,
            "{} after {last}: {told:?}",
            told.number()
        );
        if told.name == "missed" {
            let number = told.data["missed"].as_u64().expect("a number");
            assert_eq!(told.number(), last + number, "{told:?}");
            missed += number;
        } else {
            assert_eq!(told.number(), last + 1, "{told:?}");
            count += 1;
        }
        last = told.number();
        if told.id == end.id {
            break;
        }
    }
    assert!(missed > 0, "nothing was missed, in {took:?}");
    assert_eq!(count + missed, end.number());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_read_the_same() {
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(Reader::of(&proxy).await);
    }
    for n in 0..20 {
        api.put(&format!("/v1/routes/*/{n}"), json!({ "port": 4001 }))
            .await;
    }
    let mut seen: Option<Vec<(String, Value)>> = None;
    for reader in &mut readers {
        let mut all = Vec::new();
        for n in 0..20 {
            let told = reader.expect("route_created").await;
            assert_eq!(told.data["prefix"], format!("/{n}"));
            all.push((told.id, told.data));
        }
        assert!(seen.as_ref().is_none_or(|seen| *seen == all));
        seen = Some(all);
    }
    let files = proxy.open_files();
    drop(readers);
    // Whoever goes is noticed at the next event or heartbeat, if not before.
    api.put(ROUTE_OF_NEWS, json!({ "port": 4001 })).await;
    proxy.is_back_at(files - 190).await;
}

const ROUTE_OF_NEWS: &str = "/v1/routes/*/news";

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hears_nothing_is_shown_that_the_connection_lives() {
    let proxy = TestProxy::plain().await;
    let mut reader = Reader::of(&proxy).await;
    let begin = Instant::now();
    let comment = reader.comment().await;
    assert_eq!(comment, ":\n\n");
    let took = begin.elapsed();
    assert!(
        took > Duration::from_secs(14) && took < Duration::from_secs(18),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_hold_up_a_stop() {
    for hanging in [false, true] {
        let mut proxy = TestProxy::plain().await;
        let mut readers = Vec::new();
        for _ in 0..3 {
            readers.push(if hanging {
                Reader::hanging(&proxy).await
            } else {
                Reader::of(&proxy).await
            });
        }
        let mut api = Api::of(&proxy).await;
        for round in 0..if hanging { 40 } else { 1 } {
            replace(&mut api, 4000 + round).await;
        }
        let ended = proxy.stop().await;
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.after < Duration::from_secs(2), "{hanging}: {ended:?}");
        if !hanging {
            for mut reader in readers {
                reader.ends().await;
            }
        }
    }
}
