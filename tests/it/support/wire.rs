//! HTTP/1.1 on a socket, by hand: heads and bodies as they come, nothing corrected.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;

/// A socket with what has been read from it and not been used.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// The first line and the fields of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The first line, without its end. Bytes outside ASCII are as in Latin-1.
    pub(crate) line: String,
    /// Name and value of each field, in order; names in lower case.
    pub(crate) fields: Vec<(String, String)>,
}

/// A request as an origin receives it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { line, fields }
    }

    /// The value of a field, if it is there once; a second one fails the test.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    fn has_coding(&self) -> bool {
        self.field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length")
            .map(|length| length.parse().expect("a Content-Length"))
    }
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    /// The request target, byte for byte.
    pub(crate) fn target(&self) -> &str {
        let line = self.head.line.as_str();
        let line = line
            .strip_suffix(" HTTP/1.1")
            .or(line.strip_suffix(" HTTP/1.0"))
            .unwrap_or(line);
        line.split_once(' ').map_or("", |(_, target)| target)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends bytes; a failure fails the test.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.offer(bytes).await.expect("the other side reads");
    }

    /// Sends bytes to somebody who may not want them.
    pub(crate) async fn offer(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        in_time("sending", self.stream.write_all(bytes.as_ref())).await
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn end(&mut self) {
        in_time("ending", self.stream.shutdown())
            .await
            .expect("the connection is open");
    }

    /// More bytes into the buffer; 0 at the end, also if it is a reset.
    async fn fill(&mut self) -> usize {
        self.buffer.reserve(16 * 1024);
        let read = in_time("reading", self.stream.read_buf(&mut self.buffer)).await;
        read.unwrap_or(0)
    }

    /// Everything until the other side ends the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// The next piece, of whatever size; empty at the end.
    pub(crate) async fn piece(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// The next `count` bytes, or fewer at the end.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.fill().await > 0 {}
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// The next bytes up to and with `end`; `None` if the connection ends before.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.buffer[from..]
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Some(self.buffer.drain(..from + at + end.len()).collect());
            }
            from = self.buffer.len().saturating_sub(end.len() - 1);
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// The next head; `None` at the end of the connection.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let bytes = self.until(b"\r\n\r\n").await?;
        Some(Head::parse(&bytes[..bytes.len() - 4]))
    }

    /// The next chunk of a chunked body: empty for the last one, `None` if the connection ends.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.until(b"\r\n").await?;
        let size = String::from_utf8_lossy(&line);
        let size = size.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        if size == 0 {
            while self.until(b"\r\n").await? != b"\r\n" {}
            return Some(Vec::new());
        }
        let data = self.bytes(size).await;
        let is_whole = data.len() == size && self.until(b"\r\n").await.is_some();
        is_whole.then_some(data)
    }

    /// The body of a message that ends by its own framing, as much as comes; and whether all came.
    pub(crate) async fn framed(&mut self, head: &Head) -> (Vec<u8>, bool) {
        if !head.has_coding() {
            let length = head.length().unwrap_or(0);
            let body = self.bytes(length).await;
            let is_whole = body.len() == length;
            return (body, is_whole);
        }
        let mut body = Vec::new();
        loop {
            match self.chunk().await {
                None => return (body, false),
                Some(data) if data.is_empty() => return (body, true),
                Some(data) => body.extend(data),
            }
        }
    }

    /// Whether a message's end is the end of the connection.
    pub(crate) fn is_unframed(head: &Head) -> bool {
        !head.has_coding() && head.length().is_none()
    }
}
