//! The load: what asks, and how often.
//!
//! A [`Slot`] asks one thing after another. Many of them make a closed load, where each asks again as
//! soon as it has its answer, or an open one, where requests arrive at a fixed rate and take whichever
//! slot is free.

pub(crate) mod change;
pub(crate) mod closed;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod open;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::future::Future;

use crate::{Result, routes};

/// Something that can ask, once at a time.
pub(crate) trait Slot: Send + 'static {
    /// Asks, and checks the answer: an error if it is not the right one.
    fn ask(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Keeps the load's thread from sleeping until it is dropped.
///
/// Over loopback, who writes to a client or an origin that sleeps pays for waking it, on another core at
/// that: no network makes a proxy pay for that. And a slow proxy would pay more often than a fast one,
/// since its clients sleep more. So load and origin are one thread, which asks the kernel what is new
/// again and again.
pub(crate) struct Awake(tokio::task::JoinHandle<()>);

pub(crate) fn awake() -> Awake {
    Awake(tokio::spawn(async {
        loop {
            // The runtime looks at its sockets before it goes on here.
            tokio::task::yield_now().await;
        }
    }))
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How many routes are asked for, at most.
const ASKED: usize = 100;

/// A path below one of so many routes: at random among some that lie evenly among all, as most requests
/// are for few of the routes that there are.
fn path(routes: usize) -> String {
    let asked = routes.clamp(1, ASKED);
    routes::path(fastrand::usize(0..asked) * (routes / asked))
}

/// Does this, which is an error if it takes too long.
pub(crate) async fn patience<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(stream::PATIENCE, work)
        .await
        .map_err(|_late| "no answer in 20 s")?
}

/// One thread: the load has one core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
