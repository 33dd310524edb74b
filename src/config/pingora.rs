//! Pingora's own keys, which stand at the top level of the file beside ours.

use std::ops::{Deref, DerefMut};
use std::thread;

use pingora_core::server::configuration::ServerConf;

/// Builds a struct from another that has the fields of Pingora's `ServerConf`. There is one list
/// of them in the whole crate, and it is complete but for [`NO_EFFECT`]: a key that a new Pingora adds
/// does not compile until it is here.
macro_rules! with_pingora_keys {
    ($to:ident, $from:expr, { $($rest:tt)* }) => {
        $to {
            version: $from.version,
            daemon: $from.daemon,
            error_log: $from.error_log.clone(),
            pid_file: $from.pid_file.clone(),
            upgrade_sock: $from.upgrade_sock.clone(),
            user: $from.user.clone(),
            group: $from.group.clone(),
            working_directory: $from.working_directory.clone(),
            threads: $from.threads,
            listener_tasks_per_fd: $from.listener_tasks_per_fd,
            work_stealing: $from.work_stealing,
            runtime_enable_alt_timer: $from.runtime_enable_alt_timer,
            ca_file: $from.ca_file.clone(),
            grace_period_seconds: $from.grace_period_seconds,
            graceful_shutdown_timeout_seconds: $from.graceful_shutdown_timeout_seconds,
            client_bind_to_ipv4: $from.client_bind_to_ipv4.clone(),
            client_bind_to_ipv6: $from.client_bind_to_ipv6.clone(),
            upstream_keepalive_pool_size: $from.upstream_keepalive_pool_size,
            upstream_connect_offload_threadpools: $from.upstream_connect_offload_threadpools,
            upstream_connect_offload_thread_per_pool:
                $from.upstream_connect_offload_thread_per_pool,
            downstream_tls_offload_threadpools: $from.downstream_tls_offload_threadpools,
            downstream_tls_offload_thread_per_pool: $from.downstream_tls_offload_thread_per_pool,
            upstream_debug_ssl_keylog: $from.upstream_debug_ssl_keylog,
            max_retries: $from.max_retries,
            max_blocking_threads: $from.max_blocking_threads,
            blocking_threads_ttl_seconds: $from.blocking_threads_ttl_seconds,
            fast_timeout_to_tokio_threshold_seconds: $from.fast_timeout_to_tokio_threshold_seconds,
            runtime_metrics_poll_time_histogram: $from.runtime_metrics_poll_time_histogram,
            runtime_metrics_poll_time_histogram_scale:
                $from.runtime_metrics_poll_time_histogram_scale,
            runtime_metrics_poll_time_histogram_resolution_micros:
                $from.runtime_metrics_poll_time_histogram_resolution_micros,
            runtime_metrics_poll_time_histogram_buckets:
                $from.runtime_metrics_poll_time_histogram_buckets,
            daemon_wait_for_ready: $from.daemon_wait_for_ready,
            daemon_ready_timeout_seconds: $from.daemon_ready_timeout_seconds,
            daemon_notify_timeout_seconds: $from.daemon_notify_timeout_seconds,
            $($rest)*
        }
    };
}

pub(super) use with_pingora_keys;

/// The key of Pingora's that Pingora 0.9.1 itself does not read. It is refused: with it a file would
/// promise what does not happen.
pub(super) const NO_EFFECT: &str = "upgrade_sock_connect_accept_max_retries";

/// Pingora's `ServerConf`, which this dereferences to, with our defaults and a `Clone`.
#[derive(Debug, PartialEq, Eq)]
pub struct PingoraConf(pub ServerConf);

impl Default for PingoraConf {
    /// Pingora's defaults but for four: a thread for each core; no work stealing, which costs more CPU
    /// for each request than it saves; room for the idle connections of many routes, since a request
    /// whose route has none has to wait for a new one, and to pay for it (benches/README.md); and Tokio's
    /// timers for timeouts of a second or more, since Pingora's are a thread that wakes every 10 ms for
    /// good once it has been used.
    fn default() -> Self {
        Self(ServerConf {
            threads: thread::available_parallelism().map_or(1, usize::from),
            work_stealing: false,
            upstream_keepalive_pool_size: 1024,
            fast_timeout_to_tokio_threshold_seconds: Some(0),
            ..ServerConf::default()
        })
    }
}

impl Clone for PingoraConf {
    fn clone(&self) -> Self {
        Self(with_pingora_keys!(ServerConf, self.0, {
            upgrade_sock_connect_accept_max_retries: self.0.upgrade_sock_connect_accept_max_retries,
        }))
    }
}

impl Deref for PingoraConf {
    type Target = ServerConf;

    fn deref(&self) -> &ServerConf {
        &self.0
    }
}

impl DerefMut for PingoraConf {
    fn deref_mut(&mut self) -> &mut ServerConf {
        &mut self.0
    }
}
