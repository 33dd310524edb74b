//! The proxy as services for a Pingora server of one's own.

use std::fs::Permissions;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service as Serve;
use pingora_core::services::listening::Service;

use crate::control::Bridge;
use crate::front::{ControlOnly, Front};
use crate::proxy::Proxy;

/// The whole proxy behind the listeners of the traffic: requests to apps, and registrations.
///
/// Made by [`DynamicProxy::service`](super::DynamicProxy::service). Give it listeners, and it to a Pingora
/// [`Server`](pingora_core::server::Server).
pub struct TrafficService(pub(super) Service<Front<Proxy, Bridge>>);

/// The control API, or registration alone, behind listeners of its own.
///
/// Made by [`DynamicProxy::control_service`](super::DynamicProxy::control_service) and
/// [`DynamicProxy::registration_service`](super::DynamicProxy::registration_service).
pub struct ControlService(pub(super) Service<Front<ControlOnly, Bridge>>);

macro_rules! mounted {
    ($($service:ident),*) => {
        $(
            impl $service {
                /// Listens on an address, `127.0.0.1:3000` say. An address that is taken ends the process
                /// when the server starts, as Pingora has it.
                pub fn add_tcp(&mut self, address: &str) {
                    self.0.add_tcp(address);
                }

                /// Listens on a Unix socket at a path; without permissions of its own it is open to all.
                pub fn add_uds(&mut self, path: &str, permissions: Option<Permissions>) {
                    self.0.add_uds(path, permissions);
                }

                /// Runs on so many threads, rather than on as many as the server's configuration says.
                pub fn set_threads(&mut self, threads: usize) {
                    self.0.threads = Some(threads);
                }
            }

            #[async_trait]
            impl Serve for $service {
                async fn start_service(
                    &mut self,
                    fds: Option<ListenFds>,
                    shutdown: ShutdownWatch,
                    listeners_per_fd: usize,
                ) {
                    Serve::start_service(&mut self.0, fds, shutdown, listeners_per_fd).await;
                }

                fn name(&self) -> &str {
                    Serve::name(&self.0)
                }

                fn threads(&self) -> Option<usize> {
                    Serve::threads(&self.0)
                }
            }
        )*
    };
}

mounted!(TrafficService, ControlService);
