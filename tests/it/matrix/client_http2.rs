//! Clients of HTTP/2.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::case::{Body, End, Request, Seen};
use super::wire::{Fields, Framing, latin1, to_latin1};

/// Sends a request on a connection of its own, and another behind it.
pub(crate) async fn exchange(
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    request: &Request,
) -> Seen {
    let stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    match tls {
        None => over(stream, "http", request).await,
        Some(config) => {
            let name = ServerName::try_from("localhost").expect("a name");
            let connected = TlsConnector::from(config).connect(name, stream).await;
            over(connected.expect("TLS"), "https", request).await
        }
    }
}

async fn over(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    scheme: &str,
    request: &Request,
) -> Seen {
    let (mut sender, connection) = h2::client::handshake(io).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut seen = one(&mut sender, scheme, request).await;
    // RFC 9113, 5.4.2: a stream error does not affect the other streams.
    seen.next = Some(one(&mut sender, scheme, &Request::next()).await.is_next());
    connection.abort();
    seen
}

async fn one(sender: &mut SendRequest<Bytes>, scheme: &str, request: &Request) -> Seen {
    let mut seen = Seen {
        framing: Some(Framing::Http2),
        ..Seen::default()
    };
    match stream(sender, scheme, request, &mut seen).await {
        Ok(()) => seen.end = End::Whole,
        Err(error) if error.is_reset() => seen.end = End::Reset,
        Err(error) => {
            seen.end = End::Cut;
            seen.is_closed = true;
            seen.fault = Some(format!("the connection broke: {error}"));
        }
    }
    seen
}

async fn stream(
    sender: &mut SendRequest<Bytes>,
    scheme: &str,
    request: &Request,
    seen: &mut Seen,
) -> Result<(), h2::Error> {
    poll_fn(|cx| sender.poll_ready(cx)).await?;
    let (body, has_body) = match &request.body {
        Body::None | Body::RawChunks(_) => (Bytes::new(), false),
        Body::Length(body) | Body::Unknown(body) => (Bytes::from(body.clone()), true),
    };
    let (response, stream) = sender.send_request(head(scheme, request), !has_body)?;
    let sending = has_body.then(|| tokio::spawn(send(stream, body)));
    let received = receive(response, seen).await;
    if let Some(sending) = sending {
        sending.abort();
    }
    received
}

fn head(scheme: &str, request: &Request) -> http::Request<()> {
    let host = request.host.unwrap_or_default();
    let scheme = request.scheme.unwrap_or(scheme);
    let mut head = http::Request::builder()
        .method(request.method)
        .uri(format!("{scheme}://{host}{}", request.target));
    for (name, value) in &request.fields {
        head = head.header(*name, to_latin1(value));
    }
    if let Body::Length(body) = &request.body {
        head = head.header("content-length", body.len());
    }
    head.body(()).expect("a request")
}

/// Sends a body, as much of it as flow control allows before the stream ends.
async fn send(mut stream: SendStream<Bytes>, mut body: Bytes) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return;
        };
        let piece = body.split_to(room.min(body.len()));
        if stream.send_data(piece, false).is_err() {
            return;
        }
    }
    // The response may have ended the stream.
    drop(stream.send_data(Bytes::new(), true));
    // Dropping the stream would reset it; the task is aborted once the response has come.
    std::future::pending::<()>().await;
}

async fn receive(response: h2::client::ResponseFuture, seen: &mut Seen) -> Result<(), h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    seen.status = head.status.as_u16();
    seen.fields = fields(&head.headers);
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        seen.body.extend_from_slice(&piece);
        stream.flow_control().release_capacity(piece.len())?;
    }
    stream.trailers().await?;
    Ok(())
}

/// The fields of a header map, in the form that those of HTTP/1 have here.
pub(crate) fn fields(map: &http::HeaderMap) -> Fields {
    let pairs = map
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes())));
    Fields(pairs.collect())
}
