//! Which requests go the direct way, and what is known of them before they do.

use http::Method;
use http::header::CONTENT_LENGTH;
use http::uri::Authority;
use smallvec::SmallVec;

use super::body::Framing;
use super::request::{Fields, Message, Survey};
use crate::front::{Arrived, Caller, HeadFraming, Incoming};
use crate::proxy::context::View;
use crate::proxy::demand::Way;
use crate::proxy::headers::{self, Client};
use crate::proxy::policy::Policy;
use crate::proxy::visit::Visit;
use crate::route::{Held, Route};

/// A request that goes the direct way.
pub struct Plan {
    /// Where it goes.
    pub(super) visit: Visit,
    /// Its head as the target gets it.
    pub(super) head: Vec<u8>,
    /// How its body comes; the target gets it in the same way.
    pub(super) body: Framing,
    pub(super) method: Method,
    /// Whether the client wants its connection closed.
    pub(super) closes: bool,
    /// Whether the client's side is encrypted.
    pub(super) is_encrypted: bool,
    /// Whether the client has shown a certificate.
    pub(super) has_certificate: bool,
    /// Its id.
    pub(super) id: Id,
}

/// The id of a request.
pub(super) type Id = SmallVec<[u8; 40]>;

impl Plan {
    /// A plan for a request of HTTP/1.1; none if it is Pingora's.
    pub(super) fn of_http1(policy: &Policy, request: &Arrived<'_>) -> Option<Self> {
        let body = match request.framing {
            HeadFraming::Length(0) => Framing::None,
            HeadFraming::Length(length) => Framing::Length(length),
            HeadFraming::Chunked => Framing::Chunked,
            HeadFraming::Upgrade => Framing::Upgrade,
        };
        let mut room = super::request::room();
        let (method, target, fields) = super::request::parse(request.head, &mut room)?;
        if body == Framing::Upgrade && !is_handshake(method, fields) {
            return None;
        }
        let message = Message {
            method,
            target: target.as_bytes(),
            authority: None,
            fields: Fields::Http1(fields),
        };
        Self::of(policy, &message, body, &request.connection.caller())
    }

    /// A plan for a request of HTTP/2 that is no call of gRPC; none if it is Pingora's.
    pub(super) fn of_http2(policy: &Policy, request: &Incoming, caller: &Caller) -> Option<Self> {
        let head = &request.head;
        let length = || {
            head.headers
                .get(CONTENT_LENGTH)?
                .to_str()
                .ok()?
                .parse()
                .ok()
        };
        let body = if request.body.is_over() {
            Framing::None
        } else {
            length().map_or(Framing::Chunked, Framing::Length)
        };
        let message = Message {
            method: head.method.as_str(),
            target: head.uri.path_and_query()?.as_str().as_bytes(),
            authority: head.uri.authority().map(Authority::as_str),
            fields: Fields::Http2(&head.headers),
        };
        Self::of(policy, &message, body, caller)
    }

    /// A plan for a request of any HTTP.
    pub(super) fn of(
        policy: &Policy,
        message: &Message<'_>,
        body: Framing,
        caller: &Caller,
    ) -> Option<Self> {
        let survey = Survey::of(message, policy.id_field)?;
        let admitted = Admitted::find(policy, message, &survey, caller, Route::is_plain)?;
        let id = id(survey.id, policy.options.request_ids.accept);
        let rewritten = admitted.view.rewritten();
        let mut head = Vec::with_capacity(message.size() + 512);
        message.write(
            &mut head,
            rewritten.as_deref().unwrap_or(message.target),
            &survey,
            &super::request::Said {
                client: admitted.client,
                identity: caller.tls_client(),
                is_trusted: admitted.is_trusted,
                id_field: policy.id_field,
                id: &id,
            },
            body,
        );
        Some(Self {
            visit: policy.visit(admitted.route)?,
            head,
            body,
            method: admitted.method,
            closes: survey.closes,
            is_encrypted: admitted.is_encrypted,
            has_certificate: admitted.has_certificate,
            id,
        })
    }
}

/// A request that its route takes.
pub(super) struct Admitted<'a> {
    pub(super) route: Held,
    pub(super) view: View<'a>,
    pub(super) method: Method,
    pub(super) client: Client,
    /// Whether the client is a proxy whose word is kept.
    pub(super) is_trusted: bool,
    pub(super) is_encrypted: bool,
    pub(super) has_certificate: bool,
}

impl<'a> Admitted<'a> {
    /// Finds the route of a request, if that can be `reached` and asks for nothing that is not met.
    pub(super) fn find(
        policy: &Policy,
        message: &Message<'a>,
        survey: &Survey<'a>,
        caller: &Caller,
        reaches: impl FnOnce(&Route) -> bool,
    ) -> Option<Self> {
        // What a challenge is answered with, and whether a listener serves at all, is not for here.
        let is_challenge = message.target.starts_with(crate::proxy::challenges::PATH);
        if is_challenge || policy.redirect_port(caller.redirect).is_some() {
            return None;
        }
        let view = View::read(message.target, message.authority, survey.host).ok()?;
        let route = policy.lookup(&view)?;
        if !reaches(&route) {
            return None;
        }
        let client = Client {
            address: caller.address,
            is_tls: caller.tls.is_some(),
            port: view.port,
        };
        let is_trusted = headers::is_trusted(caller.address, &policy.options.trusted_proxies);
        let is_encrypted = client.is_tls || (is_trusted && message.says_https());
        let has_certificate = caller
            .tls_client()
            .is_some_and(|client| client.certificate.is_some());
        let method = Method::from_bytes(message.method.as_bytes()).ok()?;
        let way = || Way {
            is_encrypted,
            has_certificate,
            host: &view.host,
            method: &method,
            target: message.target,
        };
        policy.meet(&route, way).ok()?;
        Some(Self {
            route,
            view,
            method,
            client,
            is_trusted,
            is_encrypted,
            has_certificate,
        })
    }
}

/// Whether a request that asks for a WebSocket asks for nothing else (RFC 6455, 4.1).
fn is_handshake(method: &str, fields: &[httparse::Header<'_>]) -> bool {
    let upgrades = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("upgrade"));
    method == "GET" && upgrades.count() == 1
}

/// The id of a request: the client's, if it may choose and the text is one; else a new one.
pub(super) fn id(given: Option<&[u8]>, accepts: bool) -> Id {
    match given {
        Some(id) if accepts && headers::is_id(id) => Id::from_slice(id),
        _ => Id::from_slice(&headers::new_id()),
    }
}
