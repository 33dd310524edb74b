//! Which engine the proxies of the tests run with, and what the other one cannot do.

/// A test that cannot be expected of `engine: pingora`.
#[allow(dead_code, reason = "the list may be empty")]
pub(crate) struct Exception {
    /// As `--list` names it.
    pub(crate) test: &'static str,
    pub(crate) reason: &'static str,
}

/// The tests that `engine: pingora` does not pass, each with its reason. Those of the matrix stand,
/// cell by cell, in `matrix/exceptions.rs`.
pub(crate) const EXCEPTIONS: &[Exception] = &[];

/// The engine that the environment variable `ENGINE` asks for; none says nothing, so that the default
/// is tested.
pub(crate) fn chosen() -> Option<&'static str> {
    match std::env::var("ENGINE").ok()?.as_str() {
        "" => None,
        "direct" => Some("direct"),
        "pingora" => Some("pingora"),
        other => panic!("ENGINE is direct or pingora, not {other:?}"),
    }
}
