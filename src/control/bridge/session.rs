//! A client whose request a session of Pingora's has read: for `engine: pingora`, and for programs that
//! mount the bridge in a Pingora server of their own.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use log::debug;
use pingora::http::ResponseHeader;
use pingora_core::Error;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::server::ShutdownWatch;

use super::super::peer::{Asker, Peer};
use super::channel::{Broken, Channel, Head, Start};
use super::{Bridge, SEND_TIMEOUT, expects_continue};
use crate::front::{Fields, RequestIds, framing_of, keep_as_asked};

#[async_trait]
impl HttpServerApp for Bridge {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                debug!("a control request cannot be read: {error}");
                return None;
            }
        }
        let asked = session.req_header();
        match framing_of(&asked.method, asked.version, Fields::Map(&asked.headers)) {
            Ok((_, options)) => keep_as_asked(&mut session, options),
            Err(_) => session.set_keepalive(None),
        }
        if *shutdown.borrow() {
            session.set_keepalive(None);
        }
        session.set_write_timeout(Some(SEND_TIMEOUT));
        // Pingora would close for an interim response as well, before which no body has come.
        session.set_close_on_response_before_downstream_finish(false);
        let head = head(&session, &self.ids);
        let id = head.asker.id.clone();
        if let Err(error) = self.exchange(&mut session, head, shutdown).await {
            debug!("a control request broke off: {error} [{id}]");
            return None;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        match session.finish().await {
            Ok(reusable) => {
                reusable.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings))
            }
            Err(error) => {
                debug!("a control connection cannot be used again: {error} [{id}]");
                None
            }
        }
    }
}

/// The request for the router.
fn head(session: &ServerSession, ids: &RequestIds) -> Head {
    let head = session.req_header();
    let mut fields = head.headers.clone();
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // HTTP/2 has it in place of `Host`; where both are, they say the same.
        fields.entry(HOST).or_insert(host);
    }
    let digest = session.digest();
    let relay = digest.and_then(|digest| digest.proxy_digest.as_ref());
    let local = session.server_addr();
    Head {
        method: head.method.clone(),
        target: head.raw_path().to_vec(),
        fields,
        asker: Asker {
            peer: relay.map_or_else(
                || peer_of(session.client_addr(), local),
                |relay| relayed(relay),
            ),
            local: local.and_then(SocketAddr::as_inet).copied(),
            cookie: cookie(digest.and_then(|digest| digest.socket_digest.as_deref())),
            id: ids.of_fields(Fields::Map(&head.headers)),
        },
        is_http2: head.version == Version::HTTP_2,
        expects: expects_continue(
            head.version,
            head.headers.get(EXPECT).map(HeaderValue::as_bytes),
        ),
    }
}

/// The peer of a connection that a relay has announced (PROXY protocol).
pub(super) fn relayed(relay: &ProxyDigest) -> Peer {
    let peer = relay.user_data.as_ref();
    let peer = peer.and_then(|peer| peer.downcast_ref::<Option<std::net::SocketAddr>>());
    peer.copied().flatten().map_or(Peer::Unknown, Peer::Relayed)
}

/// The peer of a connection, by its two ends.
pub(super) fn peer_of(peer: Option<&SocketAddr>, local: Option<&SocketAddr>) -> Peer {
    match (peer, local) {
        (Some(SocketAddr::Inet(address)), _) => Peer::Inet(*address),
        // A client's end of a Unix socket has no name, and no address; ours has.
        (Some(SocketAddr::Unix(_)), _) | (None, Some(SocketAddr::Unix(_))) => Peer::Unix,
        (None, _) => Peer::Unknown,
    }
}

/// The kernel's cookie of a connection over a Unix socket, or over TCP from this machine.
pub(super) fn cookie(socket: Option<&SocketDigest>) -> Option<u64> {
    let socket = socket?;
    let is_local = match socket.peer_addr() {
        Some(SocketAddr::Inet(peer)) => peer.ip().to_canonical().is_loopback(),
        Some(SocketAddr::Unix(_)) | None => true,
    };
    is_local.then(|| socket.socket_cookie().ok())?
}

impl From<Box<Error>> for Broken {
    fn from(error: Box<Error>) -> Self {
        Self(error.to_string())
    }
}

impl Channel for ServerSession {
    async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(self.read_request_body().await?)
    }

    async fn send_continue(&mut self) -> Result<(), Broken> {
        Ok(self.write_continue_response().await?)
    }

    fn is_body_done(&mut self) -> bool {
        ServerSession::is_body_done(self)
    }

    fn close(&mut self) {
        self.set_keepalive(None);
    }

    async fn begin(&mut self, start: Start) -> Result<(), Broken> {
        let mut head = ResponseHeader::build(start.status, Some(start.fields.len() + 1))?;
        for (name, value) in &start.fields {
            head.append_header(name.clone(), value.clone())?;
        }
        match start.length {
            Some(length) => head.insert_header(CONTENT_LENGTH, length)?,
            None if start.is_bodiless => {}
            None if self.req_header().version < Version::HTTP_11 => self.set_keepalive(None),
            None => head.insert_header(TRANSFER_ENCODING, "chunked")?,
        }
        Ok(self.write_response_header(Box::new(head)).await?)
    }

    async fn write(&mut self, data: Bytes) -> Result<(), Broken> {
        Ok(self.write_response_body(data, false).await?)
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        Ok(self.write_response_body(Bytes::new(), true).await?)
    }

    async fn gone(&mut self) -> Broken {
        match self.read_body_or_idle(true).await {
            Ok(_) => Broken("it sent more than its request".to_owned()),
            Err(error) => error.into(),
        }
    }
}
