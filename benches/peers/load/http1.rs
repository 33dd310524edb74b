//! HTTP/1.1, on a connection that stays or on a new one for each request.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{Connector, Stream};
use super::{Slot, path};
use crate::Result;

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

/// What is a right answer.
#[derive(Clone, Copy)]
pub(crate) enum Right {
    /// 200, and a body of this length.
    Ok(u64),
    /// The proxy's own reply where no route matches: 501, and a body as long as it says.
    NoRoute,
}

/// A connection that stays.
pub(crate) struct Kept {
    connector: Connector,
    /// None after an answer that was the connection's last.
    stream: Option<Stream>,
    buffer: BytesMut,
    ask: Ask,
    right: Right,
}

impl Kept {
    /// Connects, and asks for such answers.
    pub(crate) async fn connect(connector: &Connector, ask: Ask, right: Right) -> Result<Self> {
        Ok(Self {
            connector: connector.clone(),
            stream: Some(connector.connect().await?),
            buffer: BytesMut::new(),
            ask,
            right,
        })
    }

    /// The connection; a new one if the proxy has said that it ends the last one.
    async fn stream(&mut self) -> Result<&mut Stream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connector.connect().await?,
        };
        Ok(self.stream.insert(stream))
    }

    /// Whether the proxy keeps the connection.
    pub(crate) fn is_kept(&self) -> bool {
        self.stream.is_some()
    }

    async fn read(&mut self) -> Result<()> {
        let large = matches!(self.right, Right::Ok(8193..));
        self.buffer.reserve(if large { 256 * 1024 } else { 2048 });
        let stream = self.stream.as_mut().ok_or("no connection")?;
        if stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the proxy has closed the connection".into());
        }
        Ok(())
    }

    /// Waits for the end of the connection.
    async fn closed(mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(()); // The answer said so.
        };
        match stream.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(()),
            Ok(_) => Err("more than the answer".into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Slot for Kept {
    async fn ask(&mut self) -> Result<()> {
        let ask = self.ask.clone();
        let stream = self.stream().await?;
        match &ask {
            Ask::Same(bytes) => stream.write_all(bytes).await?,
            Ask::Route(count) => {
                stream.write_all(&get(&path(*count), false)).await?;
            }
        }
        stream.flush().await?;
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = self.buffer.split_to(end);
        let Head { length, last } = check(&head, self.right)?;
        let mut rest = length;
        loop {
            let here = rest.min(self.buffer.len() as u64);
            rest -= here;
            if rest == 0 {
                break;
            }
            self.buffer.clear();
            self.read().await?;
        }
        if self.buffer.len() as u64 > length {
            return Err("more than the answer".into());
        }
        self.buffer.clear();
        if last {
            self.stream = None;
        }
        Ok(())
    }
}

/// What matters of an answer's head.
struct Head {
    /// The length of the body.
    length: u64,
    /// Whether the connection ends with it.
    last: bool,
}

/// The status has to be the right one, and so has the length of the body.
fn check(head: &[u8], right: Right) -> Result<Head> {
    let (status, wanted) = match right {
        Right::Ok(length) => (b"200 ", Some(length)),
        Right::NoRoute => (b"501 ", None),
    };
    let wrong = || {
        let status = String::from_utf8_lossy(status);
        let bytes =
            wanted.map_or_else(|| "a length".to_owned(), |length| format!("{length} bytes"));
        let head = String::from_utf8_lossy(head);
        Err(format!("not {status}with {bytes}: {}", head.trim()).into())
    };
    if head.get(9..13) != Some(status.as_slice()) {
        return wrong();
    }
    let (mut length, mut last) = (None, false);
    for line in head.split(|&byte| byte == b'\n') {
        if let Some((name, value)) = line.split_at_checked(15)
            && name.eq_ignore_ascii_case(b"content-length:")
        {
            length = String::from_utf8_lossy(value).trim().parse().ok();
        } else {
            last |= line.eq_ignore_ascii_case(b"connection: close\r");
        }
    }
    match length {
        Some(length) if wanted.is_none_or(|wanted| wanted == length) => Ok(Head { length, last }),
        _ => wrong(),
    }
}

/// A new connection for each request.
pub(crate) struct Fresh {
    pub(crate) connector: Connector,
    pub(crate) ask: Ask,
    pub(crate) right: Right,
}

impl Slot for Fresh {
    async fn ask(&mut self) -> Result<()> {
        let mut kept = Kept::connect(&self.connector, self.ask.clone(), self.right).await?;
        kept.ask().await?;
        kept.closed().await
    }
}
