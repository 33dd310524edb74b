//! From a target's answer, or the proxy's own, to the client's: what is counted, and which fields it gets.

use std::sync::Arc;

use bytes::Bytes;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderValue, Response};
use pingora_core::protocols::http::date::get_cached_date;
use smallvec::SmallVec;

use super::answer::{Asked, Head};
use super::body::Framing;
use super::client::{Beginning, Client, Field};
use super::failure::Failure;
use super::plan::Id;
use crate::proxy::policy::Policy;
use crate::proxy::visit::Visit;

/// Where an answer is from, for whoever looks for a fault.
const SERVED_BY: &[u8] = b"x-served-by";

/// What an exchange needs to make an answer the client's.
pub(super) struct Answering {
    pub(super) policy: Arc<Policy>,
    /// Where the request is.
    pub(super) visit: Option<Visit>,
    /// Its id.
    pub(super) id: Id,
    pub(super) asked: Asked,
    /// Whether the client's side is encrypted.
    pub(super) is_encrypted: bool,
}

impl Answering {
    /// A piece of the request's body has come.
    pub(super) fn received(&self, bytes: usize) {
        if let Some(visit) = &self.visit {
            visit.received(bytes);
        }
    }

    /// A piece of the answer's body goes to the client.
    pub(super) fn sent(&self, bytes: usize) {
        if let Some(visit) = &self.visit
            && bytes > 0
        {
            visit.sent(bytes);
        }
    }

    /// Passes an interim answer on.
    pub(super) fn inform<C: Client>(&self, client: &mut C, head: &Head<'_, '_>) {
        client.inform(
            head.status,
            head.reason,
            head.for_client(self.policy.id_field),
        );
    }

    /// Passes the head of the answer on.
    pub(super) fn begin<C: Client>(
        &mut self,
        client: &mut C,
        head: &Head<'_, '_>,
    ) -> Result<(), Failure> {
        if let Some(visit) = &mut self.visit {
            visit.answered(head.status);
        }
        let apps = head
            .hsts
            .and_then(|value| HeaderValue::from_bytes(value).ok());
        let is_final = head.framing != Framing::Upgrade;
        let date = (is_final && !head.has_date).then(get_cached_date);
        let promise = self.promise(apps.as_ref());
        let served_by = self.served_by();
        let mut own = self.own_fields(date.as_ref(), promise.as_ref());
        if let Some(served_by) = &served_by {
            own.push((SERVED_BY, served_by.as_bytes()));
        }
        let is_bodiless = head.framing == Framing::None;
        let beginning = Beginning {
            status: head.status,
            reason: head.reason,
            framing: if is_bodiless {
                head.said_framing(self.asked)
            } else {
                head.framing
            },
            is_bodiless,
        };
        let is_debug = served_by.is_some();
        let fields = head.for_client(self.policy.id_field);
        let fields = fields.filter(|(name, _)| !is_debug || !name.eq_ignore_ascii_case(SERVED_BY));
        client.begin(beginning, fields.chain(own))
    }

    /// Writes the head of an answer of the proxy's own.
    pub(super) fn write<C: Client>(
        &mut self,
        client: &mut C,
        answer: &Response<Bytes>,
    ) -> Result<(), Failure> {
        let status = answer.status();
        if let Some(visit) = &mut self.visit {
            visit.answered(status);
        }
        let date = get_cached_date();
        let promise = self.promise(answer.headers().get(STRICT_TRANSPORT_SECURITY));
        let own = self.own_fields(Some(&date), promise.as_ref());
        let fields = answer
            .headers()
            .iter()
            .filter(|(name, _)| **name != STRICT_TRANSPORT_SECURITY)
            .filter(|(name, _)| name.as_str() != "content-length")
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let beginning = Beginning {
            status,
            reason: status.canonical_reason().unwrap_or_default(),
            framing: Framing::Length(answer.body().len() as u64),
            is_bodiless: self.asked == Asked::Head || answer.body().is_empty(),
        };
        client.begin(beginning, fields.chain(own))
    }

    /// The fields that the proxy adds to every answer.
    fn own_fields<'f>(
        &'f self,
        date: Option<&'f HeaderValue>,
        promise: Option<&'f HeaderValue>,
    ) -> SmallVec<[Field<'f>; 4]> {
        let mut fields: SmallVec<[Field<'f>; 4]> = SmallVec::new();
        if let Some(date) = date {
            fields.push((&b"Date"[..], date.as_bytes()));
        }
        fields.push((self.policy.id_field.as_bytes(), &self.id[..]));
        if let Some(promise) = promise {
            fields.push((&b"strict-transport-security"[..], promise.as_bytes()));
        }
        fields
    }

    fn promise(&self, apps: Option<&HeaderValue>) -> Option<HeaderValue> {
        let route = self.visit.as_ref().map(|visit| &**visit.route());
        self.policy.promise(route, apps, || self.is_encrypted)
    }

    /// Where the answer is from, for whoever looks for a fault.
    fn served_by(&self) -> Option<String> {
        let visit = self.visit.as_ref().filter(|_| self.policy.options.debug)?;
        let prefix = &visit.route().prefix;
        Some(format!("http://{}{prefix}", visit.instance().target))
    }
}
