//! The gateway's decision about a request, which is made anew when the request is sent again.

use pingora_core::Result;
use pingora_proxy::Session;

use super::Gateway;
use super::context::Exchange;
use super::{error, session};
use crate::proxy::admission::{Admission, OwnReply};
use crate::proxy::decide::Outcome;
use crate::proxy::peer::Kind;
use crate::proxy::record::Record;

impl Gateway {
    /// Reads a request, and decides what becomes of it; a reply, if the proxy answers itself.
    pub(super) async fn decide(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Option<Box<OwnReply>> {
        let request = Box::new(session::request(session));
        let mut admission = Admission::new(&self.policy, &request);
        let outcome = self.policy.decide(&mut admission).await;
        exchange.is_trusted = admission.is_trusted;
        exchange.has_certificate = admission.has_certificate;
        let (id, is_encrypted, in_flight) =
            (admission.id, admission.is_encrypted, admission.in_flight);
        exchange.kind = Kind::of(request.framing());
        let mut record = Record::new(request, id, is_encrypted);
        record.in_flight = in_flight;
        exchange.record = Some(record);
        own_reply(outcome)
    }

    /// Decides once more about a request that is to be sent again: its route may be another by now, and
    /// ask for more.
    pub(super) async fn decide_again(&self, exchange: &mut Exchange) -> Result<()> {
        exchange.is_stale = false;
        exchange.attempt = 0;
        let Some(record) = &mut exchange.record else {
            return Err(error::no_address());
        };
        let in_flight = record.in_flight.take();
        let Some(request) = record.request() else {
            return Err(error::no_address());
        };
        let mut admission = Admission {
            request,
            id: record.id.clone(),
            host: request.host(),
            path: request.path(),
            is_trusted: exchange.is_trusted,
            is_encrypted: record.is_encrypted,
            has_certificate: exchange.has_certificate,
            in_flight,
        };
        let outcome = self.policy.decide_again(&mut admission).await;
        let in_flight = admission.in_flight;
        record.in_flight = in_flight;
        exchange.own = own_reply(outcome);
        match exchange.own {
            Some(_) => Err(error::no_address()),
            None => Ok(()),
        }
    }
}

/// The reply of a decision. The front has given registrations to the control service.
fn own_reply(outcome: Outcome) -> Option<Box<OwnReply>> {
    match outcome {
        Outcome::Reply(own) => Some(own),
        Outcome::Forward | Outcome::Control => None,
    }
}
