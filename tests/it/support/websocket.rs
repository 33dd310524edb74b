//! WebSocket clients and origins.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Client, Origin, OriginConnection, TestProxy, Visitors, in_time};

/// A handshake as bytes (RFC 6455, 1.3).
pub(crate) const HANDSHAKE: &str = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The response to it.
pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Both ends of an open WebSocket as bytes: this client's, and that of the origin which it reaches.
pub(crate) async fn switched(
    mut client: Client,
    visitors: &mut Visitors,
) -> (Client, OriginConnection) {
    client.send(HANDSHAKE).await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a handshake");
    visit.send(SWITCH).await;
    assert_eq!(client.response().await.status, 101);
    (client, visit)
}

/// A client's WebSocket.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Opens a WebSocket at a path, which the origin has to accept.
    pub(crate) async fn open(proxy: &TestProxy, path: &str) -> Self {
        Self::try_open(proxy, path).await.expect("a WebSocket")
    }

    /// Opens a WebSocket at a path.
    pub(crate) async fn try_open(proxy: &TestProxy, path: &str) -> Result<Self, Error> {
        Self::open_at(proxy.address(), path).await
    }

    /// Opens a WebSocket at an address and a path.
    pub(crate) async fn open_at(address: SocketAddr, path: &str) -> Result<Self, Error> {
        let stream = in_time("connecting", TcpStream::connect(address))
            .await
            .expect("the proxy accepts");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let request = format!("ws://localhost{path}").into_client_request()?;
        let opened = tokio_tungstenite::client_async(request, stream);
        let (socket, _response) = in_time("opening a WebSocket", opened).await?;
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, message: Message) {
        in_time("sending a message", self.0.send(message))
            .await
            .expect("a message is sent");
    }

    /// Sends a message, if the connection is still there.
    pub(crate) async fn offer(&mut self, message: Message) -> bool {
        in_time("sending a message", self.0.send(message))
            .await
            .is_ok()
    }

    /// The next message; `None` at the end, whatever it looks like.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        in_time("a message", self.0.next()).await?.ok()
    }

    /// Sends a message, which has to come back.
    pub(crate) async fn echo(&mut self, message: Message) {
        self.send(message.clone()).await;
        let back = self.next().await.expect("an echo");
        assert!(back == message, "another message came back");
    }

    /// Sends a text, which has to come back.
    pub(crate) async fn echo_text(&mut self, text: &str) {
        self.echo(Message::text(text)).await;
    }

    /// Takes the connection apart without a word on it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }
}

impl Origin {
    /// Sends every message back.
    pub(crate) async fn websocket() -> Self {
        Self::start(|mut visit| async move {
            let accepted = tokio_tungstenite::accept_async(&mut visit.stream).await;
            let mut socket = accepted.expect("a handshake");
            while let Some(Ok(message)) = socket.next().await {
                let is_content = message.is_text() || message.is_binary();
                if is_content && socket.send(message).await.is_err() {
                    return;
                }
            }
        })
        .await
    }
}
