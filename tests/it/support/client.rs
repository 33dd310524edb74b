//! A client that sends what it is told to, byte for byte.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::wire::{Head, Wire};
use super::{DEADLINE, in_time};

/// A connection to the proxy.
pub(crate) struct Client(Wire);

/// An answer, with the interim ones that came before it.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) status: u16,
    /// The statuses of the interim answers (1xx) before this one.
    pub(crate) interim: Vec<u16>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = in_time("connecting", TcpStream::connect(address)).await;
        Self(Wire::new(stream.expect("the proxy accepts")))
    }

    /// A connection that is there already.
    pub(crate) fn on(wire: Wire) -> Self {
        Self(wire)
    }

    /// A connection that comes from one of this machine's addresses.
    pub(crate) async fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = if source.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.bind((source, 0).into())?;
        let stream = in_time("connecting", socket.connect(address)).await?;
        Ok(Self(Wire::new(stream)))
    }

    /// Sends a request and reads its answer at the same time, since the answer may come first.
    pub(crate) async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let bytes = bytes.as_ref();
        let is_head = bytes.starts_with(b"HEAD ");
        if bytes.len() <= 16 * 1024 {
            // A failure shows in the answer.
            drop(self.offer(bytes).await);
        } else {
            self.send_while_reading(bytes).await;
        }
        self.read(is_head).await.expect("an answer")
    }

    /// Sends everything, or as much as the other side takes; returns when an answer has begun.
    async fn send_while_reading(&mut self, bytes: &[u8]) {
        let (mut reader, mut writer) = self.0.stream.split();
        let mut first = [0; 1];
        let send = async { drop(writer.write_all(bytes).await) };
        let answer = async { drop(reader.peek(&mut first).await) };
        // A debug build on a busy machine parses a large body at some MiB a second.
        let mebibytes = u32::try_from(bytes.len() >> 20).expect("a size of a test");
        let limit = DEADLINE + Duration::from_secs(2) * mebibytes;
        let both = async { tokio::join!(send, answer) };
        let ended = tokio::time::timeout(limit, both).await;
        assert!(ended.is_ok(), "sending and reading: not within {limit:?}");
    }

    /// The next answer.
    pub(crate) async fn response(&mut self) -> Response {
        self.read(false).await.expect("an answer")
    }

    /// The next answer with its body; `None` if the connection ends before.
    pub(crate) async fn read(&mut self, is_head: bool) -> Option<Response> {
        let mut response = self.response_head().await?;
        if is_head || matches!(response.status, 101 | 204 | 304) {
            return Some(response);
        }
        if Wire::is_unframed(&response.head) {
            response.body = self.rest().await;
        } else {
            (response.body, response.is_whole) = self.framed(&response.head).await;
        }
        Some(response)
    }

    /// The next answer without its body, which can then be read piece by piece.
    pub(crate) async fn response_head(&mut self) -> Option<Response> {
        let mut interim = Vec::new();
        loop {
            let head = self.head().await?;
            let mut words = head.line.split(' ');
            assert_eq!(words.next(), Some("HTTP/1.1"), "{head:?}");
            let status = words
                .next()
                .and_then(|word| word.parse().ok())
                .expect("a status");
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            return Some(Response {
                head,
                status,
                interim,
                body: Vec::new(),
                is_whole: true,
            });
        }
    }

    /// A GET of a path on `localhost`; the connection stays open.
    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await
    }

    /// Waits until the proxy closes, which it has to without another byte.
    pub(crate) async fn is_closed(&mut self) {
        let rest = self.rest().await;
        assert!(
            rest.is_empty(),
            "before the end: {:?}",
            String::from_utf8_lossy(&rest)
        );
    }
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}: {self:?}", self.text()))
    }

    /// The code in the body of one of the proxy's own answers.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The sentence in the body of one of the proxy's own answers.
    pub(crate) fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Status and code, to compare both at once.
    pub(crate) fn verdict(&self) -> (u16, String) {
        (self.status, self.error())
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    Client::connect(address).await.exchange(bytes).await
}

/// One GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    Client::connect(address).await.get(path).await
}

/// A request to the control API: a body of JSON, or none, and fields besides the usual ones.
pub(crate) fn api_request(
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: Option<&Value>,
) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in fields {
        write!(head, "{name}: {value}\r\n").expect("a string grows");
    }
    let text = body.map(Value::to_string);
    if let Some(text) = &text {
        let length = text.len();
        write!(
            head,
            "Content-Type: application/json\r\nContent-Length: {length}\r\n"
        )
        .expect("a string grows");
    }
    (head + "\r\n" + text.as_deref().unwrap_or_default()).into_bytes()
}

/// One exchange over a Unix socket: the status, the head and the body.
pub(crate) async fn over_unix(path: &Path, request: &[u8]) -> io::Result<(u16, String, String)> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(request).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    in_time("an answer", stream.read_to_end(&mut answer)).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok((status.expect("a status"), head.to_owned(), body.to_owned()))
}
