//! Which calls go the direct way, and what is known of them before they do.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::super::plan::{Admitted, id};
use super::super::request::{Earlier, Fields, Message, Said, Survey};
use crate::front::{Caller, Incoming, TlsClient};
use crate::proxy::grpc;
use crate::proxy::headers::{self, Client};
use crate::proxy::options::Timeouts;
use crate::proxy::policy::Policy;
use crate::proxy::visit::Visit;
use crate::route::{Protocol, Route};

/// A call of gRPC that goes the direct way.
pub struct Call {
    /// Where it goes.
    pub(super) visit: Visit,
    pub(super) facts: Facts,
    /// Whether the client's side is encrypted.
    pub(super) is_encrypted: bool,
    /// Whether the client has shown a certificate.
    pub(super) has_certificate: bool,
    /// Its id.
    pub(super) id: HeaderValue,
    /// The times that it may take; its own deadline counts.
    pub(super) timeouts: Timeouts,
}

/// What a target is told of a call, beside the fields that the client has sent.
pub(super) struct Facts {
    /// What the target is asked for.
    uri: Uri,
    client: Client,
    /// Whether the client is a proxy whose word is kept.
    is_trusted: bool,
}

/// Whether a route's targets take calls the direct way, whichever of its instances is chosen.
pub(super) fn takes_calls(route: &Route) -> bool {
    route.instances().all(|instance| {
        let target = &instance.target;
        target.tls.is_none() && target.protocol == Protocol::H2c
    })
}

impl Call {
    /// A call, if the request of a stream is one and goes this way.
    pub(in crate::proxy) fn of(
        policy: &Policy,
        request: &Incoming,
        caller: &Caller,
    ) -> Option<Self> {
        let head = &request.head;
        if head.method != Method::POST || !grpc::is_of_call(&head.headers) {
            return None;
        }
        let message = message(head)?;
        let survey = Survey::of(&message, policy.id_field)?;
        let admitted = Admitted::find(policy, &message, &survey, caller, takes_calls)?;
        let id = id(survey.id, policy.options.request_ids.accept);
        let mut id = HeaderValue::from_bytes(&id).ok()?;
        // No other call has it: it would only push what comes again out of a connection's table of
        // fields (RFC 7541, 2.3.2).
        id.set_sensitive(true);
        Some(Self {
            facts: Facts {
                uri: uri(head, admitted.view.rewritten(), survey.host)?,
                client: admitted.client,
                is_trusted: admitted.is_trusted,
            },
            is_encrypted: admitted.is_encrypted,
            has_certificate: admitted.has_certificate,
            id,
            timeouts: timeouts(policy, &head.headers),
            visit: policy.visit(admitted.route)?,
        })
    }
}

/// The times that a call may take, by its own word as far as that counts.
fn timeouts(policy: &Policy, fields: &HeaderMap) -> Timeouts {
    let timeouts = policy.options.timeouts;
    match grpc::named_deadline(fields) {
        Some(deadline) if deadline <= timeouts.grpc_deadline => timeouts.until(deadline),
        _ => timeouts,
    }
}

fn message(head: &Parts) -> Option<Message<'_>> {
    Some(Message {
        method: head.method.as_str(),
        target: head.uri.path_and_query()?.as_str().as_bytes(),
        authority: head.uri.authority().map(Authority::as_str),
        fields: Fields::Http2(&head.headers),
    })
}

/// What a target is asked for: with scheme and authority, which HTTP/2 has beside the path.
fn uri(head: &Parts, rewritten: Option<Vec<u8>>, host: Option<&[u8]>) -> Option<Uri> {
    if rewritten.is_none() && head.uri.authority().is_some() {
        return Some(head.uri.clone());
    }
    let mut parts = head.uri.clone().into_parts();
    if let Some(target) = rewritten {
        parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    }
    if parts.authority.is_none() {
        parts.authority = Some(Authority::try_from(host?).ok()?);
    }
    parts.scheme.get_or_insert(Scheme::HTTP);
    Uri::from_parts(parts).ok()
}

impl Facts {
    /// The request as its target gets it.
    pub(super) fn request(
        &self,
        head: &Parts,
        caller: &Caller,
        id_field: &'static str,
        id: &HeaderValue,
    ) -> Request<()> {
        let said = Said {
            client: self.client,
            identity: caller.tls_client(),
            is_trusted: self.is_trusted,
            id_field,
            id: id.as_bytes(),
        };
        let mut fields = HeaderMap::with_capacity(head.headers.len() + 12);
        let mut earlier = Earlier::default();
        for (name, value) in &head.headers {
            let is_host = *name == http::header::HOST;
            let field = (name.as_str().as_bytes(), value.as_bytes());
            if !is_host && said.passes(field, &mut earlier) {
                fields.append(name.clone(), value.clone());
            }
        }
        if headers::takes_trailers(&head.headers) {
            fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        fields.insert(id_field, id.clone());
        for (name, value) in said.identity.into_iter().flat_map(TlsClient::identity) {
            fields.insert(name.clone(), value.clone());
        }
        let host = self.uri.authority().map(|name| name.as_str().as_bytes());
        said.write_forwarding(&mut fields, host, &earlier);
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = fields;
        request
    }
}
