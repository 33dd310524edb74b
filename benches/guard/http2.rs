//! A client of HTTP/2 in cleartext, with one connection and one stream at a time.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Duration, timeout};

use crate::Result;

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

impl Http2 {
    pub(crate) fn connect(port: u16) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = timeout(PATIENCE, h2::client::handshake(stream)).await??;
            // A fault of the connection is one of the request that waits, too.
            tokio::spawn(connection);
            Result::Ok(sender)
        })?;
        Ok(Self { runtime, sender })
    }

    /// The status and the body of the answer.
    pub(crate) fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>)> {
        let request = http::Request::get(format!("http://localhost{path}"))
            .header("accept", "*/*")
            .header("user-agent", "guard")
            .body(())?;
        let sender = self.sender.clone();
        let exchange = async {
            let (answer, _) = sender.ready().await?.send_request(request, true)?;
            let (head, mut body) = answer.await?.into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                whole.extend_from_slice(&piece);
            }
            Result::Ok((head.status.as_u16(), whole))
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, exchange).await })?
    }
}
