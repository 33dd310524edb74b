//! Telemetry: so far the log.

pub(crate) mod log;
