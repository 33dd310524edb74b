//! The services: Pingora's listening service with our sockets and our stop signal.

use std::error::Error;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use log::{debug, error, info};
use parking_lot::Mutex;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::{Fds, ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;
use pingora_core::services::{Service as Serve, ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::watch;

use super::accept_queue::AcceptQueues;
use super::control_listener::{self, ControlListeners};
use super::listener::BindError;
use super::unix_socket::SocketFile;
use crate::config::ControlListen;
use crate::control::Bridge;
use crate::front::{ControlOnly, Front};
use crate::health::Health;
use crate::proxy::Proxy;

/// A worker of the traffic.
pub(super) type TrafficWorker = Worker<Entrance>;

/// The front of a worker, which other workers know as well.
pub(super) struct Entrance(pub(super) Arc<Front<Proxy, Bridge>>);

#[async_trait]
impl ServerApp for Entrance {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.0.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.0.cleanup().await;
    }
}

/// The worker of the control API.
pub(super) type ControlWorker = Worker<Front<ControlOnly, Bridge>>;

/// One worker of a stand-alone server: a service on its own thread. The traffic's have their own
/// pools of upstream connections, and accept from sockets that they share; the control API has one.
///
/// A Pingora service with several threads accepts a connection on one and serves it on another,
/// and takes idle upstream connections from a third (about one in six is then lost to a race:
/// "failed to acquire reusable stream"). Workers share nothing but the routes.
pub(super) struct Worker<A> {
    pub(super) service: Service<A>,
    pub(super) sockets: Sockets,
    /// Becomes true when the server is to stop.
    pub(super) stop: watch::Sender<bool>,
    /// Is told when connections are accepted.
    pub(super) health: Arc<Health>,
    /// Run once, when connections are accepted.
    pub(super) on_started: Option<Started>,
    /// Called once in the worker's runtime, before connections are accepted.
    pub(super) settle: Option<Settle>,
}

/// Makes a worker known to the others; it is told when the server stops.
pub(super) type Settle = Box<dyn FnOnce(ShutdownWatch) + Send + Sync>;

/// The work that is left to do when the first worker accepts connections.
pub(super) type Started = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Where a worker's listening sockets come from, by address.
pub(super) enum Sockets {
    /// The worker whose sockets Pingora knows: they go to the next process at an upgrade. Empty
    /// when they have come from the process before.
    Known(Vec<(String, OwnedFd)>),
    /// Copies of them.
    Copies(Vec<(String, OwnedFd)>),
    /// Copies, to be made of those that have come from the process before.
    CopiesOfKnown,
    /// Those of the control API, or of registrations, that have come from the process before; what that one
    /// did not have is bound now.
    Inherited(ControlListeners, SocketFiles),
    /// None are left: the service has been started.
    Taken,
}

/// The files of Unix sockets, which go away at an orderly stop.
pub(super) type SocketFiles = Arc<Mutex<Vec<SocketFile>>>;

impl Sockets {
    /// The table in which Pingora's listeners look for their sockets.
    fn table(
        self,
        known: Option<ListenFds>,
        names: &[String],
    ) -> Result<Option<ListenFds>, Box<dyn Error>> {
        match self {
            Self::Known(sockets) => {
                if let Some(table) = &known {
                    fill(&mut table.lock(), sockets);
                }
                Ok(known)
            }
            Self::Copies(sockets) => Ok(Some(private(sockets))),
            Self::CopiesOfKnown => {
                let table = known.map(|table| copies(&table.lock(), names));
                Ok(table.transpose()?)
            }
            Self::Inherited(wanted, files) => {
                if let Some(table) = &known {
                    inherit(&mut table.lock(), &wanted, &files)?;
                }
                Ok(known)
            }
            Self::Taken => Err("it was started before".into()),
        }
    }
}

fn fill(table: &mut Fds, sockets: Vec<(String, OwnedFd)>) {
    for (name, socket) in sockets {
        table.add(name, socket.into_raw_fd());
    }
}

/// Takes the control listeners that came from the process before, and binds what is missing.
fn inherit(
    table: &mut Fds,
    wanted: &ControlListeners,
    files: &SocketFiles,
) -> Result<(), BindError> {
    for listen in &wanted.listen {
        let name = control_listener::name(listen);
        let mut shown = control_listener::shown(listen);
        if table.get(&name).is_none() {
            let bound = wanted.bind_one(listen)?;
            shown = bound.shown;
            table.add(name, bound.socket.into_raw_fd());
        }
        if let ControlListen::Unix(path) = listen {
            files.lock().push(SocketFile::at(path));
        }
        info!("{} on {shown}", wanted.title());
    }
    Ok(())
}

fn private(sockets: Vec<(String, OwnedFd)>) -> ListenFds {
    let mut table = Fds::new();
    fill(&mut table, sockets);
    Arc::new(Mutex::new(table))
}

fn copies(known: &Fds, names: &[String]) -> std::io::Result<ListenFds> {
    let mut table = Fds::new();
    for name in names {
        if let Some(socket) = known.get(name) {
            table.add(name.clone(), nix::unistd::dup(*socket)?);
        }
    }
    Ok(Arc::new(Mutex::new(table)))
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServiceWithDependents for Worker<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let sockets = std::mem::replace(&mut self.sockets, Sockets::Taken);
        let names = self.listen_addresses().unwrap_or_default();
        let table = match sockets.table(fds, &names) {
            Ok(table) => table,
            Err(error) => {
                let name = Serve::name(&self.service);
                error!("{name}: a worker has no listening sockets and is not started: {error}");
                return;
            }
        };
        if let Some(on_started) = self.on_started.take() {
            tokio::spawn(on_started);
        }
        ready.notify_ready();
        tokio::spawn(pass_on(shutdown, self.stop.clone()));
        // Pingora asks for the stop with each request, by a lock: each worker has one of its own.
        let own = watch::Sender::new(false);
        let stop = own.subscribe();
        tokio::spawn(pass_on(self.stop.subscribe(), own));
        if let Some(settle) = self.settle.take() {
            settle(stop.clone());
        }
        self.health.part_started();
        let queues = AcceptQueues::of(table.as_ref(), &names);
        let served = Serve::start_service(&mut self.service, table, stop.clone(), listeners_per_fd);
        queues.limit(served, stop).await;
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

/// Passes a stop on: to all workers what Pingora says itself, after it gave its sockets to a new
/// process; and to one worker what all are told.
async fn pass_on(mut from: watch::Receiver<bool>, to: watch::Sender<bool>) {
    match from.wait_for(|stop| *stop).await {
        Ok(_) => drop(to.send_replace(true)),
        Err(error) => debug!("nobody is left who could stop a service: {error}"),
    }
}
