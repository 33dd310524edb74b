//! A WebSocket, on which each message comes back.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Slot;
use super::stream::Stream;
use crate::Result;
use crate::origin::ECHO;

/// The length of a message.
const LENGTH: u8 = 64;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) struct WebSocket {
    stream: Stream,
    buffer: BytesMut,
    /// The frame that is sent, masked, and what is to come back.
    sent: Vec<u8>,
    back: Vec<u8>,
}

impl WebSocket {
    pub(crate) async fn open(mut stream: Stream) -> Result<Self> {
        let request = format!(
            "GET {ECHO} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut buffer = BytesMut::with_capacity(2048);
        while !buffer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err("no WebSocket".into());
            }
        }
        let head = String::from_utf8_lossy(&buffer);
        if !head.starts_with("HTTP/1.1 101 ") || !head.contains(&derive_accept_key(KEY.as_bytes()))
        {
            return Err(format!("no WebSocket: {}", head.trim()).into());
        }
        buffer.clear();
        let mask = [0x11, 0x22, 0x33, 0x44];
        let payload = [b'm'; LENGTH as usize];
        let mut sent = vec![0x82, 0x80 | LENGTH];
        sent.extend(mask);
        sent.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        let mut back = vec![0x82, LENGTH];
        back.extend(payload);
        Ok(Self {
            stream,
            buffer,
            sent,
            back,
        })
    }
}

impl Slot for WebSocket {
    async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.sent).await?;
        self.stream.flush().await?;
        while self.buffer.len() < self.back.len() {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the proxy has closed the WebSocket".into());
            }
        }
        if *self.buffer != *self.back {
            return Err("another message came back".into());
        }
        self.buffer.clear();
        Ok(())
    }
}
