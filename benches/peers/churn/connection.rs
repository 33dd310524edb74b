//! A connection over HTTP/1.1 that stays, and says how it ended.

use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::BytesMut;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::client::Address;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// As it came: chunks are not taken apart.
    pub(crate) body: Vec<u8>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody takes connections.
    Refused,
    /// The connection ended before the response did.
    Cut,
    /// It has not come in 5 s.
    Late,
}

trait Socket: AsyncRead + AsyncWrite + AsRawFd + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + AsRawFd + Send + Unpin> Socket for S {}

/// A connection, which is made anew after each end.
pub(crate) struct Connection {
    address: Address,
    stream: Option<Box<dyn Socket>>,
    buffer: BytesMut,
    /// How often it was found closed when the next request was to be sent.
    pub(crate) closed: u64,
}

impl Connection {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            stream: None,
            buffer: BytesMut::new(),
            closed: 0,
        }
    }

    /// Sends a whole request, and waits for the whole response.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Response, Fault> {
        let late = tokio::time::timeout(PATIENCE, self.ask_patiently(request)).await;
        let result = late.unwrap_or(Err(Fault::Late));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn ask_patiently(&mut self, request: &[u8]) -> Result<Response, Fault> {
        self.look();
        if self.stream.is_none() {
            self.buffer.clear();
            self.stream = Some(connect(&self.address).await?);
        }
        let stream = self.stream.as_mut().ok_or(Fault::Cut)?;
        stream.write_all(request).await.map_err(cut)?;
        stream.flush().await.map_err(cut)?;
        let head = loop {
            match Head::read(&self.buffer) {
                Ok(Some(head)) => break head,
                Ok(None) if self.read().await? => {}
                _ => return Err(Fault::Cut),
            }
        };
        drop(self.buffer.split_to(head.end));
        let body = self.body(&head).await?;
        if head.last {
            self.stream = None;
        }
        Ok(Response {
            status: head.status,
            body,
        })
    }

    /// Lets go of a connection that has been closed meanwhile.
    fn look(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        // The kernel is asked, since the runtime may not have heard of it yet.
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        if recv(stream.as_raw_fd(), &mut [0], flags) != Err(Errno::EAGAIN) {
            self.closed += 1;
            self.stream = None;
        }
    }

    /// Reads more; whether there was any.
    async fn read(&mut self) -> Result<bool, Fault> {
        self.buffer.reserve(4096);
        let stream = self.stream.as_mut().ok_or(Fault::Cut)?;
        let count = stream.read_buf(&mut self.buffer).await.map_err(cut)?;
        Ok(count > 0)
    }

    async fn body(&mut self, head: &Head) -> Result<Vec<u8>, Fault> {
        loop {
            let length = match head.length {
                Length::Bytes(length) => (self.buffer.len() >= length).then_some(length),
                Length::Chunked => self
                    .buffer
                    .ends_with(b"0\r\n\r\n")
                    .then_some(self.buffer.len()),
                Length::ToTheEnd => None,
            };
            if let Some(length) = length {
                return Ok(self.buffer.split_to(length).to_vec());
            }
            if !self.read().await? {
                return match head.length {
                    Length::ToTheEnd => Ok(self.buffer.split().to_vec()),
                    _ => Err(Fault::Cut),
                };
            }
        }
    }
}

async fn connect(address: &Address) -> Result<Box<dyn Socket>, Fault> {
    match address {
        Address::Tcp(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port))
                .await
                .map_err(refused)?;
            stream.set_nodelay(true).map_err(refused)?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(refused)?;
            Ok(Box::new(stream))
        }
    }
}

fn cut(_error: std::io::Error) -> Fault {
    Fault::Cut
}

fn refused(_error: std::io::Error) -> Fault {
    Fault::Refused
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Bytes(usize),
    Chunked,
    ToTheEnd,
}

/// What matters of a response's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Length,
    /// Whether the connection ends with it.
    pub(crate) last: bool,
    /// Where the body begins.
    pub(crate) end: usize,
}

impl Head {
    /// None if it is not there in full.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, httparse::Error> {
        let mut fields = [httparse::EMPTY_HEADER; 40];
        let mut parsed = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(end) = parsed.parse(bytes)? else {
            return Ok(None);
        };
        let status = parsed.code.unwrap_or(0);
        let (mut length, mut last) = (Length::ToTheEnd, parsed.version == Some(0));
        for field in parsed.headers.iter() {
            let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    length = value.trim().parse().map_or(length, Length::Bytes);
                }
                "transfer-encoding" if value.contains("chunked") => length = Length::Chunked,
                "connection" => last |= value.contains("close"),
                _ => {}
            }
        }
        if matches!(status, 204 | 304) {
            length = Length::Bytes(0);
        }
        last |= length == Length::ToTheEnd;
        Ok(Some(Self {
            status,
            length,
            last,
            end,
        }))
    }
}
