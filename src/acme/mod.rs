//! Certificates from a certificate authority, by ACME (RFC 8555): ordered, proven, taken, renewed.
//!
//! [`Acme`] has one thread of its own with a small runtime; no request waits for it, and the start does
//! not. Every second it looks at what is wanted and what there is, and orders what is missing or due:
//!
//! ```text
//! wanted    the hosts of the configuration, and of routes that match its list
//!   -> files    what the state directory has; another process may have put it there
//!   -> lock     who orders: one process at a time
//!   -> account  of this directory URL; made once
//!   -> order    challenge by HTTP-01 (`Answers`) or TLS-ALPN-01 (`Certificates`), finalize
//!   -> files, Certificates
//! ```
//!
//! A certificate is for one host and is renewed when the authority suggests it (ARI, RFC 9773), or at
//! about two thirds of its lifetime. What fails is tried again later and later; the state directory
//! knows when, so that neither a restart nor another process hurries.

mod account;
mod answers;
mod backoff;
mod check;
mod client;
mod context;
mod desired_hosts;
mod failure;
mod files;
mod host;
mod manager;
mod names;
mod options;
mod order;
mod queue;
mod renewal;
mod supervise;
mod time;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use log::error;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use answers::Answers;
use context::Context;
use manager::Manager;
pub use options::{Binding, Challenge, Options};

use crate::registry::Registry;
use crate::tls::Certificates;

/// Gets certificates and renews them.
pub struct Acme {
    context: Arc<Context>,
    /// The manager that [`Acme::load`] has made, until the thread takes it over.
    loaded: Mutex<Option<Manager>>,
    closed: watch::Sender<bool>,
    /// Disconnected once the thread has ended.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

/// How long [`Acme::close`] waits for a certificate that is being written.
const LAST_WRITE: Duration = Duration::from_secs(2);

impl Acme {
    /// One that has not begun; `answers` are what the proxy answers challenges of HTTP-01 with.
    #[must_use]
    pub fn new(
        options: Options,
        answers: Answers,
        certificates: Arc<Certificates>,
        registry: Arc<Registry>,
    ) -> Self {
        let context = Context::new(options, answers, certificates, registry);
        Self {
            context: Arc::new(context),
            loaded: Mutex::new(None),
            closed: watch::Sender::new(false),
            ended: Mutex::new(None),
        }
    }

    /// Takes the certificates that the state directory has, so that they are there from the first
    /// connection on. What is wrong is said in the log.
    pub fn load(self: &Arc<Self>) {
        let mut manager = Manager::new(Arc::clone(&self.context));
        manager.look();
        *self.loaded.lock() = Some(manager);
    }

    /// Begins, on a thread of its own. What ends by a fault of our own begins anew after a pause.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(self: &Arc<Self>) -> io::Result<()> {
        let acme = Arc::clone(self);
        let (alive, ended) = mpsc::channel();
        *self.ended.lock() = Some(ended);
        let run = move || {
            let _alive: mpsc::Sender<()> = alive;
            let work = || acme.on_runtime(acme.run());
            let rest = |pause| acme.on_runtime(async move { tokio::time::sleep(pause).await });
            supervise::supervise(work, rest);
        };
        thread::Builder::new()
            .name("acme".to_owned())
            .spawn(run)
            .map(|_detached| ())
    }

    /// Ends what is going on, and lets another process order. A certificate that has just come is written
    /// first: for two seconds at most.
    pub fn close(&self) {
        self.closed.send_replace(true);
        let ended = self.ended.lock().take();
        if ended.map(|ended| ended.recv_timeout(LAST_WRITE)) == Some(Err(RecvTimeoutError::Timeout))
        {
            error!(
                "ACME: the disk takes longer than {LAST_WRITE:?}; a new certificate may be lost"
            );
        }
    }

    /// Runs something to its end, or until this is closed.
    fn on_runtime(&self, work: impl Future<Output = ()>) {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                error!("ACME: no certificates are asked for: {error}");
                self.closed.send_replace(true);
                return;
            }
        };
        let mut closed = self.closed.subscribe();
        runtime.block_on(async {
            tokio::select! {
                biased;
                _closed = closed.wait_for(|closed| *closed) => {}
                () = work => {}
            }
        });
        // A lookup of a name may still go on.
        runtime.shutdown_background();
    }

    async fn run(&self) {
        let loaded = self.loaded.lock().take();
        let mut manager = loaded.unwrap_or_else(|| Manager::new(Arc::clone(&self.context)));
        manager.run().await;
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme")
            .field("options", &self.context.options)
            .finish_non_exhaustive()
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
