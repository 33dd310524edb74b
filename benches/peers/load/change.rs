//! Changes of a proxy's routes over its own API.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Slot;
use crate::Result;
use crate::client::Address;
use crate::peer::Registration;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Which route is next.
#[derive(Clone)]
pub(crate) enum Next {
    /// One that was not there.
    New(Arc<AtomicUsize>),
    /// Any of these, which gets the other one of its two targets.
    Any(Range<usize>),
}

/// A connection to the API.
pub(crate) struct Change {
    stream: Stream,
    buffer: BytesMut,
    registration: Registration,
    next: Next,
    /// The target, and another one.
    targets: [u16; 2],
}

impl Change {
    pub(crate) async fn connect(
        registration: Registration,
        next: Next,
        targets: [u16; 2],
    ) -> Result<Self> {
        let stream = match &registration.address {
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        Ok(Self {
            stream,
            buffer: BytesMut::with_capacity(4096),
            registration,
            next,
            targets,
        })
    }

    async fn read(&mut self) -> Result<()> {
        self.buffer.reserve(2048);
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read_buf(&mut self.buffer).await?,
            Stream::Unix(stream) => stream.read_buf(&mut self.buffer).await?,
        };
        if count == 0 {
            return Err("the proxy has closed the connection of its API".into());
        }
        Ok(())
    }
}

impl Slot for Change {
    async fn ask(&mut self) -> Result<()> {
        let [target, other] = self.targets;
        let (number, target) = match &self.next {
            Next::New(count) => (count.fetch_add(1, Ordering::Relaxed), target),
            Next::Any(range) => {
                self.targets = [other, target];
                (fastrand::usize(range.clone()), target)
            }
        };
        let request = (self.registration.request)(number, target);
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(&request).await?,
            Stream::Unix(stream) => stream.write_all(&request).await?,
        }
        self.buffer.clear();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = self.buffer.get(..end).unwrap_or_default();
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 2") {
            let said = String::from_utf8_lossy(&self.buffer);
            return Err(format!("a change was refused: {said}").into());
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        if let Some(length) = length {
            let length: usize = length.trim().parse()?;
            while self.buffer.len() < end + length {
                self.read().await?;
            }
        } else if head.contains("transfer-encoding: chunked") {
            while !self.buffer.ends_with(b"0\r\n\r\n") {
                self.read().await?;
            }
        }
        Ok(())
    }
}
