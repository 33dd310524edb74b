//! HTTP/2 clients: one that keeps to the rules, and frames by hand for what no client sends.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::{Wire, in_time};

/// A connection, driven by a task of its own.
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer as far as it has come.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Why it broke off, if it did.
    pub(crate) broken: Option<h2::Error>,
}

/// A stream whose answer is still to come.
pub(crate) struct Pending {
    pub(crate) response: ResponseFuture,
    pub(crate) body: SendStream<Bytes>,
}

/// The answer that has begun, and what is to come of it.
pub(crate) struct Begun {
    pub(crate) status: u16,
    stream: h2::RecvStream,
}

impl Http2 {
    /// A connection in cleartext, by prior knowledge.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connecting", TcpStream::connect(address)).await;
        Self::over(stream.expect("the proxy accepts")).await
    }

    /// HTTP/2 over a connection.
    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let handshake = in_time("a handshake", h2::client::handshake(io)).await;
        let (sender, connection) = handshake.expect("HTTP/2");
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Begins a request; with `open`, its body is to come.
    pub(crate) async fn begin(&mut self, request: Request<()>, open: bool) -> Pending {
        let ready = in_time("room for a stream", self.sender.clone().ready()).await;
        self.sender = ready.expect("an open connection");
        let (response, body) = self.sender.send_request(request, !open).expect("a request");
        Pending { response, body }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await
    }

    pub(crate) async fn send(&mut self, request: Request<()>) -> Answer {
        let pending = self.begin(request, false).await;
        pending.answer().await
    }

    /// Why the connection ended; none if in good order.
    pub(crate) async fn end(self) -> Option<Reason> {
        drop(self.sender);
        let end = in_time("the connection's end", self.connection).await;
        end.expect("no panic")
            .err()
            .and_then(|error| error.reason())
    }
}

impl Pending {
    /// The head of the answer.
    pub(crate) async fn begun(self) -> Result<Begun, h2::Error> {
        let response = in_time("an answer", self.response).await?;
        let (head, stream) = response.into_parts();
        Ok(Begun {
            status: head.status.as_u16(),
            stream,
        })
    }

    pub(crate) async fn answer(self) -> Answer {
        let mut begun = self.begun().await.expect("an answer");
        let (mut body, mut broken) = (Vec::new(), None);
        while let Some(piece) = begun.piece().await {
            match piece {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        Answer {
            status: begun.status,
            body,
            broken,
        }
    }
}

impl Begun {
    /// The next piece of the body.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = in_time("a piece", self.stream.data()).await?;
        if let Ok(piece) = &piece {
            let flow = self.stream.flow_control();
            flow.release_capacity(piece.len()).expect("its capacity");
        }
        Some(piece)
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `error` of a refusal's JSON.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        json["error"].as_str().expect("a code").to_owned()
    }
}

pub(crate) fn get(path: &str) -> Request<()> {
    request(Method::GET, path)
}

pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://localhost{path}"));
    request.body(()).expect("a request")
}

/// HTTP/2 by hand.
pub(crate) struct Frames(pub(crate) Wire);

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
/// Fields of priority come first.
pub(crate) const PRIORITIZED: u8 = 0x20;

/// `END_STREAM` and `END_HEADERS`.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

impl Frames {
    /// A connection with its preface and empty settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connecting", TcpStream::connect(address)).await;
        let mut frames = Self(Wire::new(stream.expect("the proxy accepts")));
        frames.0.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(SETTINGS, 0, 0, &[]).await;
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // The other side may have had enough.
        drop(self.0.offer(frame(kind, flags, stream, payload)).await);
    }

    /// Frames that are made already.
    pub(crate) async fn raw(&mut self, frames: Vec<u8>) {
        drop(self.0.offer(frames).await);
    }

    /// A request of these fields, whole.
    pub(crate) async fn headers(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, WHOLE, stream, &block(fields)).await;
    }

    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let head = self.0.bytes(9).await;
        let [high, middle, low, kind, flags, a, b, c, d] = head[..] else {
            return None;
        };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = self.0.bytes(length).await;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]),
            payload,
        })
    }

    /// The next frame of one of these kinds.
    pub(crate) async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}

impl Frame {
    /// The error code of `RST_STREAM`, or of `GOAWAY`.
    pub(crate) fn reason(&self) -> Reason {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(code).into()
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length");
            bytes.push(u8::try_from(text.len()).expect("a length"));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// What a program of nghttp2 writes, `nghttp` or `h2load`.
pub(crate) async fn nghttp2(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = in_time(program, output).await;
    let output = output.expect("nghttp2-client is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
