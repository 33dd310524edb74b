//! The direct way: a request of HTTP/1.1 or HTTP/2 goes to a target that speaks HTTP/1.1 without TLS, and its
//! answer back, without a session of Pingora's. Calls of gRPC do to a target of HTTP/2 without TLS (`calls`).
//!
//! Pingora's `HttpProxy` runs the two halves of a request as two futures that talk over channels, copies
//! both heads into maps, and keeps a buffer of 64 KiB for each; that is more than half of what a small
//! request costs it (benches/README.md). Here one future polls both sides (`pump`). Bytes that one side
//! has and the other takes pass through one buffer of the thread; what is not taken at once is kept, and
//! nothing more is read until it is. Heads are written from the fields as they came (`request`,
//! `answer`). Connections to targets are kept in a pool of its own (`pool`).
//!
//! A target may agree to speak WebSocket. Then the request is over and its room is free again; the two
//! connections go on as a `tunnel`.
//!
//! What is refused, and whatever else is not the plain case, is left to Pingora (`plan`).

mod answer;
mod answering;
mod body;
mod calls;
mod client;
mod clock;
mod exchange;
mod failure;
mod http1;
mod http2;
mod name;
mod plan;
mod pool;
mod pump;
mod request;
mod socket;
mod tunnel;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::BytesMut;
use pingora_core::server::configuration::ServerConf;
use pingora_timeout::timeout;

use super::grpc;
use super::peer::Address;
use super::policy::Policy;
use crate::front::{Arrived, Caller, Connection, Deadline, Ended, Incoming, Leash};
use crate::route::Instance;
pub use calls::Call;
use calls::Line;
use exchange::{Exchange, Outcome};
use http1::Http1;
use http2::Http2;
pub use plan::Plan;
use pool::Pool;
use socket::{Socket, Sources};

/// A request of HTTP/2 that goes the direct way.
pub enum StreamPlan {
    /// To a target of HTTP/1.1.
    Request(Plan),
    /// A call, to a target of HTTP/2.
    Call(Call),
}

/// The direct way, with its connections to targets.
pub(super) struct Direct {
    policy: Arc<Policy>,
    pool: Arc<Pool<Socket>>,
    lines: Arc<Pool<Line>>,
    sources: Sources,
    /// How many connections are tried for one request, at most.
    most_tries: usize,
}

impl Direct {
    /// A way with the settings of a server: how many idle connections it keeps, where it connects from,
    /// and how often it tries.
    pub(super) fn new(policy: Arc<Policy>, conf: &ServerConf) -> Self {
        let idle = policy.options.timeouts.upstream_idle;
        let most_idle = conf.upstream_keepalive_pool_size;
        Self {
            policy,
            pool: Arc::new(Pool::new(most_idle, idle)),
            lines: Arc::new(Pool::new(most_idle, idle)),
            sources: Sources::of(conf),
            most_tries: conf.max_retries.max(1),
        }
    }

    /// Connects to an instance, at one of its addresses.
    async fn connect(&self, instance: &Instance, address: Address<'_>) -> io::Result<Socket> {
        let limit = self.policy.options.timeouts.connect;
        let socket = match timeout(limit, Socket::connect(address, &self.sources)).await {
            Ok(connected) => connected?,
            Err(_elapsed) => {
                let reason = format!("no connection after {limit:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
        };
        if let Address::Inet(address) = address {
            instance.target.prefer(address);
        }
        Ok(socket)
    }

    /// Takes a request, if this is a way for it.
    pub(super) fn take(&self, request: &Arrived<'_>) -> Option<Plan> {
        Plan::of_http1(&self.policy, request)
    }

    /// Takes the request of a stream of HTTP/2, if this is a way for it.
    pub(super) fn take_stream(&self, request: &Incoming, caller: &Caller) -> Option<StreamPlan> {
        if grpc::is_of_call(&request.head.headers) {
            Call::of(&self.policy, request, caller).map(StreamPlan::Call)
        } else {
            Plan::of_http2(&self.policy, request, caller).map(StreamPlan::Request)
        }
    }

    /// Answers the request of a stream of HTTP/2.
    pub(super) async fn serve_stream(&self, plan: StreamPlan, request: Incoming, leash: &Leash) {
        let mut timer = Deadline::default();
        match plan {
            StreamPlan::Request(plan) => {
                let client = Http2::new(request, self.policy.id_field);
                Exchange::new(self, plan, client, leash)
                    .run(&mut timer)
                    .await;
            }
            StreamPlan::Call(call) => {
                let mut exchange = calls::Exchange::new(self, call, request, leash);
                exchange.run(&mut timer).await;
            }
        }
    }

    /// Answers the request on an HTTP/1 connection; `head` is its head and `early` what has been read of
    /// its body.
    pub(super) fn serve<'c>(
        &'c self,
        plan: Plan,
        connection: &'c mut Connection,
        message: (BytesMut, BytesMut),
        timer: &'c mut Deadline,
        stop: &'c AtomicBool,
    ) -> impl Future<Output = Ended> + Send + 'c {
        // Boxed, and made here: what a request needs is no part of the future of an idle connection, nor
        // of a tunnel.
        let exchange = Box::pin(self.exchange(plan, connection, message, timer, stop));
        async move {
            match exchange.await {
                Outcome::Ended(ended) => ended,
                Outcome::Switched(tunnel) => Box::pin(tunnel.run()).await,
            }
        }
    }

    async fn exchange<'c>(
        &'c self,
        plan: Plan,
        connection: &'c mut Connection,
        (head, early): (BytesMut, BytesMut),
        timer: &'c mut Deadline,
        stop: &'c AtomicBool,
    ) -> Outcome<'c> {
        let leash = connection.held();
        let client = Http1::new(connection, head, early, plan.body, plan.closes, stop);
        let mut exchange = Exchange::new(self, plan, client, &leash);
        exchange.run(timer).await;
        exchange.into_outcome(timer)
    }
}
