//! From an upstream's response to the client's: what is counted, and which fields the proxy adds.

use std::task::Context;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderValue};
use pingora_core::protocols::http::date::get_cached_date;

use super::policy::Policy;
use super::record::Record;
use super::rules::failure::Failure;
use super::rules::response::ResponseHead;
use super::upstream::ResponseSink;
use crate::front::{Downstream, Field, Framing, Reply, ResponseStart};
use crate::reply::grpc;

/// Where a response is from, for whoever looks for a fault.
const SERVED_BY: &[u8] = b"x-served-by";

/// The client's side of an exchange, and what is known of that.
pub(super) struct Responder<'x, D> {
    pub(super) downstream: &'x mut D,
    pub(super) record: &'x mut Record,
    pub(super) policy: &'x Policy,
}

/// The fields that the proxy adds to a response.
#[derive(Default)]
struct OwnFields<'r> {
    date: Option<HeaderValue>,
    id: Option<(&'static str, &'r [u8])>,
    hsts: Option<HeaderValue>,
    /// Where the response is from, with `debug`.
    served_by: Option<String>,
}

impl<'r> OwnFields<'r> {
    fn of(head: &ResponseHead<'_>, policy: &Policy, record: &'r Record) -> Self {
        let hsts = head
            .hsts
            .and_then(|value| HeaderValue::from_bytes(value).ok());
        let in_flight = record.in_flight.as_ref().filter(|_| policy.options.debug);
        Self {
            // RFC 9110, 6.6.1: the upstream's own says when the response was made.
            date: (head.framing != Framing::Upgrade && !head.has_date).then(get_cached_date),
            id: (!head.has_id).then(|| (policy.id_field, record.id.as_bytes())),
            hsts: policy.hsts(record, hsts.as_ref()),
            served_by: in_flight.map(|in_flight| {
                let prefix = &in_flight.route().prefix;
                format!("http://{}{prefix}", in_flight.instance().target)
            }),
        }
    }

    fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        let date = self.date.iter().map(|date| (&b"Date"[..], date.as_bytes()));
        let id = self.id.iter().map(|(name, id)| (name.as_bytes(), *id));
        let hsts = self.hsts.iter();
        let hsts = hsts.map(|hsts| (&b"strict-transport-security"[..], hsts.as_bytes()));
        let served_by = self
            .served_by
            .iter()
            .map(|from| (SERVED_BY, from.as_bytes()));
        date.chain(id).chain(hsts).chain(served_by)
    }
}

impl<D: Downstream> ResponseSink for Responder<'_, D> {
    fn inform(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.downstream
            .inform(head.status, head.reason, head.for_client());
        Ok(())
    }

    fn begin(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.record.respond(head.status);
        self.record.is_grpc = self.record.is_grpc && is_of_call(head);
        let own = OwnFields::of(head, self.policy, self.record);
        let is_bodiless = head.framing == Framing::None;
        let start = ResponseStart {
            status: head.status,
            reason: head.reason,
            framing: if is_bodiless {
                head.announced
            } else {
                head.framing
            },
            is_bodiless,
        };
        let is_debug = own.served_by.is_some();
        let passes = |(name, _): &Field<'_>| !is_debug || !name.eq_ignore_ascii_case(SERVED_BY);
        let fields = head.for_client().filter(passes).chain(own.iter());
        Ok(self.downstream.begin(start, fields)?)
    }

    fn data(&mut self, context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure> {
        self.record.send(data.len());
        Ok(self.downstream.write(context, data)?)
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        match trailers {
            Some(trailers) => self.downstream.end_with(trailers)?,
            None => self.downstream.end()?,
        }
        Ok(())
    }
}

/// Whether a response is one to a call of gRPC, whose status stands in its trailers.
fn is_of_call(head: &ResponseHead<'_>) -> bool {
    head.for_client().any(|(name, value)| {
        name.eq_ignore_ascii_case(b"content-type") && grpc::is_media_type(value)
    })
}

/// Adds to a reply of the proxy's own what every response has.
pub(super) fn complete(reply: &mut Reply, policy: &Policy, record: &Record) {
    let hsts = policy.hsts(record, reply.hsts());
    let fields = reply.fields_mut();
    match hsts {
        Some(hsts) => fields.insert(STRICT_TRANSPORT_SECURITY, hsts),
        None => fields.remove(STRICT_TRANSPORT_SECURITY),
    };
    if let Ok(id) = HeaderValue::from_bytes(record.id.as_bytes()) {
        fields.insert(policy.id_field, id);
    }
}
