//! Cells that differ under `engine: pingora`, each with its reason.

use super::pair::{Client, Pair, Upstream};

/// A case that cannot be expected of the other engine.
#[allow(dead_code, reason = "the list may be empty")]
pub(crate) struct Exception {
    pub(crate) case: &'static str,
    /// None for any.
    pub(crate) client: Option<Client>,
    /// None for any.
    pub(crate) upstream: Option<Upstream>,
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[];

/// Why a cell is left out, if it is.
pub(crate) fn reason(case: &str, pair: Pair) -> Option<&'static str> {
    let mut fitting = EXCEPTIONS.iter().filter(|exception| {
        exception.case == case
            && exception.client.is_none_or(|client| client == pair.client)
            && exception
                .upstream
                .is_none_or(|upstream| upstream == pair.upstream)
    });
    fitting.next().map(|exception| exception.reason)
}
