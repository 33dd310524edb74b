//! Requests over a few connections of HTTP/2.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use http::header::RETRY_AFTER;
use tokio::net::TcpStream;

use crate::Result;

/// Connections that are used in turn.
pub(crate) struct Streams {
    senders: Vec<SendRequest<Bytes>>,
    next: AtomicUsize,
}

impl Streams {
    pub(crate) async fn open(address: SocketAddr, connections: usize) -> Result<Self> {
        let mut senders = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = h2::client::handshake(stream).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("a connection of HTTP/2: {error}");
                }
            });
            senders.push(sender);
        }
        Ok(Self {
            senders,
            next: AtomicUsize::new(0),
        })
    }

    pub(crate) async fn ask(&self) -> Result<(u16, bool)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.senders.len().max(1);
        let sender = self.senders.get(index).ok_or("no connection")?;
        let mut sender = sender.clone().ready().await?;
        let request = Request::get("http://localhost/").body(())?;
        let (response, _) = sender.send_request(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
        }
        Ok((head.status.as_u16(), head.headers.contains_key(RETRY_AFTER)))
    }
}
