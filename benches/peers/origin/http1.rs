//! HTTP/1.1 by hand: one read and one write for a small request.

use std::sync::LazyLock;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{BYTES, SMALL, websocket};
use crate::Result;

/// The small answer, and the one that ends the connection.
static ANSWERS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [false, true].map(|close| {
        let mut answer = head(SMALL, close);
        answer.extend([b'x'; SMALL as usize]);
        answer
    })
});

/// Large bodies are written from this, piece by piece.
static PIECE: [u8; 256 * 1024] = [b'x'; 256 * 1024];

fn head(length: u64, close: bool) -> Vec<u8> {
    let close = if close { "Connection: close\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n{close}\r\n"
    )
    .into_bytes()
}

pub(super) async fn serve(stream: TcpStream) {
    // A connection that breaks is the proxy's to notice; the load counts answers that are missing.
    if let Err(error) = plain(stream).await {
        log::debug!("{error}");
    }
}

pub(super) async fn serve_tls(stream: TcpStream, acceptor: TlsAcceptor) {
    if let Err(error) = secured(stream, acceptor).await {
        log::debug!("{error}");
    }
}

async fn plain(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    requests(stream).await
}

async fn secured(stream: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    requests(acceptor.accept(stream).await?).await
}

async fn requests<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<()> {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let length = loop {
            if let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            buffer.reserve(4096);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = buffer.split_to(length);
        let request = Request::read(&head)?;
        if let Some(key) = request.websocket {
            return websocket::echo(stream, buffer, &key).await;
        }
        let mut body = request.length;
        while body > 0 {
            let here = body.min(buffer.len() as u64);
            buffer.advance(here as usize);
            body -= here;
            if body > 0 {
                buffer.reserve(256 * 1024);
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Err("the request's body is cut short".into());
                }
            }
        }
        match request.asked {
            None => {
                let [answer, last] = &*ANSWERS;
                let answer = if request.close { last } else { answer };
                stream.write_all(answer).await?;
            }
            Some(length) => large(&mut stream, length, request.close).await?,
        }
        // TLS may hold back what the socket did not take at once.
        stream.flush().await?;
        if request.close {
            return Ok(stream.shutdown().await?);
        }
    }
}

async fn large<S: AsyncWrite + Unpin>(stream: &mut S, length: u64, close: bool) -> Result<()> {
    stream.write_all(&head(length, close)).await?;
    let mut rest = length;
    while rest > 0 {
        let count = rest.min(PIECE.len() as u64);
        stream
            .write_all(PIECE.get(..count as usize).unwrap_or_default())
            .await?;
        rest -= count;
    }
    Ok(())
}

/// What matters of a request.
struct Request {
    /// The length of the answer that is asked for, if it is not the small one.
    asked: Option<u64>,
    /// The length of the body.
    length: u64,
    /// Whether the connection ends with it.
    close: bool,
    /// The key, if it is to become a WebSocket.
    websocket: Option<String>,
}

impl Request {
    fn read(head: &[u8]) -> Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 40];
        let mut parsed = httparse::Request::new(&mut fields);
        if parsed.parse(head)?.is_partial() {
            return Err("half a request".into());
        }
        let asked = parsed.path.and_then(|path| path.strip_prefix(BYTES));
        let mut request = Self {
            asked: asked.map(str::parse).transpose()?,
            length: 0,
            close: parsed.version == Some(0),
            websocket: None,
        };
        for field in parsed.headers.iter() {
            let text = || String::from_utf8_lossy(field.value);
            if field.name.eq_ignore_ascii_case("content-length") {
                request.length = text().parse()?;
            } else if field.name.eq_ignore_ascii_case("connection") {
                request.close |= field.value.eq_ignore_ascii_case(b"close");
            } else if field.name.eq_ignore_ascii_case("sec-websocket-key") {
                request.websocket = Some(text().into_owned());
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("a body without a length".into());
            }
        }
        Ok(request)
    }
}
