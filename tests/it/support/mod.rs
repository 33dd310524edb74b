//! The harness: a proxy as a process ([`TestProxy`]), scripted origins ([`Origin`]) and a raw HTTP/1
//! client ([`Client`]). Everything that waits has a deadline; nothing sleeps for luck.

mod api;
mod app;
pub(crate) mod authority;
pub(crate) mod cli;
mod client;
mod closed_port;
mod embedded;
pub(crate) mod engine;
mod guarded;
mod habits;
pub(crate) mod http2;
mod life;
mod origin;
pub(crate) mod pebble;
mod process;
mod proxy;
pub(crate) mod tls;
mod websocket;
mod wire;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use api::{answer, etag, generation, problem};
pub(crate) use app::App;
pub(crate) use client::{Client, Response, api_request, get, over_unix, request};
pub(crate) use closed_port::{ClosedPort, DeafPort};
pub(crate) use embedded::{Embedded, service_on};
pub(crate) use guarded::Guarded;
pub(crate) use habits::{ReservedPort, pattern, targets};
pub(crate) use life::{Api, Home, Reader, Told};
pub(crate) use origin::{Origin, OriginConnection, Visitors};
pub(crate) use proxy::{Ended, TestProxy, command, output_of, registration, run};
pub(crate) use websocket::{HANDSHAKE, SWITCH, Socket, switched};
pub(crate) use wire::{Request, Wire};

/// How long anything may take before its test fails: long, since the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `probe` says yes; what is waited for is named in the failure.
pub(crate) async fn eventually(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !probe().await {
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The result of a future, which has [`DEADLINE`] to come.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(DEADLINE, future).await;
    result.unwrap_or_else(|elapsed| panic!("{what}: not within {DEADLINE:?}: {elapsed}"))
}
