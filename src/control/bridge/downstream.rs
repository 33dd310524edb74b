//! A client of the front.

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use log::debug;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::server::ShutdownWatch;

use super::super::peer::{Asker, Peer};
use super::channel::{Broken, Channel, Head, Start};
use super::{Bridge, SEND_TIMEOUT, expects_continue};
use crate::front::{
    After, Caller, ControlService, Downstream, DownstreamError, Field, Fields, Framing, Request,
    RequestId, ResponseStart, drain,
};

/// One read of a request's body.
const PIECE: usize = 16 * 1024;

impl ControlService for Bridge {
    async fn answer<'c, D: Downstream + 'c>(
        &'c self,
        request: Box<Request>,
        mut downstream: D,
        shutdown: &'c ShutdownWatch,
    ) -> After {
        let id = self.ids.of(&request);
        let head = head(&request, id.clone());
        drop(request);
        if *shutdown.borrow() {
            downstream.close();
        }
        let mut channel = Front(&mut downstream);
        if let Err(error) = self.exchange(&mut channel, head, shutdown).await {
            debug!("a control request broke off: {error} [{id}]");
            downstream.abandon();
            return downstream.after();
        }
        if downstream.wants_drain() {
            drain(&mut downstream, &id).await;
        }
        downstream.after()
    }
}

/// The request for the router.
fn head(request: &Request, id: RequestId) -> Head {
    let mut fields = match request.fields() {
        Fields::Map(fields) => fields.clone(),
        fields => fields.into_iter().filter_map(field).collect(),
    };
    if let Some(host) = request.authority()
        && let Ok(host) = HeaderValue::from_bytes(host)
    {
        // HTTP/2 and the absolute form have it in place of `Host`.
        fields.insert(HOST, host);
    }
    Head {
        method: request.method().clone(),
        target: request.target().to_vec(),
        fields,
        asker: Asker {
            peer: peer(request.caller()),
            local: local(request.caller()),
            cookie: super::session::cookie(request.caller().socket.as_deref()),
            id,
        },
        is_http2: request.version() == Version::HTTP_2,
        expects: expects_continue(request.version(), request.fields().get(&EXPECT)),
    }
}

fn field((name, value): Field<'_>) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

/// The peer as the kernel knows it.
fn peer(caller: &Caller) -> Peer {
    if let Some(relay) = &caller.relay {
        // The address of such a connection is what the relay says, not what the kernel knows.
        return super::session::relayed(relay);
    }
    let socket = caller.socket.as_deref();
    super::session::peer_of(
        socket.and_then(|socket| socket.peer_addr()),
        socket.and_then(|socket| socket.local_addr()),
    )
}

/// The address that the client connected to.
fn local(caller: &Caller) -> Option<std::net::SocketAddr> {
    let socket = caller.socket.as_deref();
    let address = socket.and_then(|socket| socket.local_addr());
    address.and_then(SocketAddr::as_inet).copied()
}

/// The client's side of an exchange.
struct Front<'d, D>(&'d mut D);

impl From<DownstreamError> for Broken {
    fn from(error: DownstreamError) -> Self {
        Self(error.to_string())
    }
}

impl<D: Downstream> Front<'_, D> {
    /// Waits until everything that was written is on its way.
    async fn flush(&mut self) -> Result<(), Broken> {
        let flushed = std::future::poll_fn(|context| self.0.poll_flush(context));
        match pingora_timeout::tokio_timeout(SEND_TIMEOUT, flushed).await {
            Ok(flushed) => Ok(flushed?),
            Err(_elapsed) => Err(Broken("the client does not take its response".to_owned())),
        }
    }
}

impl<D: Downstream> Channel for Front<'_, D> {
    async fn piece(&mut self) -> Result<Option<Bytes>, Broken> {
        let mut room = vec![0; PIECE];
        let read = std::future::poll_fn(|context| self.0.poll_body(context, &mut room));
        let count = read.await?;
        room.truncate(count);
        Ok((count > 0).then(|| Bytes::from(room)))
    }

    async fn send_continue(&mut self) -> Result<(), Broken> {
        self.0
            .inform(StatusCode::CONTINUE, "Continue", std::iter::empty());
        self.flush().await
    }

    fn is_body_done(&mut self) -> bool {
        self.0.is_body_over()
    }

    fn close(&mut self) {
        self.0.close();
    }

    async fn begin(&mut self, start: Start) -> Result<(), Broken> {
        let Start {
            status,
            fields,
            length,
            is_bodiless,
        } = start;
        let response = ResponseStart {
            status,
            reason: status.canonical_reason().unwrap_or_default(),
            framing: match length {
                Some(length) => Framing::Length(length),
                None if is_bodiless => Framing::None,
                None => Framing::Chunked,
            },
            is_bodiless,
        };
        let date = get_cached_date();
        let own = [(&b"Date"[..], date.as_bytes())];
        let fields = named(&fields);
        self.0.begin(response, own.into_iter().chain(fields))?;
        self.flush().await
    }

    async fn write(&mut self, data: Bytes) -> Result<(), Broken> {
        std::future::poll_fn(|context| std::task::Poll::Ready(self.0.write(context, &data)))
            .await?;
        self.flush().await
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        self.0.end()?;
        self.flush().await
    }

    async fn gone(&mut self) -> Broken {
        std::future::poll_fn(|context| self.0.poll_gone(context))
            .await
            .into()
    }
}

fn named(fields: &HeaderMap) -> impl Iterator<Item = Field<'_>> {
    fields
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}
