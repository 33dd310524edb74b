//! The traffic service: Pingora's listening service with our sockets and our stop signal.

use std::os::fd::{IntoRawFd, OwnedFd};

use async_trait::async_trait;
use log::{debug, error};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;
use pingora_core::services::{Service as Serve, ServiceReadyNotifier, ServiceWithDependents};
use pingora_proxy::HttpProxy;
use tokio::sync::watch;

use super::listener::BoundListener;
use crate::control::Bridge;
use crate::front::Front;
use crate::proxy::Gateway;

/// The service that Pingora runs behind the traffic listener: the front, with the proxy and the
/// registration service behind it.
pub type TrafficService = Service<Front<HttpProxy<Gateway>, Bridge>>;

/// The traffic service of a stand-alone server.
pub(super) struct BoundTraffic {
    pub(super) service: TrafficService,
    pub(super) listeners: Vec<(String, OwnedFd)>,
    /// Becomes true when the server is to stop.
    pub(super) stop: watch::Sender<bool>,
    /// Called once, when connections are accepted.
    pub(super) on_started: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl BoundTraffic {
    /// Adds a socket that is listening already.
    pub(super) fn listen(&mut self, listener: BoundListener) {
        let name = listener.address.to_string();
        self.listeners.push((name, listener.socket));
    }

    /// Leaves the sockets in the table where Pingora looks for those of an earlier process.
    fn hand_over(&mut self, table: Option<&ListenFds>) {
        let Some(table) = table else {
            error!("Pingora has no table of sockets; it binds its own");
            return;
        };
        let mut table = table.lock();
        for (name, socket) in self.listeners.drain(..) {
            if table.get(&name).is_none() {
                table.add(name, socket.into_raw_fd());
            }
        }
    }
}

#[async_trait]
impl ServiceWithDependents for BoundTraffic {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        self.hand_over(fds.as_ref());
        if let Some(on_started) = self.on_started.take() {
            on_started();
        }
        ready.notify_ready();
        tokio::spawn(pass_on(shutdown, self.stop.clone()));
        let stop = self.stop.subscribe();
        Serve::start_service(&mut self.service, fds, stop, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Serve::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        Serve::threads(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Serve::listen_addresses(&self.service)
    }
}

/// Stops the service when Pingora says so itself: after it gave its sockets to a new process.
async fn pass_on(mut shutdown: ShutdownWatch, stop: watch::Sender<bool>) {
    match shutdown.wait_for(|stop| *stop).await {
        Ok(_) => drop(stop.send_replace(true)),
        Err(error) => debug!("Pingora's shutdown watch is gone: {error}"),
    }
}
