//! HTTP/1 read by hand from any stream of bytes. It is strict: whatever is not exactly as RFC 9112
//! has it is an error that names itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// An upstream's connection.
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// A stream with what has been read of it and not been used.
pub(crate) struct Wire<S> {
    pub(crate) io: S,
    buffer: Vec<u8>,
    /// Whether the stream ended with an error, such as a reset.
    pub(crate) is_reset: bool,
}

/// The first line and the fields of a message; names in lower case, values as in Latin-1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) line: String,
    pub(crate) fields: Fields,
}

/// Names and values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

/// How a message's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and nothing says how long it would be.
    None,
    Length(usize),
    Chunked,
    /// With the connection.
    Close,
    Http2,
}

impl Io {
    fn inner(&mut self) -> Pin<&mut dyn Both> {
        match self {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }

    /// Closes with RST in place of FIN, where there is such a thing.
    pub(crate) fn reset(self) {
        match self {
            Self::Tcp(stream) => stream.set_zero_linger().expect("SO_LINGER"),
            Self::Tls(stream) => stream.get_ref().0.set_zero_linger().expect("SO_LINGER"),
            Self::Unix(_) => {}
        }
    }

    /// Sends FIN without a `close_notify` of TLS before it.
    pub(crate) async fn truncate(self) {
        let ended = match self {
            Self::Tcp(mut stream) => stream.shutdown().await,
            Self::Unix(mut stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.into_inner().0.shutdown().await,
        };
        // The other side may have left before.
        drop(ended);
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

impl Fields {
    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fitting = self.0.iter().filter(|(field, _)| field == name);
        fitting.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether a field's list has this token.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        let mut tokens = values.iter().flat_map(|value| value.split(','));
        tokens.any(|listed| listed.trim().eq_ignore_ascii_case(token))
    }

    /// The one length that `Content-Length` gives; an error unless it is one number.
    pub(crate) fn length(&self) -> Result<Option<usize>, String> {
        match self.all("content-length")[..] {
            [] => Ok(None),
            [value] if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = value.parse().map(Some);
                length.map_err(|error| format!("Content-Length is {value:?}: {error}"))
            }
            ref values => Err(format!("Content-Length is {values:?}")),
        }
    }
}

/// Bytes as Latin-1.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a text that is written in Latin-1.
pub(crate) fn to_latin1(text: &str) -> Vec<u8> {
    let bytes = text.chars().map(|sign| u8::try_from(u32::from(sign)));
    bytes.collect::<Result<_, _>>().expect("Latin-1")
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = latin1(bytes);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(field).collect::<Result<_, _>>()?;
        Ok(Self {
            line,
            fields: Fields(fields),
        })
    }

    /// The framing of a message with this head that may have a body (RFC 9112, 6.3).
    pub(crate) fn framing(&self, otherwise: Framing) -> Result<Framing, String> {
        let length = self.fields.length()?;
        match (&self.fields.all("transfer-encoding")[..], length) {
            ([], None) => Ok(otherwise),
            ([], Some(length)) => Ok(Framing::Length(length)),
            ([coding], None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (codings, length) => Err(format!("framed by {codings:?} and {length:?}")),
        }
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or(format!("no field: {line:?}"))?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) || value.contains(['\r', '\n', '\0']) {
        return Err(format!("no field: {line:?}"));
    }
    let value = value.trim_matches([' ', '\t']);
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub(crate) fn new(io: S) -> Self {
        Self {
            io,
            buffer: Vec::new(),
            is_reset: false,
        }
    }

    /// More bytes into the buffer; false at the end.
    async fn fill(&mut self) -> bool {
        self.buffer.reserve(16 * 1024);
        let read = self.io.read_buf(&mut self.buffer).await;
        self.is_reset |= read.is_err();
        read.is_ok_and(|count| count > 0)
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// The next piece; empty at the end.
    pub(crate) async fn piece(&mut self) -> Vec<u8> {
        if self.buffer.is_empty() {
            self.fill().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// The next bytes, or fewer at the end.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.fill().await {}
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let mut windows = self.buffer.windows(end.len());
            if let Some(at) = windows.position(|window| window == end) {
                let found = self.buffer.drain(..at + end.len()).collect::<Vec<_>>();
                return Some(found[..at].to_vec());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next head; `None` if the stream ends before its end.
    pub(crate) async fn head(&mut self) -> Option<Result<Head, String>> {
        let bytes = self.until(b"\r\n\r\n").await?;
        Some(Head::parse(&bytes))
    }

    /// A body, and whether it came to its end.
    pub(crate) async fn body(&mut self, framing: Framing) -> Result<(Vec<u8>, bool), String> {
        match framing {
            Framing::None | Framing::Http2 => Ok((Vec::new(), true)),
            Framing::Length(length) => {
                let body = self.bytes(length).await;
                let is_whole = body.len() == length;
                Ok((body, is_whole))
            }
            Framing::Close => {
                let body = self.rest().await;
                Ok((body, !self.is_reset))
            }
            Framing::Chunked => self.chunks().await,
        }
    }

    async fn chunks(&mut self) -> Result<(Vec<u8>, bool), String> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n").await else {
                return Ok((body, false));
            };
            let line = latin1(&line);
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let size = size.map_err(|error| format!("chunk size {line:?}: {error}"))?;
            if size == 0 {
                return Ok((body, self.trailers().await));
            }
            body.extend(self.bytes(size).await);
            match &self.bytes(2).await[..] {
                b"\r\n" => {}
                [] | b"\r" => return Ok((body, false)),
                other => return Err(format!("after a chunk: {other:?}")),
            }
        }
    }

    async fn trailers(&mut self) -> bool {
        while let Some(line) = self.until(b"\r\n").await {
            if line.is_empty() {
                return true;
            }
        }
        false
    }
}
