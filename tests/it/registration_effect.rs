//! Applied before answered: once a registration is answered, every later request sees it, on every
//! thread and under any load, and nobody else's request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Client, Origin, TestProxy, eventually, get, registration};

#[tokio::test(flavor = "multi_thread")]
async fn every_request_after_the_answer_sees_the_new_target() {
    let origins = [Origin::saying("a").await, Origin::saying("b").await];
    let proxy = TestProxy::start("threads: 4").await;
    let mut app = proxy.client().await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..16 {
        clients.push(proxy.client().await);
    }
    for round in 0..100 {
        let (name, origin) = if round % 2 == 0 {
            ("a", &origins[0])
        } else {
            ("b", &origins[1])
        };
        let body = json!({"prefix": "/", "port": origin.port()}).to_string();
        assert_eq!(app.exchange(registration(body)).await.status, 200);
        // All are sent before any answer is read, so that every thread is asked.
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        }
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                client.response().await.text(),
                name,
                "round {round}, client {index}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_is_taken_while_every_worker_waits_for_slow_apps() {
    let slow = Origin::silent().await;
    let app = Origin::saying("app").await;
    let proxy = TestProxy::start("threads: 1").await;
    proxy.register("/slow", slow.port()).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut client = proxy.client().await;
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        waiting.push(client);
    }
    eventually("200 requests at the slow app", async || {
        slow.requests().len() == 200
    })
    .await;
    let begin = Instant::now();
    proxy.register("/app", app.port()).await;
    assert_eq!(get(proxy.address(), "/app").await.text(), "app");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_registers_while_it_answers_a_request() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = TestProxy::start("threads: 1").await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    proxy.register("/later", origin.port()).await;
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_under_heavy_traffic_are_applied_and_disturb_nobody() {
    let busy = Origin::saying("busy").await;
    let app = Origin::saying("app").await;
    let proxy = Arc::new(TestProxy::start("threads: 2").await);
    proxy.register("/busy", busy.port()).await;
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut traffic = Vec::new();
    for _ in 0..8 {
        let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
        let mut client = proxy.client().await;
        traffic.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(client.get("/busy").await.text(), "busy");
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    eventually("traffic", async || count.load(Ordering::Relaxed) > 100).await;
    let mut connection = proxy.client().await;
    for number in 0..200 {
        let body = json!({"prefix": format!("/app/{number}"), "port": app.port()}).to_string();
        assert_eq!(connection.exchange(registration(body)).await.status, 200);
        let response = connection.get(&format!("/app/{number}/x")).await;
        assert_eq!(response.text(), "app", "{number}");
    }
    stop.store(true, Ordering::Relaxed);
    for client in traffic {
        client.await.expect("no request failed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_progress_outlives_its_route() {
    let (old, mut visitors) = Origin::by_hand().await;
    let new = Origin::saying("new").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", old.port()).await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;
    visit.begin_chunks().await;
    visit.send_chunk("one").await;
    assert_eq!(client.response_head().await.expect("an answer").status, 200);
    assert_eq!(client.chunk().await.expect("a chunk"), b"one");
    proxy.register("/", new.port()).await;
    assert_eq!(get(proxy.address(), "/").await.text(), "new");
    visit.send_chunk("two").await;
    assert_eq!(client.chunk().await.expect("a chunk"), b"two");
    visit.send_chunk("").await;
    assert_eq!(client.chunk().await.expect("the last chunk"), b"");
    assert_eq!(client.get("/").await.text(), "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_a_replaced_target_are_not_used_again() {
    // The same port, another app: a new registration must not meet the old connections.
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client.get("/").await;
    }
    assert_eq!(origin.accepted(), 1);
    proxy.register("/", origin.port()).await;
    client.get("/").await;
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_registrations_do_not_leak() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let mut app = proxy.client().await;
    let body = json!({"prefix": "/a", "port": origin.port()}).to_string();
    for _ in 0..500 {
        assert_eq!(app.exchange(registration(&body)).await.status, 200);
    }
    let (files, memory) = (proxy.open_files(), proxy.resident_kib());
    for _ in 0..3000 {
        assert_eq!(app.exchange(registration(&body)).await.status, 200);
    }
    assert_eq!(proxy.open_files(), files);
    let grown = proxy.resident_kib().saturating_sub(memory);
    assert!(
        grown < 8 * 1024,
        "{grown} KiB more after 3000 registrations of one key"
    );
}
