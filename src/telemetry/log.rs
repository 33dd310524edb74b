//! The log, on standard error.

use std::borrow::Cow;

use env_logger::{Builder, Env, Logger};
use log::{Log, Metadata, Record};

use crate::route::{clip, printable};

/// The longest message of a line, in bytes: more is what a stranger or an app sent.
const MOST: usize = 4096;

/// The target whose lines are whole however long they are: they are JSON, of changes that were allowed.
const AUDIT: &str = "audit";

/// Pingora reports every bad client as an error of its own, and rustls warns of what any client can
/// make it say; what matters of it is logged here, with the request. All stand before the operator's
/// filter, which may say otherwise.
const QUIET: &str = "pingora_core=warn,pingora_core::connectors=off,pingora_core::protocols::http=error,pingora_core::protocols::tls=error,pingora_core::server::transfer_fd=off,pingora_proxy=error,rustls=error";

/// Starts the log. `filter` is the configuration's (`info`, `info,dynamic_reverse_proxy=debug`);
/// the environment variable `RUST_LOG` takes its place. `debug` shows the proxy's own decisions.
///
/// # Errors
/// If a log has been started already.
pub(crate) fn start(filter: &str, debug: bool) -> Result<(), log::SetLoggerError> {
    let own = if debug {
        ",dynamic_reverse_proxy=debug"
    } else {
        ""
    };
    let filter = format!("{QUIET},{filter}{own}");
    let logger = Builder::from_env(Env::default().default_filter_or(filter)).build();
    let level = logger.filter();
    log::set_boxed_logger(Box::new(Clipping(logger)))?;
    log::set_max_level(level);
    Ok(())
}

/// Leaves the middle out of messages that are too long.
struct Clipping(Logger);

impl Log for Clipping {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.0.matches(record) {
            return;
        }
        let text = match record.args().as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(record.args().to_string()),
        };
        let text = printable(text);
        let text = if record.target() == AUDIT {
            text
        } else {
            clip(text, MOST)
        };
        let mut clipped = Record::builder();
        clipped
            .metadata(record.metadata().clone())
            .module_path(record.module_path())
            .file(record.file())
            .line(record.line());
        self.0.log(&clipped.args(format_args!("{text}")).build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}
