//! HTTP/2: gets, and unary calls of gRPC.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};

use super::stream::Connector;
use super::{Slot, path};
use crate::Result;
use crate::origin::{METHOD, SMALL};

/// A unary call's message: not compressed, 32 bytes.
pub(crate) const MESSAGE: [u8; 37] = {
    let mut message = [b'm'; 37];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 32;
    message
};

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Get,
    Call,
}

/// A stream of a connection that others use too.
pub(crate) struct Shared {
    send: SendRequest<Bytes>,
    base: String,
    routes: usize,
    ask: Ask,
}

/// Makes connections, and slots that ask for as many routes or else for `/`, for this many streams on each.
pub(crate) async fn slots(
    connector: &Connector,
    ask: Ask,
    routes: usize,
    connections: usize,
    streams: usize,
) -> Result<Vec<Shared>> {
    let port = connector.address.port();
    let mut slots = Vec::new();
    for _ in 0..connections {
        let stream = connector.connect().await?;
        let (send, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("{error}"); // Its streams have errors of their own.
            }
        });
        slots.extend((0..streams).map(|_| Shared {
            send: send.clone(),
            base: format!("https://localhost:{port}"),
            routes,
            ask,
        }));
    }
    Ok(slots)
}

impl Slot for Shared {
    async fn ask(&mut self) -> Result<()> {
        let path = match self.ask {
            Ask::Call => METHOD.to_owned(),
            Ask::Get if self.routes > 0 => path(self.routes),
            Ask::Get => "/".to_owned(),
        };
        let request = Request::builder().uri(format!("{}{path}", self.base));
        let request = match self.ask {
            Ask::Get => request.body(())?,
            Ask::Call => request
                .method(Method::POST)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())?,
        };
        let mut send = self.send.clone().ready().await?;
        let call = matches!(self.ask, Ask::Call);
        let (response, mut body) = send.send_request(request, !call)?;
        if call {
            body.send_data(Bytes::from_static(&MESSAGE), true)?;
        }
        let response = response.await?;
        if response.status() != 200 {
            return Err(format!("not 200 but {}", response.status()).into());
        }
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            length += piece.len() as u64;
        }
        let wanted = if call { MESSAGE.len() as u64 } else { SMALL };
        if length != wanted {
            return Err(format!("not {wanted} bytes but {length}").into());
        }
        if call {
            let trailers = body.trailers().await?.unwrap_or_else(HeaderMap::new);
            if trailers
                .get("grpc-status")
                .is_none_or(|status| status != "0")
            {
                return Err("no grpc-status 0 in the trailers".into());
            }
        }
        Ok(())
    }
}
