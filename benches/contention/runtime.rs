//! What a request does beside that: it asks whether the server is to stop, begins a task, and takes a
//! buffer.

use std::sync::LazyLock;

use tokio::sync::watch;

use super::measure::Case;

/// A server's stop, as Pingora is told of it.
pub(crate) struct Stop(watch::Sender<bool>);

pub(crate) struct Stopping {
    told: watch::Receiver<bool>,
    _sender: watch::Sender<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// For one of those who share it.
    pub(crate) fn of_all(&self) -> Stopping {
        Stopping {
            told: self.0.subscribe(),
            _sender: self.0.clone(),
        }
    }
}

impl Stopping {
    /// As `HttpProxy::process_new_http` asks, once for each request.
    pub(crate) fn is_told(&mut self) {
        assert!(!*self.told.borrow());
    }
}

pub(crate) fn cases() -> Vec<Case<'static>> {
    static STOP: LazyLock<Stop> = LazyLock::new(Stop::new);
    vec![
        Case::new("stop: one for all workers, before", |_thread, meter| {
            let mut stop = STOP.of_all();
            meter.ns(|| stop.is_told())
        }),
        Case::new("stop: one for each worker, now", |_thread, meter| {
            let mut stop = Stop::new().of_all();
            meter.ns(|| stop.is_told())
        }),
        Case::new("task: begun and ended (tokio's ids)", |_thread, meter| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            meter.ns(|| runtime.block_on(async { tokio::spawn(async {}).await.expect("a task") }))
        }),
        Case::new("task: the same without a new task", |_thread, meter| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            meter.ns(|| runtime.block_on(tokio::task::yield_now()))
        }),
        Case::new("buffer: 64 KiB taken and given back", |_thread, meter| {
            meter.ns(|| Vec::<u8>::with_capacity(64 * 1024))
        }),
        Case::new("id: 128 random bits", |_thread, meter| {
            meter.ns(|| fastrand::u128(..))
        }),
    ]
}
