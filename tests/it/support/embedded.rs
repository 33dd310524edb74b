//! A proxy within the test's own process, for what only a program that embeds it can do.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use dynamic_reverse_proxy::registry::Registration;
use dynamic_reverse_proxy::server::{DynamicProxy, Engine, Options, default_pingora_conf};
use parking_lot::Mutex;
use pingora_core::server::Fds;
use pingora_core::services::Service as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Client, engine};

/// A running proxy, stopped when it is dropped.
pub(crate) struct Embedded {
    pub(crate) proxy: DynamicProxy,
    address: SocketAddr,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Embedded {
    /// Starts a proxy on a free port, on the test's own threads.
    pub(crate) fn start(options: Options) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_on(listener, options)
    }

    /// Starts a proxy on a socket that listens.
    pub(crate) fn start_on(listener: std::net::TcpListener, mut options: Options) -> Self {
        if engine::chosen() == Some("pingora") {
            options.engine = Engine::Pingora;
        }
        let proxy = DynamicProxy::new(options);
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let mut table = Fds::new();
        table.add(address.to_string(), listener.into_raw_fd());
        let table = Arc::new(Mutex::new(table));
        let mut service = proxy.service(&default_pingora_conf());
        service.add_tcp(&address.to_string());
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(async move {
            service.start_service(Some(table), stopped, 1).await;
        });
        Self {
            proxy,
            address,
            server,
            stop,
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

impl Drop for Embedded {
    fn drop(&mut self) {
        self.server.abort();
    }
}
