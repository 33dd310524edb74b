//! Stopping: what a signal does, and when the process may end.
//!
//! Pingora's own stop is a fixed sleep. Here SIGTERM and ctrl-C stop the listeners, let what is in
//! flight finish, and end the process as soon as no connection is left, or at the end of the grace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info, warn};
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::front::Connections;

/// Waits for the signal that ends the server.
pub(super) struct Signals {
    pub(super) stop: watch::Sender<bool>,
    pub(super) connections: Arc<Connections>,
    pub(super) grace: Duration,
}

/// What the process has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Stop(&'static str),
    Upgrade,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        match word().await {
            Ok(Word::Upgrade) => {
                info!("SIGQUIT: the listening sockets go to the new process");
                self.exit_when_drained();
                ShutdownSignal::GracefulUpgrade
            }
            Ok(Word::Stop(name)) => {
                self.drain(name).await;
                ShutdownSignal::FastShutdown
            }
            Err(error) => {
                error!("signals cannot be received: {error}; stopping");
                ShutdownSignal::FastShutdown
            }
        }
    }
}

impl Signals {
    /// Stops accepting and waits for what is in flight; a second signal ends the wait.
    async fn drain(&self, name: &str) {
        let open = self.connections.open();
        info!(
            "{name}: stopping; {open} connections open, at most {:?} to finish",
            self.grace
        );
        self.stop.send_replace(true);
        tokio::select! {
            () = self.connections.all_closed() => info!("all connections are closed"),
            () = tokio::time::sleep(self.grace) => {
                warn!("{} connections cut at the end of the grace", self.connections.open());
            }
            again = word() => {
                if let Ok(Word::Stop(name)) = again {
                    warn!("{name} again: {} connections cut", self.connections.open());
                }
            }
        }
    }

    /// After an upgrade Pingora sleeps for the whole grace; the old process ends when it is idle.
    fn exit_when_drained(&self) {
        let mut stop = self.stop.subscribe();
        let connections = Arc::clone(&self.connections);
        tokio::spawn(async move {
            if stop.wait_for(|stop| *stop).await.is_ok() {
                connections.all_closed().await;
                info!("all connections are closed");
                log::logger().flush();
                std::process::exit(0);
            }
        });
    }
}

/// The next signal.
async fn word() -> io::Result<Word> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    Ok(tokio::select! {
        _ = terminate.recv() => Word::Stop("SIGTERM"),
        _ = interrupt.recv() => Word::Stop("SIGINT"),
        _ = quit.recv() => Word::Upgrade,
    })
}
