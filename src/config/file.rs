//! The file as it is written: every key, and nothing else.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
pub(super) use pingora_core::server::configuration::RuntimeMetricsPollTimeHistogramScale;
use serde::Deserialize;

use super::acme::AcmeKeys;
use super::control::ControlKeys;
use super::health::Health;
use super::listen::{Entry, ListenKeys};
use super::number::{self, Port};
use super::pingora::{PingoraConf, with_pingora_keys};
use super::registration::RegistrationKeys;
use super::route_entry::Entry as Route;
use super::section::{
    Engine, Errors, Events, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, Targets,
    Timeouts, networks,
};
use super::store::StoreKeys;
use super::tls::TlsKeys;
use super::{duration, log_filter, text};

/// The top level. Pingora's keys first, in its own order, then ours.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "the keys are what they are, most of them Pingora's"
)]
pub(super) struct File {
    pub(super) version: usize,
    pub(super) daemon: bool,
    pub(super) error_log: Option<String>,
    pub(super) pid_file: String,
    pub(super) upgrade_sock: String,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) working_directory: Option<PathBuf>,
    pub(super) threads: usize,
    pub(super) listener_tasks_per_fd: usize,
    pub(super) work_stealing: bool,
    pub(super) runtime_enable_alt_timer: bool,
    pub(super) ca_file: Option<String>,
    pub(super) grace_period_seconds: Option<u64>,
    pub(super) graceful_shutdown_timeout_seconds: Option<u64>,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) client_bind_to_ipv4: Vec<String>,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) client_bind_to_ipv6: Vec<String>,
    pub(super) upstream_keepalive_pool_size: usize,
    pub(super) upstream_connect_offload_threadpools: Option<usize>,
    pub(super) upstream_connect_offload_thread_per_pool: Option<usize>,
    pub(super) downstream_tls_offload_threadpools: Option<usize>,
    pub(super) downstream_tls_offload_thread_per_pool: Option<usize>,
    pub(super) upstream_debug_ssl_keylog: bool,
    pub(super) max_retries: usize,
    pub(super) max_blocking_threads: Option<usize>,
    pub(super) blocking_threads_ttl_seconds: Option<u64>,
    pub(super) fast_timeout_to_tokio_threshold_seconds: Option<u64>,
    pub(super) runtime_metrics_poll_time_histogram: bool,
    pub(super) runtime_metrics_poll_time_histogram_scale:
        Option<RuntimeMetricsPollTimeHistogramScale>,
    pub(super) runtime_metrics_poll_time_histogram_resolution_micros: Option<u64>,
    pub(super) runtime_metrics_poll_time_histogram_buckets: Option<usize>,
    pub(super) daemon_wait_for_ready: bool,
    #[serde(deserialize_with = "number::seconds")]
    pub(super) daemon_ready_timeout_seconds: Option<NonZeroU64>,
    #[serde(deserialize_with = "number::seconds")]
    pub(super) daemon_notify_timeout_seconds: Option<NonZeroU64>,

    #[serde(deserialize_with = "text::given")]
    pub(super) port: Option<Port>,
    #[serde(deserialize_with = "text::given")]
    pub(super) listen: Option<Vec<Entry<ListenKeys>>>,
    pub(super) engine: Engine,
    pub(super) debug: bool,
    #[serde(deserialize_with = "log_filter::checked")]
    pub(super) log: String,
    #[serde(deserialize_with = "duration::any")]
    pub(super) shutdown_grace: Duration,
    #[serde(deserialize_with = "duration::any")]
    pub(super) lame_duck: Duration,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) routing: Routing,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) registration: RegistrationKeys,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) targets: Targets,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) control: ControlKeys,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) health: Health,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) events: Events,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) tls: TlsKeys,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) acme: AcmeKeys,
    pub(super) store: StoreKeys,
    #[serde(deserialize_with = "text::given_path")]
    pub(super) state_directory: Option<PathBuf>,
    #[serde(deserialize_with = "networks")]
    pub(super) trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) proxy_protocol: ProxyProtocol,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) http2: Http2,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) routes: Vec<Route>,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) timeouts: Timeouts,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) limits: Limits,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) overload: Overload,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) errors: Errors,
    #[serde(deserialize_with = "text::or_blank")]
    pub(super) request_id: RequestId,
}

impl Default for File {
    fn default() -> Self {
        let pingora = PingoraConf::default();
        with_pingora_keys!(File, pingora, {
            port: None,
            listen: None,
            engine: Engine::default(),
            debug: false,
            log: "info".to_owned(),
            shutdown_grace: Duration::from_secs(30),
            lame_duck: Duration::ZERO,
            routing: Routing::default(),
            registration: RegistrationKeys::default(),
            targets: Targets::default(),
            control: ControlKeys::default(),
            health: Health::default(),
            events: Events::default(),
            tls: TlsKeys::default(),
            acme: AcmeKeys::default(),
            store: StoreKeys::default(),
            state_directory: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol::default(),
            http2: Http2::default(),
            routes: Vec::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            overload: Overload::default(),
            errors: Errors::default(),
            request_id: RequestId::default(),
        })
    }
}
