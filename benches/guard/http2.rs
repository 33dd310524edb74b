//! A client of HTTP/2 in cleartext, with one connection and one stream at a time.

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Duration, timeout};

use crate::Result;
use crate::scenario::MESSAGE;

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
        let (status, whole, _trailers) = self.exchange(request, None)?;
        Ok((status, whole))
    }

    /// The status and the message of the answer to a call; none if the call has another status than 0.
    pub(crate) fn call(&mut self, path: &str) -> Result<(u16, Vec<u8>)> {
        let request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "guard")
            .body(())?;
        let message = Bytes::from_static(&MESSAGE);
        let (status, whole, trailers) = self.exchange(request, Some(message))?;
        let code = trailers
            .as_ref()
            .and_then(|fields| fields.get("grpc-status"));
        if code.is_none_or(|code| code != "0") {
            return Err(format!("a call ended with {code:?}").into());
        }
        Ok((status, whole))
    }

    /// The status, the body and the trailers of the answer.
    fn exchange(
        &mut self,
        request: http::Request<()>,
        message: Option<Bytes>,
    ) -> Result<(u16, Vec<u8>, Option<http::HeaderMap>)> {
        let sender = self.sender.clone();
        let exchange = async {
            let is_whole = message.is_none();
            let (answer, mut upload) = sender.ready().await?.send_request(request, is_whole)?;
            if let Some(message) = message {
                upload.send_data(message, true)?;
            }
            let (head, mut body) = answer.await?.into_parts();
            let mut whole = Vec::new();
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                whole.extend_from_slice(&piece);
            }
            Result::Ok((head.status.as_u16(), whole, body.trailers().await?))
        };
        self.runtime
            .block_on(async { timeout(PATIENCE, exchange).await })?
    }
}
