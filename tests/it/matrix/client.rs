//! Clients of HTTP/1.0 and HTTP/1.1: raw sockets that see every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::case::{Body, End, Request, Seen};
use super::pair::Client;
use super::wire::{Framing, Head, Wire, to_latin1};

/// How long a connection that is said to end may go on.
const END: Duration = Duration::from_secs(5);

/// Sends a request on a connection of its own, and another behind it if the connection goes on.
pub(crate) async fn exchange(address: SocketAddr, request: &Request, client: Client) -> Seen {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let (reader, writer) = stream.into_split();
    let go = Arc::new(Notify::new());
    let sending = tokio::spawn(send(writer, request.clone(), client, Arc::clone(&go)));
    let mut wire = Wire::new(reader);
    let mut seen = Seen::default();
    if let Err(fault) = receive(&mut wire, request, &go, &mut seen).await {
        seen.fault = Some(fault);
        return seen;
    }
    if seen.status == 101 {
        tunnel(&mut wire, request, sending.await.ok().flatten(), &mut seen).await;
    } else if seen.end == End::Whole && is_persistent(&seen, client) {
        if let Ok(Ok(Some(writer))) = timeout(END, sending).await {
            seen.next = Some(next(&mut wire, writer, client).await);
        }
    } else {
        finish(&mut wire, &mut seen).await;
    }
    seen
}

/// Sends head and body; the body waits for a word where the request says so.
async fn send(
    mut writer: OwnedWriteHalf,
    request: Request,
    client: Client,
    go: Arc<Notify>,
) -> Option<OwnedWriteHalf> {
    writer.write_all(&head(&request, client)).await.ok()?;
    // RFC 9110, 10.1.1: a client of HTTP/1.0 has nothing to wait for.
    if request.waits && client == Client::Http11 {
        go.notified().await;
    }
    writer.write_all(&body(&request.body)).await.ok()?;
    Some(writer)
}

fn head(request: &Request, client: Client) -> Vec<u8> {
    let version = if client == Client::Http10 {
        "1.0"
    } else {
        "1.1"
    };
    let mut lines = vec![format!(
        "{} {} HTTP/{version}",
        request.method, request.target
    )];
    lines.extend(request.host.map(|host| format!("Host: {host}")));
    let fields = request.fields.iter();
    lines.extend(fields.map(|(name, value)| format!("{name}: {value}")));
    match &request.body {
        Body::None => {}
        Body::Length(body) => lines.push(format!("Content-Length: {}", body.len())),
        Body::Unknown(_) | Body::RawChunks(_) => lines.push("Transfer-Encoding: chunked".into()),
    }
    to_latin1(&(lines.join("\r\n") + "\r\n\r\n"))
}

fn body(body: &Body) -> Vec<u8> {
    match body {
        Body::None => Vec::new(),
        Body::Length(bytes) | Body::RawChunks(bytes) => bytes.clone(),
        Body::Unknown(bytes) => {
            let mut chunks = Vec::new();
            for piece in bytes.chunks(10_000) {
                chunks.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                chunks.extend(piece);
                chunks.extend(b"\r\n");
            }
            chunks.extend(b"0\r\n\r\n");
            chunks
        }
    }
}

/// Reads the response with the interim ones before it.
async fn receive(
    wire: &mut Wire<OwnedReadHalf>,
    request: &Request,
    go: &Notify,
    seen: &mut Seen,
) -> Result<(), String> {
    loop {
        let Some(head) = wire.head().await else {
            seen.is_closed = true;
            return Ok(());
        };
        let head = head?;
        let status = code(&head)?;
        // A body that waits for a word goes after any.
        go.notify_one();
        if (100..200).contains(&status) && status != 101 {
            seen.interim.push(status);
            continue;
        }
        let has_none = request.method == "HEAD" || matches!(status, 101 | 204 | 304);
        // RFC 9112, 6.3: a response without any framing ends with the connection.
        let framing = head.framing(Framing::Close)?;
        seen.status = status;
        seen.fields = head.fields;
        let framing = if has_none { Framing::None } else { framing };
        seen.framing = Some(framing);
        let (body, is_whole) = wire.body(framing).await?;
        seen.body = body;
        seen.end = match is_whole {
            true => End::Whole,
            false if wire.is_reset => End::Reset,
            false => End::Cut,
        };
        return Ok(());
    }
}

fn code(head: &Head) -> Result<u16, String> {
    let line = head.line.strip_prefix("HTTP/1.1 ");
    let line = line.or(head.line.strip_prefix("HTTP/1.0 "));
    let digits = line.and_then(|line| line.get(..3));
    let code = digits.and_then(|digits| digits.parse().ok());
    code.ok_or(format!("status line {:?}", head.line))
}

/// RFC 9112, 9.3.
fn is_persistent(seen: &Seen, client: Client) -> bool {
    let lists = |option| seen.fields.lists("connection", option);
    let stays = if client == Client::Http10 {
        lists("keep-alive")
    } else {
        !lists("close")
    };
    stays && seen.framing != Some(Framing::Close)
}

/// Waits for the end of the connection, before which nothing may come.
async fn finish(wire: &mut Wire<OwnedReadHalf>, seen: &mut Seen) {
    match timeout(END, wire.rest()).await {
        Ok(rest) if rest.is_empty() => seen.is_closed = true,
        Ok(rest) => seen.fault = Some(format!("{} bytes behind the response", rest.len())),
        Err(_) => seen.fault = Some(format!("the connection does not end within {END:?}")),
    }
}

/// Sends bytes through what the protocol was switched to.
async fn tunnel(
    wire: &mut Wire<OwnedReadHalf>,
    request: &Request,
    writer: Option<OwnedWriteHalf>,
    seen: &mut Seen,
) {
    let (Some(bytes), Some(mut writer)) = (request.tunnel, writer) else {
        return;
    };
    drop(writer.write_all(bytes).await);
    seen.body = wire.bytes(bytes.len()).await;
    seen.end = End::Whole;
}

/// The next request on a connection that goes on; its response shows that both sides agree on where
/// the one before ended.
async fn next(
    wire: &mut Wire<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    client: Client,
) -> Result<(), String> {
    let request = Request::next();
    let sent = writer.write_all(&head(&request, client)).await;
    sent.map_err(|error| format!("the next request cannot be sent: {error}"))?;
    let mut seen = Seen::default();
    receive(wire, &request, &Notify::new(), &mut seen).await?;
    seen.is_next()
}
