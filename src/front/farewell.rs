//! The last words to a client whose request no service has seen.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use log::debug;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::Connection;
use super::{BodyOf, head};
use crate::answer::{Body, Refusal};

/// How long a refused client may go on sending before the connection is closed under it, so that
/// it can read the refusal (RFC 9112, 9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);

pub(super) fn head_too_slow(limit: Duration) -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "HEAD_TIMEOUT",
        format!("The head of the request was not complete after {limit:?}."),
    )
}

pub(super) fn tls_required() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "TLS_REQUIRED",
        "This port speaks TLS, and the request came without; use https:// in place of http://.",
    )
}

/// Answers a client whose request no service has seen, and closes.
pub(super) async fn refuse(connection: &mut Connection, refusal: &Refusal, body: BodyOf) {
    debug!("a client is refused: {}", refusal.code);
    dismiss(connection, &response(refusal, &body(refusal, None))).await;
}

/// Sends a client the last bytes that it gets.
pub(super) async fn dismiss(connection: &mut Connection, last: &[u8]) {
    let sent = async {
        connection.write_all(last).await?;
        connection.flush().await?;
        AsyncWriteExt::shutdown(connection).await?;
        drain(connection).await
    };
    if let Ok(Err(error)) = pingora_timeout::timeout(LINGER, sent).await {
        debug!("a refused client left before it read why: {error}");
    }
}

/// Reads what the client still sends, so that the kernel does not reset the connection and lose
/// the answer on its way.
async fn drain(connection: &mut Connection) -> std::io::Result<()> {
    connection.open(head::Framing::Upgrade, BytesMut::new());
    let mut scratch = [0; 1024];
    while connection.read(&mut scratch).await? > 0 {}
    Ok(())
}

fn response(refusal: &Refusal, body: &Body) -> Bytes {
    let status = refusal.status;
    let mut text = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or(""),
        body.content_type,
        body.bytes.len(),
    );
    if let Some(methods) = refusal.allow {
        text.push_str("Allow: ");
        text.push_str(methods);
        text.push_str("\r\n");
    }
    text.push_str("Connection: close\r\n\r\n");
    let mut bytes = BytesMut::from(text.as_bytes());
    bytes.extend_from_slice(&body.bytes);
    bytes.freeze()
}
