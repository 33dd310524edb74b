//! Stopping: what a signal does, and when the process may end.
//!
//! Pingora's own stop is a fixed sleep. Here SIGTERM and ctrl-C refuse readiness probes, then stop the
//! listeners, let what is in flight finish, and end the process as soon as no connection is left, or at
//! the end of the grace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::{ExecutionPhase, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, watch};

use super::dynamic_proxy::DynamicProxy;
use super::service::SocketFiles;
use crate::front::{CLOSE_TIMEOUT, Connections};
use crate::health::Phase;

/// Waits for the signal that ends the server.
pub(super) struct Signals {
    pub(super) stop: watch::Sender<bool>,
    pub(super) connections: Arc<Connections>,
    /// How long new connections are still accepted once readiness probes are refused.
    pub(super) lame_duck: Duration,
    pub(super) grace: Duration,
    /// Go away with the listeners; after an upgrade they are the new process's.
    pub(super) files: SocketFiles,
    /// Whose store is given up at the end.
    pub(super) proxy: DynamicProxy,
    /// How long what is in flight may go on after an upgrade.
    pub(super) upgrade_grace: Duration,
    /// The phases of Pingora.
    pub(super) phases: broadcast::Receiver<ExecutionPhase>,
}

/// The command that a signal gives to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Stop(&'static str),
    Upgrade,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut words = match Words::new() {
            Ok(words) => words,
            Err(error) => {
                error!("signals cannot be received: {error}; stopping");
                return ShutdownSignal::FastShutdown;
            }
        };
        self.proxy.start();
        super::memory::give_back();
        let health = self.proxy.health();
        health.part_started();
        let word = words.next().await;
        health.set(Phase::Stopping);
        match word {
            Word::Upgrade => {
                info!("SIGQUIT: the listening sockets go to the new process");
                // The new process opens it once it has the sockets.
                self.proxy.close();
                self.stop_when_given();
                self.exit_when_drained();
                ShutdownSignal::GracefulUpgrade
            }
            Word::Stop(name) => {
                self.wait_as_lame_duck(name, &mut words).await;
                self.drain(name, &mut words).await;
                self.proxy.close();
                ShutdownSignal::FastShutdown
            }
        }
    }
}

impl Signals {
    /// Goes on as before while load balancers learn from their readiness probes that no new connections
    /// should come here; a second signal ends that.
    async fn wait_as_lame_duck(&self, name: &str, words: &mut Words) {
        let time = self.lame_duck;
        if time.is_zero() {
            return;
        }
        info!("{name}: not ready any more; the listeners close in {time:?} (lame_duck)");
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            again = words.next() => info!("{}: the listeners close at once", again.signal()),
        }
    }

    /// Stops accepting and waits for what is in flight; a second signal ends the wait.
    async fn drain(&self, name: &str, words: &mut Words) {
        let open = self.connections.open();
        info!(
            "{name}: stopping; {open} connections open, at most {:?} to finish",
            self.grace
        );
        // Before the listeners close: another process may want the path at once.
        for file in self.files.lock().drain(..) {
            file.remove();
        }
        self.stop.send_replace(true);
        tokio::select! {
            () = self.connections.all_closed() => info!("all connections are closed"),
            () = cut_after(self.grace, &self.connections) => {}
            again = words.next() => {
                let name = again.signal();
                warn!("{name}: {} connections cut", self.connections.open());
            }
        }
    }

    /// Stops accepting once the new process has the sockets, where connections wait until it is ready.
    /// Pingora itself would go on for 5 s, with the routes as they were: whoever registers at the new
    /// process would not find the app here.
    fn stop_when_given(&self) {
        let (mut phases, stop) = (self.phases.resubscribe(), self.stop.clone());
        tokio::spawn(async move {
            while let Ok(phase) = phases.recv().await {
                if matches!(phase, ExecutionPhase::GracefulUpgradeCloseTimeout) {
                    stop.send_replace(true);
                    return;
                }
            }
        });
    }

    /// After an upgrade Pingora sleeps for the whole grace; the old process ends when it is idle.
    fn exit_when_drained(&self) {
        let mut stop = self.stop.subscribe();
        let connections = Arc::clone(&self.connections);
        let grace = self.upgrade_grace;
        tokio::spawn(async move {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                tokio::select! {
                    () = connections.all_closed() => info!("all connections are closed"),
                    () = cut_after(grace, &connections) => {}
                }
                log::logger().flush();
                std::process::exit(0);
            }
        });
    }
}

/// Ends what is in flight at the end of the grace, and gives it a moment to say so: a WebSocket
/// with a Close frame, a request without an answer with one of the proxy's own.
async fn cut_after(grace: Duration, connections: &Connections) {
    tokio::time::sleep(grace).await;
    let open = connections.open();
    let cut = connections.cut_all();
    warn!("{open} connections cut at the end of the grace, {cut} with something in flight");
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, connections.all_closed()).await;
    if closed.is_err() {
        warn!("{} of them did not end by themselves", connections.open());
    }
}

impl Word {
    fn signal(self) -> &'static str {
        match self {
            Self::Stop(name) => name,
            Self::Upgrade => "SIGQUIT",
        }
    }
}

/// Lets a write beyond the largest size of a file (`RLIMIT_FSIZE`) fail like others. SIGXFSZ would end the
/// process: it is taken, and nothing follows from it.
pub(super) fn outlive_file_limits() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    // What takes the signal stays for as long as the process, whatever becomes of the runtime.
    runtime.block_on(async { signal(SignalKind::from_raw(nix::libc::SIGXFSZ)).map(drop) })
}

/// The signals as they come. One that comes while nobody asks for the next is kept.
struct Words {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Words {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Word::Stop("SIGINT"),
            _ = self.quit.recv() => Word::Upgrade,
        }
    }
}
