//! The last words to a client whose request no service has seen.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode};
use log::debug;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::Connection;
use super::downstream::DownstreamError;
use super::downstream::http1::Http1;
use super::framing::Framing;
use super::reply::{LINGER, Reply};
use super::request_id::RequestId;
use super::{Front, listener};
use crate::reply::Refusal;

pub(super) fn head_too_slow(limit: Duration) -> Refusal {
    Refusal::of_limit(
        StatusCode::REQUEST_TIMEOUT,
        "HEAD_TIMEOUT",
        format_args!("the head of the request was not complete after {limit:?}"),
        "timeouts.head",
    )
}

pub(super) fn tls_required() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "TLS_REQUIRED",
        "This port speaks TLS, and the request came without; use https:// in place of http://.",
    )
}

impl<P, C> Front<P, C> {
    /// Answers a client whose request no service has seen, and closes.
    pub(super) async fn refuse(&self, connection: &mut Connection, refusal: &Refusal) {
        let peer = listener::peer(&connection.transport);
        let reply = Reply::with_body(refusal, (self.body)(refusal, None));
        let (reply, id) = self.named(reply, refusal, peer);
        let sent = async {
            let mut downstream = Http1::refusing(connection);
            reply.send(&mut downstream, &Method::GET, None).await?;
            AsyncWriteExt::shutdown(connection).await?;
            Ok(drain(connection).await?)
        };
        if let Err(error) = within_linger(sent).await {
            debug!("a refused client left before it read why: {error} [{id}]");
        }
    }

    /// Gives a request that no service has seen its id: in the reply, and in the log.
    pub(super) fn named(
        &self,
        mut reply: Reply,
        refusal: &Refusal,
        peer: Option<SocketAddr>,
    ) -> (Reply, RequestId) {
        let id = RequestId::new();
        if let Ok(value) = HeaderValue::from_bytes(id.as_bytes()) {
            let field = self.options.request_ids.field.clone();
            reply.fields_mut().insert(field, value);
        }
        let (status, code) = (refusal.status.as_u16(), refusal.code);
        let reason = format_args!("{status} {code}: {} [{id}]", refusal.message);
        self.refused.note(peer, &reason);
        (reply, id)
    }
}

/// Sends a client the last bytes that it gets.
pub(super) async fn dismiss(connection: &mut Connection, last: &[u8]) {
    let sent = async {
        connection.write_all(last).await?;
        connection.flush().await?;
        AsyncWriteExt::shutdown(connection).await?;
        Ok(drain(connection).await?)
    };
    if let Err(error) = within_linger(sent).await {
        debug!("a client left before it read why its connection is closed: {error}");
    }
}

/// Waits for a moment until something is sent; a client that does not take it has had its time.
async fn within_linger(
    sent: impl Future<Output = Result<(), DownstreamError>>,
) -> Result<(), DownstreamError> {
    let sent = pingora_timeout::tokio_timeout(LINGER, sent).await;
    sent.unwrap_or(Ok(()))
}

/// Reads what the client still sends, so that the kernel does not reset the connection and lose
/// the answer on its way.
pub(super) async fn drain(connection: &mut Connection) -> std::io::Result<()> {
    connection.open(Framing::Upgrade, BytesMut::new());
    let mut scratch = [0; 1024];
    while connection.read(&mut scratch).await? > 0 {}
    Ok(())
}
