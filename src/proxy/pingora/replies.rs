//! The gateway's own replies, and the end of an exchange that has failed.

use bytes::Bytes;
use http::{Response, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;

use super::Gateway;
use super::context::Exchange;
use super::session;
use crate::front::{DownstreamHandle, Reply};
use crate::proxy::admission::OwnReply;
use crate::proxy::in_flight::InFlight;
use crate::proxy::record::{End, Record};
use crate::proxy::responder;
use crate::proxy::rules::failure::{self, Failure, Fault, Limit};
use crate::registry::ProxyError;
use crate::reply::Refusal;
use crate::reply::grpc::Status;

impl Gateway {
    /// Answers with a reply of the proxy's own.
    pub(super) async fn reply(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        (mut reply, code): (Reply, &'static str),
    ) -> Result<()> {
        if let Some(record) = &mut exchange.record {
            responder::complete(&mut reply, &self.policy, record);
            record.respond(reply.status());
            record.end = End::Reply(code);
        }
        session::write(session, reply).await
    }

    /// Answers a request that was sent in vain with what has been decided since.
    pub(super) async fn replace(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        own: OwnReply,
    ) -> Result<Option<StatusCode>> {
        exchange.log(own.level, &own.reason);
        release(session);
        let status = own.reply.status();
        self.reply(session, exchange, (own.reply, own.code)).await?;
        Ok(Some(status))
    }

    /// Answers a request that could not be proxied, or ends its response; the status, if the client is
    /// told one.
    pub(super) async fn fail(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        failure: Failure,
    ) -> Result<Option<StatusCode>> {
        let Some(record) = &mut exchange.record else {
            return Ok(None);
        };
        let route = record.in_flight.as_ref().map(InFlight::route);
        let failure = failure.on(route.map(|route| &**route), exchange.has_deadline);
        failure.log(record);
        let (refusal, own) = match failure.fault {
            Fault::ClientGone | Fault::ClientStuck => {
                record.end = End::ClientGone;
                return Ok(None);
            }
            Fault::Upstream(error) => self.tell(record, error, failure.limit),
            Fault::Client(refusal) => (refusal, None),
            Fault::Proxy => (failure::internal(), None),
        };
        let (status, code) = (refusal.status, refusal.code);
        let grpc = failure.reset.map(Status::of_reset);
        if session::has_begun(session) {
            record.end = End::Reply(code);
            break_off(session, record, &refusal, grpc).await?;
        } else {
            let reply = of_failure(record, &refusal, own, grpc);
            release(session);
            self.reply(session, exchange, (reply, code)).await?;
        }
        Ok(Some(status))
    }

    /// Emits the event of a failure, and makes the reply.
    fn tell(
        &self,
        record: &Record,
        error: ProxyError,
        limit: Option<Limit>,
    ) -> (Refusal, Option<Response<Bytes>>) {
        let route = record.in_flight.as_ref().map(InFlight::route);
        self.policy.fail(route, record.summary(), error, limit)
    }
}

/// The reply to a request that could not be proxied: the handler's own, or the refusal.
fn of_failure(
    record: &Record,
    refusal: &Refusal,
    own: Option<Response<Bytes>>,
    grpc: Option<Status>,
) -> Reply {
    match (own, record.request()) {
        (Some(own), _) => own.into(),
        (None, Some(request)) => Reply::refusal(refusal, request, grpc),
        (None, None) => Reply::with_body(refusal, refusal.json()),
    }
}

/// Releases the exchange from its instance: the reply that follows is the proxy's own, which the end of the
/// instance does not cut.
fn release(session: &Session) {
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        hold.abort().release();
    }
}

/// Ends a response that has begun: a call of gRPC gets its status, and everybody else no end.
async fn break_off(
    session: &mut Session,
    record: &Record,
    refusal: &Refusal,
    status: Option<Status>,
) -> Result<()> {
    if !record.is_grpc || !session::is_call_begun(session) {
        return Ok(());
    }
    release(session);
    let status = status.unwrap_or_else(|| Status::of(refusal));
    session::end_call(session, refusal, status).await
}
