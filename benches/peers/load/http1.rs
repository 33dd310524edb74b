//! HTTP/1.1, on a connection that stays or on a new one for each request.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Slot;
use super::stream::{Connector, Stream};
use crate::{Result, routes};

/// What is asked.
#[derive(Clone)]
pub(crate) enum Ask {
    /// Always the same bytes.
    Same(Arc<[u8]>),
    /// A path below one of this many routes, at random.
    Route(usize),
}

impl Ask {
    pub(crate) fn get(path: &str, close: bool) -> Self {
        Self::Same(get(path, close).into())
    }

    pub(crate) fn upload(length: usize) -> Self {
        let mut bytes = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.resize(bytes.len() + length, b'x');
        Self::Same(bytes.into())
    }
}

fn get(path: &str, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n"
    )
    .into_bytes()
}

/// A connection that stays.
pub(crate) struct Kept {
    stream: Stream,
    buffer: BytesMut,
    ask: Ask,
    length: u64,
}

impl Kept {
    /// Asks on this connection, for answers with bodies of this length.
    pub(crate) fn new(stream: Stream, ask: Ask, length: u64) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            ask,
            length,
        }
    }

    async fn read(&mut self) -> Result<()> {
        self.buffer.reserve(if self.length > 8192 {
            256 * 1024
        } else {
            2048
        });
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the proxy has closed the connection".into());
        }
        Ok(())
    }

    /// The connection's last answer: it ends after it.
    async fn closed(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(()),
            Ok(_) => Err("more than the answer".into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Slot for Kept {
    async fn ask(&mut self) -> Result<()> {
        match &self.ask {
            Ask::Same(bytes) => self.stream.write_all(bytes).await?,
            Ask::Route(count) => {
                let path = routes::path(fastrand::usize(0..*count));
                self.stream.write_all(&get(&path, false)).await?;
            }
        }
        self.stream.flush().await?;
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = self.buffer.split_to(end);
        check(&head, self.length)?;
        let mut rest = self.length;
        loop {
            let here = rest.min(self.buffer.len() as u64);
            rest -= here;
            if rest == 0 {
                let more = self.buffer.len() as u64 - here;
                self.buffer.clear();
                return if more == 0 {
                    Ok(())
                } else {
                    Err(format!("{more} bytes more than the answer").into())
                };
            }
            self.buffer.clear();
            self.read().await?;
        }
    }
}

/// The status has to be 200, and the length of the body this one.
fn check(head: &[u8], length: u64) -> Result<()> {
    let wrong = || -> Result<()> {
        let head = String::from_utf8_lossy(head);
        Err(format!("not 200 with {length} bytes: {}", head.trim()).into())
    };
    if head.get(9..13) != Some(b"200 ".as_slice()) {
        return wrong();
    }
    for line in head.split(|&byte| byte == b'\n') {
        let Some((name, value)) = line.split_at_checked(15) else {
            continue;
        };
        if name.eq_ignore_ascii_case(b"content-length:") {
            let told = String::from_utf8_lossy(value).trim().parse();
            return if told == Ok(length) { Ok(()) } else { wrong() };
        }
    }
    wrong()
}

/// A new connection for each request.
pub(crate) struct Fresh {
    pub(crate) connector: Connector,
    pub(crate) ask: Ask,
    pub(crate) length: u64,
}

impl Slot for Fresh {
    async fn ask(&mut self) -> Result<()> {
        let stream = self.connector.connect().await?;
        let mut kept = Kept::new(stream, self.ask.clone(), self.length);
        kept.ask().await?;
        kept.closed().await
    }
}
