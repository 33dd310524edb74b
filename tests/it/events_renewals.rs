//! Renewals of leases that change nothing else: told to those who ask for them.

use serde_json::json;

use crate::support::{Api, Reader, TestProxy};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_renewals_is_told_of_them() {
    let proxy = TestProxy::plain().await;
    let mut api = Api::of(&proxy).await;
    let mut plain = Reader::of(&proxy).await;
    let mut asking = Reader::of_renewals(&proxy).await;
    let target = "/v1/routes/*/put";
    let leased = json!({ "port": 4001, "ttl": "1h" });
    let registration = json!({ "prefix": "/app", "port": 4002, "ttl": "1h" }).to_string();
    api.put(target, leased.clone()).await;
    proxy.register_json(&registration).await;
    for reader in [&mut plain, &mut asking] {
        reader
            .expect_all(&["route_created", "route_created", "route_registered"])
            .await;
    }
    for _ in 0..3 {
        api.put(target, leased.clone()).await;
        let told = asking.expect("lease_renewed").await;
        let instance = json!({ "id": "default", "host": "localhost", "port": 4001, "unix": null,
                               "owner": null, "ttl": "1h" });
        assert_eq!(told.data["prefix"], "/put");
        assert_eq!(told.data["instance"], instance);
        // It has no id: whoever comes back does so with that of an event.
        assert_eq!(told.id, "");
        proxy.register_json(&registration).await;
        assert_eq!(asking.expect("lease_renewed").await.data["prefix"], "/app");
    }
    // What only would be done is none, nor is what has no lease.
    api.put(&format!("{target}?dry_run=true"), leased).await;
    api.put("/v1/routes/*/bare", json!({ "port": 4003 })).await;
    api.put("/v1/routes/*/bare", json!({ "port": 4003 })).await;
    let created = asking.expect("route_created").await;
    // Nobody else has heard of any, and they have taken no numbers.
    assert_eq!(plain.expect("route_created").await.id, created.id);
    assert_eq!(created.number(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_not_known_is_refused() {
    let proxy = TestProxy::plain().await;
    for query in ["renewal=true", "renewals=yes", "renewals="] {
        let target = format!("/v1/events?{query}");
        proxy
            .refused("GET", &target, None, (400, "INVALID_QUERY"))
            .await;
    }
    let mut reader = Reader::of(&proxy).await;
    proxy.register("/a", 4001).await;
    reader.expect("route_created").await;
}
