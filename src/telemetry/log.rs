//! The log, on standard error.

use env_logger::{Builder, Env};

/// Pingora reports every bad client as an error of its own, and rustls warns of what any client can
/// make it say; what matters of it is logged here, with the request. All stand before the operator's
/// filter, which may say otherwise.
const QUIET: &str = "pingora_core=warn,pingora_core::connectors=off,pingora_core::protocols::tls=error,pingora_core::server::transfer_fd=off,pingora_proxy=warn,rustls=error";

/// Starts the log. `filter` is the configuration's (`info`, `info,dynamic_reverse_proxy=debug`);
/// the environment variable `RUST_LOG` takes its place. `debug` shows the proxy's own decisions.
///
/// # Errors
/// If a log has been started already.
pub fn start(filter: &str, debug: bool) -> Result<(), log::SetLoggerError> {
    let own = if debug {
        ",dynamic_reverse_proxy=debug"
    } else {
        ""
    };
    let filter = format!("{QUIET},{filter}{own}");
    Builder::from_env(Env::default().default_filter_or(filter)).try_init()
}
