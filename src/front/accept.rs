//! The steps before the first request of a connection: the limits on connections, the PROXY protocol, TLS.

use http::StatusCode;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::server::ShutdownWatch;

use super::clients::{ClientLimit, Ticket};
use super::listener::{self, Accepted, ListenerOptions};
use super::request::Request;
use super::{Front, Service, stopping};
use crate::reply::Refusal;

impl<P: Service, C> Front<P, C> {
    /// Counts a connection at its client; one that announces its clients is counted when it has.
    pub(super) fn admit(&self, stream: &Stream) -> Result<Ticket, ClientLimit> {
        let peer = listener::peer(stream);
        let announces = self.options.listeners.of(stream).trusts(peer);
        let client = peer.filter(|_| !announces);
        let descriptor = usize::try_from(stream.id()).unwrap_or(0);
        self.clients
            .admit(client.map(|client| client.ip()), descriptor)
    }

    /// Lets what comes before the first request pass, unless the server stops meanwhile, or another
    /// connection needs the place.
    pub(super) async fn arrive(
        &self,
        stream: Stream,
        listener: &ListenerOptions,
        mut shutdown: ShutdownWatch,
        ticket: &mut Ticket,
    ) -> Accepted {
        let peer = listener::peer(&stream);
        let announces = listener.trusts(peer);
        let limit = self.options.handshake_timeout;
        let sheds = |socket: &Socket| self.sheds_handshake(socket);
        let admitted = tokio::select! {
            biased;
            admitted = listener::admit(stream, listener, limit, sheds) => admitted,
            () = stopping(&mut shutdown) => return Accepted::Nothing,
            () = ticket.evicted() => return Accepted::Nothing,
        };
        let accepted = admitted.unwrap_or_else(|error| {
            self.failures.note(peer, &error);
            Accepted::Nothing
        });
        let client = accepted.stream().and_then(listener::peer);
        if announces && ticket.announce(client.map(|client| client.ip())).is_err() {
            return Accepted::Nothing;
        }
        accepted
    }

    /// Why a request is not served that came over a connection beyond the limits, if it came over one and
    /// is neither a registration nor a health probe.
    pub(super) fn refusal_of(&self, request: &Request, ticket: &Ticket) -> Option<Refusal> {
        (ticket.is_reserved() && !self.proxy.is_exempt(request)).then(too_many_connections)
    }

    /// Why a request of HTTP/2 is not served that is one too many for its client, unless it is a registration: the
    /// apps of this machine are one client, and none keeps another from registering.
    pub(super) fn refusal_of_stream(
        &self,
        request: &Request,
        counted: Result<(), ClientLimit>,
    ) -> Option<Refusal> {
        let limit = counted
            .err()
            .filter(|_limit| !self.proxy.is_control(request))?;
        // The line about the refused request names the limit, beside the request's id.
        self.clients.counts().count(limit);
        Some(too_many_streams())
    }
}

/// The reply to a request of HTTP/2 of a client that has too many in progress.
fn too_many_streams() -> Refusal {
    Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        "TOO_MANY_STREAMS",
        "This client has too many requests in progress (limits.streams_per_client); try again when some of them \
         are done.",
    )
}

fn too_many_connections() -> Refusal {
    Refusal::of_limit(
        StatusCode::SERVICE_UNAVAILABLE,
        "TOO_MANY_CONNECTIONS",
        "there are too many connections; this one may only register",
        "limits.connections, limits.connections_per_client",
    )
}
