//! Requests over a few connections of HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use http::header::RETRY_AFTER;
use parking_lot::Mutex;

use crate::Result;
use crate::load::{Answered, Taken, connect};

/// How many streams the proxy lets a connection have.
const STREAMS: usize = 100;

/// Connections that are used in turn.
pub(crate) struct Streams {
    senders: Vec<SendRequest<Bytes>>,
    /// The connection of each stream that may be opened.
    free: Mutex<Vec<usize>>,
}

impl Streams {
    /// Opens the connections for so many streams.
    pub(crate) async fn open(address: SocketAddr, streams: usize) -> Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..streams.div_ceil(STREAMS) {
            let stream = connect(address).await?;
            let (sender, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("a connection of HTTP/2: {error}");
                }
            });
            senders.push(sender);
        }
        let free = (0..streams).map(|stream| stream % senders.len());
        Ok(Self {
            free: Mutex::new(free.collect()),
            senders,
        })
    }

    pub(crate) async fn ask(&self) -> Result<Answered> {
        let index = self.free.lock().pop().ok_or("no stream is free")?;
        let answered = self.ask_over(index).await;
        self.free.lock().push(index);
        answered
    }

    async fn ask_over(&self, index: usize) -> Result<Answered> {
        let sender = self.senders.get(index).ok_or("no connection")?;
        let mut sender = sender.clone().ready().await?;
        let way = Taken::kept();
        let request = Request::get("http://localhost/").body(())?;
        let (response, _) = sender.send_request(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
        }
        Ok(Answered {
            status: head.status.as_u16(),
            has_retry_after: head.headers.contains_key(RETRY_AFTER),
            way,
        })
    }
}
