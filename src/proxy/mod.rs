//! The data path: what is asked of a request, and the two ways that it can go to its app.
//!
//! A request is read once into one `context::View`; what is matched is what is forwarded. `policy`
//! decides: it asks the table, sees whether a request meets what its route asks for, and knows what
//! clients are told when something fails. Then there are two ways:
//!
//! - `direct`, from clients of HTTP/1.1 and HTTP/2 to a target that speaks HTTP/1.1 without TLS, which is
//!   nearly every request, and the WebSockets among them; and for calls of gRPC to a target that speaks
//!   HTTP/2 without TLS: one future moves the bytes of both directions.
//! - `gateway`, Pingora's own, for everything else: TLS with targets, other requests than calls to targets of
//!   HTTP/2, clients of HTTP/1.0, and every request that is refused. In its `request_filter` a miss can be
//!   answered on a connection that stays open; `upstream_peer` makes the peer of the route that was found.

mod challenges;
mod context;
mod demand;
mod direct;
mod error;
mod gateway;
mod grpc;
mod headers;
mod https;
mod options;
mod peer;
mod policy;
mod pools;
mod session;
mod target_tls;
mod visit;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

pub use challenges::Challenges;
pub use context::Exchange;
pub use gateway::Gateway;
pub use options::{ErrorStatuses, GatewayOptions, RequestIds, SecurityDefaults, Timeouts};
pub(crate) use policy::ProxyErrorHandler;
pub use target_tls::{TargetTlsError, TargetTlsOptions};

use crate::front::{Arrived, Caller, Connection, Deadline, Ended, Incoming, Leash, Service};
use direct::Direct;
pub use direct::{Call, Plan, StreamPlan};

/// Both ways, as the service behind the front.
pub struct Proxy {
    direct: Direct,
    http: Arc<HttpProxy<Gateway>>,
}

impl Proxy {
    /// A proxy with the settings of a server: how many idle connections to targets each way keeps.
    #[must_use]
    pub fn new(gateway: Gateway, conf: &Arc<ServerConf>) -> Self {
        Self {
            direct: Direct::new(gateway.policy(), conf),
            http: Arc::new(gateway.into_http_proxy(conf)),
        }
    }
}

impl Service for Proxy {
    type Taken = Plan;
    type TakenStream = StreamPlan;

    fn take(&self, request: &Arrived<'_>) -> Option<Plan> {
        self.direct.take(request)
    }

    fn take_stream(&self, request: &Incoming, caller: &Caller) -> Option<StreamPlan> {
        self.direct.take_stream(request, caller)
    }

    async fn serve_stream(&self, plan: StreamPlan, request: Incoming, leash: &Leash) {
        self.direct.serve_stream(plan, request, leash).await;
    }

    fn serve<'c>(
        &'c self,
        plan: Plan,
        connection: &'c mut Connection,
        message: (BytesMut, BytesMut),
        timer: &'c mut Deadline,
        stop: &'c AtomicBool,
    ) -> impl Future<Output = Ended> + Send + 'c {
        self.direct.serve(plan, connection, message, timer, stop)
    }
}

#[async_trait]
impl HttpServerApp for Proxy {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.http.process_new_http(session, shutdown).await
    }

    async fn http_cleanup(&self) {
        self.http.http_cleanup().await;
    }
}
