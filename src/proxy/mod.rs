//! The data path: what becomes of a request, and how it reaches its app.
//!
//! - `decide` asks the `stages`, one after another: a request is for the control service, is answered by
//!   the proxy itself, or goes to an instance of a route.
//! - `exchange` forwards it: it connects, sends, sends again, until the end, which `record` is told. One
//!   try is a `pump`, which moves both directions between a client and one `upstream`; after a 101 the
//!   exchange goes on as a `tunnel`.
//! - `rules` are what all of these go by: pure functions over fields.
//! - `pingora` carries requests through Pingora's `ProxyHttp` instead, for `engine: pingora` and for
//!   programs that mount it in a Pingora server of their own.

mod admission;
mod challenges;
mod decide;
mod direct;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod guard;
mod https;
mod in_flight;
mod options;
mod peer;
mod pingora;
mod policy;
mod pump;
mod record;
mod request_body;
mod responder;
mod rules;
mod stages;
mod target_tls;
mod tls_policy;
mod tunnel;
mod upstream;

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

pub use challenges::Challenges;
pub use options::{ErrorStatuses, ExchangeLimits, GatewayOptions, SecurityDefaults, Timeouts};
pub use pingora::{Exchange, Gateway};
pub(crate) use policy::ProxyErrorHandler;
pub use target_tls::{TargetTlsError, TargetTlsOptions};

use crate::front::{
    AbortHandle, Decision, Downstream, Outcome, Request, RequestId, ReusableTimer, Service,
};
use admission::{Admission, OwnReply};
use decide::Outcome as Decided;
use direct::Direct;
use in_flight::InFlight;
use record::Record;

/// The data path, as the service behind the front.
pub(crate) struct Proxy {
    direct: Direct,
    http: Arc<HttpProxy<Gateway>>,
}

/// The decision about a request.
pub(crate) struct Plan {
    /// A reply of the proxy's own; without one the request is forwarded.
    reply: Option<Box<OwnReply>>,
    id: RequestId,
    in_flight: Option<InFlight>,
    is_trusted: bool,
    is_encrypted: bool,
    has_certificate: bool,
}

impl Proxy {
    /// A proxy with the settings of a server: how many idle connections to targets are kept.
    #[must_use]
    pub(crate) fn new(gateway: Gateway, conf: &Arc<ServerConf>) -> Self {
        Self {
            direct: Direct::new(gateway.policy(), conf),
            http: Arc::new(gateway.into_http_proxy(conf)),
        }
    }
}

impl Service for Proxy {
    type Plan = Plan;

    fn is_control(&self, request: &Request) -> bool {
        self.direct.policy.is_registration(request, request.path())
    }

    fn is_exempt(&self, request: &Request) -> bool {
        self.is_control(request) || self.direct.policy.probe(request).is_some()
    }

    async fn decide(&self, request: &Request) -> Decision<Plan> {
        let policy = &self.direct.policy;
        let mut admission = Admission::new(policy, request);
        let reply = match policy.decide(&mut admission).await {
            Decided::Control => return Decision::Control,
            Decided::Reply(reply) => Some(reply),
            Decided::Forward => None,
        };
        Decision::Proxy(Plan {
            reply,
            id: admission.id,
            in_flight: admission.in_flight,
            is_trusted: admission.is_trusted,
            is_encrypted: admission.is_encrypted,
            has_certificate: admission.has_certificate,
        })
    }

    fn id_field(&self) -> &'static str {
        self.direct.policy.id_field
    }

    fn serve<'c, D: Downstream + 'c>(
        &'c self,
        plan: Plan,
        request: Box<Request>,
        downstream: D,
        abort: Arc<AbortHandle>,
        timer: &'c mut ReusableTimer,
    ) -> impl Future<Output = Outcome<'c>> + Send + 'c {
        let mut record = Record::new(request, plan.id, plan.is_encrypted);
        record.in_flight = plan.in_flight;
        // Made before the future, which would have room for its parts beside it.
        let mut exchange = exchange::Exchange {
            direct: &self.direct,
            downstream,
            record,
            abort,
            is_trusted: plan.is_trusted,
            has_certificate: plan.has_certificate,
            body: request_body::RequestBody::default(),
            is_resent: false,
            switched: None,
        };
        async move {
            match plan.reply {
                Some(reply) => Box::pin(exchange.reply(*reply)).await,
                None => exchange.forward(timer).await,
            }
            exchange.into_left(timer)
        }
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
