//! What the proxies have behind them: an origin of its own, since nothing at hand does all of HTTP/1.1,
//! WebSocket and gRPC for less processor time than nginx takes for a proxied request.

mod grpc;
mod http1;
mod websocket;

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::identity::Identity;

/// The length of a small answer.
pub(crate) const SMALL: u64 = 66;
/// The path of an answer of this many bytes is this and the number.
pub(crate) const BYTES: &str = "/bytes/";
/// The path of the WebSocket.
pub(crate) const ECHO: &str = "/echo";
/// The path of the gRPC method, which gives back its message.
pub(crate) const METHOD: &str = "/bench.Echo/Unary";

/// The ports of the origin.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    /// HTTP/1.1 and WebSocket.
    pub(crate) http1: u16,
    /// HTTP/1.1 over TLS 1.3.
    pub(crate) https: u16,
    /// gRPC: HTTP/2 without TLS.
    pub(crate) grpc: u16,
}

impl Origin {
    /// Serves on this runtime, while that runs: in the thread of the load, see [`crate::load::awake`].
    pub(crate) async fn start(identity: &Identity) -> Result<Self> {
        let acceptor = TlsAcceptor::from(identity.server()?);
        let http1 = TcpListener::bind("127.0.0.1:0").await?;
        let secured = TcpListener::bind("127.0.0.1:0").await?;
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        let origin = Self {
            http1: http1.local_addr()?.port(),
            https: secured.local_addr()?.port(),
            grpc: grpc.local_addr()?.port(),
        };
        tokio::spawn(async move {
            loop {
                if let Some(stream) = accepted(&http1).await {
                    tokio::spawn(http1::serve(stream));
                }
            }
        });
        tokio::spawn(async move {
            loop {
                if let Some(stream) = accepted(&secured).await {
                    tokio::spawn(http1::serve_tls(stream, acceptor.clone()));
                }
            }
        });
        tokio::spawn(async move {
            loop {
                if let Some(stream) = accepted(&grpc).await {
                    tokio::spawn(grpc::serve(stream));
                }
            }
        });
        Ok(origin)
    }
}

async fn accepted(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            eprintln!("the origin: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            None
        }
    }
}
