//! The state that the streams of a connection share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;

use super::super::caller::Caller;
use super::super::clients::{ClientLimit, StreamGuard, Ticket};
use super::super::listener::ListenerMode;
use super::resets::Resets;

/// The client of a connection, as its streams know it.
#[derive(Debug)]
pub(crate) struct Client {
    /// Who asks.
    pub(crate) caller: Caller,
    /// The mode in which its requests are served.
    pub(super) mode: ListenerMode,
    /// Whether the server has begun to stop, for whoever may wait for that.
    pub(super) shutdown: ShutdownWatch,
    /// How often it has changed its mind.
    pub(super) resets: Resets,
    /// The place that its connection takes.
    pub(super) ticket: Ticket,
    /// How many of its streams are in use.
    in_use: AtomicUsize,
    /// Wakes the task of the connection.
    waker: Waker,
}

/// One stream in use.
pub(super) struct InUse {
    client: Arc<Client>,
    /// The guard that counts the stream towards the client's limit.
    _counted: Option<StreamGuard>,
}

impl Client {
    /// The client of a connection whose task is woken by `waker`.
    pub(super) fn new(
        digest: Digest,
        mode: ListenerMode,
        shutdown: ShutdownWatch,
        waker: Waker,
        ticket: Ticket,
    ) -> Self {
        Self {
            caller: Caller::of(
                digest.socket_digest,
                digest.proxy_digest,
                digest.ssl_digest,
                mode.redirect,
                mode.registers,
            ),
            mode,
            shutdown,
            resets: Resets::default(),
            ticket,
            in_use: AtomicUsize::new(0),
            waker,
        }
    }

    /// Counts one stream until the guard is dropped, and says whether it is within the client's limit.
    pub(super) fn begin(self: &Arc<Self>) -> (InUse, Result<(), ClientLimit>) {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        let counted = self.ticket.stream();
        let is_within = counted.as_ref().map(|_| ()).map_err(|limit| *limit);
        let in_use = InUse {
            client: Arc::clone(self),
            _counted: counted.ok().flatten(),
        };
        (in_use, is_within)
    }

    /// Counts the end of a stream that a session of Pingora's has served: what is reset before its end
    /// costs the client, what is answered to its end gives back.
    pub(crate) fn note_end(&self, is_reset: bool, after: Duration) {
        if is_reset {
            self.resets.spend(after);
        } else {
            self.resets.earn();
        }
    }

    /// Whether any stream is in use. When the last one no longer is, the connection's task is woken.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Acquire) != 0
    }
}

impl InUse {
    /// Whose stream it is.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.client.in_use.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.client.waker.wake_by_ref();
        }
    }
}

/// Information about a connection.
pub(super) fn digest(stream: &Stream) -> Digest {
    Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    }
}
