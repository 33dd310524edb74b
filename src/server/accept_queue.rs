//! The accept queues of the listening sockets: connections whose handshake of TCP is done, and that nobody has
//! accepted yet.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;

use log::warn;
use pingora_core::server::{ListenFds, ShutdownWatch};

use crate::front::duplicate;

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`. With more, an
/// overloaded proxy would come to each of them only when its request has become too old to be served, and
/// would serve none. A client whose connection finds no place tries again after a second by itself.
pub(super) const LENGTH: i32 = 1024;

const TOO_LONG: &str =
    "an accept queue is as long as the kernel lets it, which makes overloads worse";

/// The accept queues of a worker's listening sockets.
pub(super) struct AcceptQueues(Vec<OwnedFd>);

impl AcceptQueues {
    /// Those of the sockets that are in Pingora's table by these names.
    pub(super) fn of(table: Option<&ListenFds>, names: &[String]) -> Self {
        let Some(table) = table else {
            return Self(Vec::new());
        };
        let table = table.lock();
        let sockets = names.iter().filter_map(|name| table.get(name));
        let copies: io::Result<_> = sockets.map(|socket| duplicate(*socket)).collect();
        Self(copies.unwrap_or_else(|error| {
            warn!("{TOO_LONG}: {error}");
            Vec::new()
        }))
    }

    /// Runs a service of Pingora's, which makes its queues as long as the kernel lets it (`listen(2)` with
    /// 65,535) when it starts, and keeps them at [`LENGTH`] all the same.
    pub(super) async fn limit(mut self, service: impl Future<Output = ()>, stop: ShutdownWatch) {
        let mut service = pin!(service);
        std::future::poll_fn(|context| {
            let polled = service.as_mut().poll(context);
            if *stop.borrow() {
                // Pingora closes its descriptors: ours would keep the port.
                self.0.clear();
            }
            self.shorten();
            polled
        })
        .await;
    }

    fn shorten(&self) {
        for socket in &self.0 {
            if let Err(error) = rustix::net::listen(socket, LENGTH) {
                warn!("{TOO_LONG}: {error}");
            }
        }
    }
}
