//! The load: what asks, and how often.
//!
//! A [`Slot`] asks one thing after another. Many of them make a closed load, where each asks again as
//! soon as it has its answer, or an open one, where requests arrive at a fixed rate and take whichever
//! slot is free.

pub(crate) mod change;
pub(crate) mod closed;
pub(crate) mod h2load;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod open;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::future::Future;

use crate::Result;

/// Something that can ask, once at a time.
pub(crate) trait Slot: Send + 'static {
    /// Asks, and checks the answer: an error if it is not the right one.
    fn ask(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// One thread: the load has one core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
