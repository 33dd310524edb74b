//! A proxy within the test's own process, for what only a program that embeds it can do.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use dynamic_reverse_proxy::registry::Registration;
use dynamic_reverse_proxy::server::{DynamicProxy, Options, TrafficService, default_pingora_conf};
use parking_lot::Mutex;
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use tokio::runtime;
use tokio::sync::{oneshot, watch};

use super::{Client, engine};

/// A running proxy, stopped when it is dropped.
pub(crate) struct Embedded {
    pub(crate) proxy: DynamicProxy,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Dropped, it ends the server.
    _end: oneshot::Sender<()>,
}

impl Embedded {
    /// Starts a proxy on a free port, on a thread of its own.
    pub(crate) fn start(options: Options) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_on(listener, options)
    }

    /// Starts a proxy on a socket that listens.
    pub(crate) fn start_on(listener: std::net::TcpListener, mut options: Options) -> Self {
        engine::choose(&mut options);
        let proxy = DynamicProxy::new(options);
        let (mut service, table, address) = service_on(listener, &proxy);
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        // A thread of its own, as the server gives each worker one. Where threads take work from each other,
        // Pingora now and then ends a WebSocket whose 101 comes at once.
        std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                tokio::spawn(async move {
                    service.start_service(table, stopped, 1).await;
                });
                // What is in flight goes on after a stop. The sender is only ever dropped.
                drop(ended.await);
            });
        });
        Self {
            proxy,
            address,
            stop,
            _end: end,
        }
    }

    /// Registers a port for a prefix; the serial number under which it is cut.
    pub(crate) async fn register(&self, prefix: &str, port: u16) -> u64 {
        let registration = Registration::new(prefix, port).expect("a registration");
        let registered = self.proxy.register_route(registration).await;
        registered.expect("a route").routes[0].instance(0).serial
    }

    /// Cuts what is in flight on an instance, which has to be so much.
    pub(crate) fn cut(&self, serial: u64, expected: usize) {
        assert_eq!(self.proxy.connections().cut(serial), expected);
    }

    /// Tells the proxy to stop.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

/// The service of a proxy with the table that it takes its socket from, and the address of that.
pub(crate) fn service_on(
    listener: std::net::TcpListener,
    proxy: &DynamicProxy,
) -> (TrafficService, Option<ListenFds>, SocketAddr) {
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut table = Fds::new();
    table.add(address.to_string(), listener.into_raw_fd());
    let mut service = proxy.service(&default_pingora_conf());
    service.add_tcp(&address.to_string());
    (service, Some(Arc::new(Mutex::new(table))), address)
}
