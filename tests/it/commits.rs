//! Changes that come at once share a commit, and stand or fall with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dynamic_reverse_proxy::registry::store::{Meta, Store, StoreError, Stored, Write};
use dynamic_reverse_proxy::registry::{Registration, Registry, Rules};

use crate::support::eventually;

const CLIENTS: usize = 32;
const EACH: usize = 10;

/// A disk that takes its time, and counts.
#[derive(Debug, Default)]
struct Slow {
    commits: AtomicUsize,
    writes: AtomicUsize,
    is_full: AtomicBool,
}

#[derive(Debug)]
struct Handle(Arc<Slow>);

impl Store for Handle {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored::default())
    }

    fn commit(&mut self, writes: &[Write], _meta: Meta) -> Result<(), StoreError> {
        thread::sleep(Duration::from_millis(20));
        self.0.commits.fetch_add(1, Ordering::SeqCst);
        if self.0.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full {
                path: "disk".into(),
                reason: "no room".into(),
            });
        }
        self.0.writes.fetch_add(writes.len(), Ordering::SeqCst);
        Ok(())
    }

    fn name(&self) -> &'static str {
        "slow"
    }
}

fn open() -> (Arc<Registry>, Arc<Slow>) {
    let slow = Arc::<Slow>::default();
    let registry = Registry::open(Rules::default(), Box::new(Handle(Arc::clone(&slow))));
    (Arc::new(registry.expect("an empty store")), slow)
}

/// Registers from many clients at once, each one after the other; how many were made.
async fn register(registry: &Arc<Registry>) -> usize {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let registry = Arc::clone(registry);
            tokio::spawn(async move {
                let mut made = 0;
                for number in 0..EACH {
                    let prefix = format!("/{client}/{number}");
                    let registration = Registration::new(&prefix, 4001).expect("a registration");
                    if registry.register(registration).await.is_ok() {
                        made += 1;
                        assert!(
                            registry.lookup("", &prefix).is_some(),
                            "applied, then answered"
                        );
                    }
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for client in clients {
        made += client.await.expect("a client");
    }
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_a_commit() {
    let (registry, slow) = open();
    assert_eq!(register(&registry).await, CLIENTS * EACH);
    assert_eq!(slow.writes.load(Ordering::SeqCst), CLIENTS * EACH);
    // Ten rounds are the best there is; one for each would be the worst.
    let commits = slow.commits.load(Ordering::SeqCst);
    assert!(commits <= 4 * EACH, "{commits} commits");
    assert_eq!(registry.generation().0, (CLIENTS * EACH) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_commit_none_is_made() {
    let (registry, slow) = open();
    let first = Registration::new("/first", 4001).expect("a registration");
    registry.register(first).await.expect("room");
    slow.is_full.store(true, Ordering::SeqCst);
    assert_eq!(register(&registry).await, 0);
    assert_eq!(registry.generation().0, 1);
    assert_eq!(registry.routes().len(), 1);
    slow.is_full.store(false, Ordering::SeqCst);
    assert_eq!(register(&registry).await, CLIENTS * EACH);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_renewed_goes_on_though_it_cannot_be_kept() {
    let (registry, slow) = open();
    let leased = || {
        let registration = Registration::new("/leased", 4001).expect("a registration");
        let leased = registration.with_ttl(Duration::from_secs(1));
        leased.expect("a lease")
    };
    registry.register(leased()).await.expect("room");
    slow.is_full.store(true, Ordering::SeqCst);
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        registry.register(leased()).await.expect_err("no room");
        assert!(registry.lookup("", "/leased").is_some());
    }
    // A change of something else does not renew what it would have kept.
    let both = leased().for_request_hosts(&["a.example", "b.example"]);
    let both = both.expect("two hosts");
    slow.is_full.store(false, Ordering::SeqCst);
    let one = leased().for_request_hosts(&["a.example"]);
    registry.register(one.expect("a host")).await.expect("room");
    slow.is_full.store(true, Ordering::SeqCst);
    eventually("it ends in its time", async || {
        registry.register(both.clone()).await.expect_err("no room");
        registry.lookup("a.example", "/leased").is_none()
    })
    .await;
}
