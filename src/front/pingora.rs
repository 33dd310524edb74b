//! Requests of HTTP/1 that Pingora serves, for `engine: pingora`.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use http::Version;
use log::error;
use pingora_core::apps::ReusedHttpStream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;

use super::connection::Connection;
use super::framing::Framing;
use super::request::{ConnectionOptions, Request};
use super::{ControlService, Front, Service};
use crate::route::RequestTarget;

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Hands one request to Pingora, as a session for the service that it is for.
    pub(super) async fn serve_session(
        &self,
        mut connection: Box<Connection>,
        request: Box<Request>,
        early: BytesMut,
        shutdown: &ShutdownWatch,
    ) -> Option<Box<Connection>> {
        let is_control = self.proxy.is_control(&request);
        if let (Some(refusal), Err(_)) = (request.fault(), RequestTarget::parse(request.target())) {
            // Pingora would refuse it in its own words.
            let refusal = refusal.clone();
            self.refuse(&mut connection, &refusal).await;
            return None;
        }
        let is_upgrade = request.framing() == Framing::Upgrade;
        let mut bytes = head_of(*request);
        if is_upgrade {
            // Pingora would take it for a body, or for the next protocol's before that is agreed to.
            connection.watch(0);
            connection.await_switch(early);
        } else {
            connection.watch(early.len());
            bytes.unsplit(early);
        }
        let abort = connection.abort_handle();
        let mut session = ServerSession::new_http1(connection);
        session.set_pipelined_prefix(bytes);
        session.set_keepalive(self.keepalive());
        let exchange = if is_control {
            self.control.process_new_http(session, shutdown)
        } else {
            self.proxy.process_new_http(session, shutdown)
        };
        // If it is cut while neither its client nor its upstream takes anything, its record says so.
        let reused = abort.run_until_aborted(exchange).await?;
        reclaim(reused?)
    }

    /// The seconds for which Pingora is to keep a connection, 0 for no limit.
    fn keepalive(&self) -> Option<u64> {
        let idle = self.options.idle_timeout;
        let is_kept = !self.is_stopping.load(Ordering::Relaxed);
        is_kept.then(|| idle.map_or(0, |idle| idle.as_secs().max(1)))
    }
}

/// Has Pingora keep the connection of a session as its request asks for it. Pingora reads one line of
/// `Connection`, and for HTTP/1.0 one word.
pub(crate) fn keep_as_asked(session: &mut ServerSession, options: ConnectionOptions) {
    let version = session.req_header().version;
    if !options.persists(version) {
        session.set_keepalive(None);
    } else if version == Version::HTTP_10 && session.get_keepalive().is_none() {
        session.set_keepalive(Some(0));
    }
}

/// The connection that Pingora gives back.
fn reclaim(reused: ReusedHttpStream) -> Option<Box<Connection>> {
    let (stream, _settings) = reused.consume();
    let Some(mut connection) = Connection::reclaim(stream) else {
        error!("a connection came back from Pingora as another type; it is closed");
        return None;
    };
    connection.close();
    Some(connection)
}

/// The head of a request for Pingora, which refuses an absolute form whose host is spelled otherwise than
/// that of `Host`: the origin form, with the host of the absolute one (RFC 9112, 3.2.2).
fn head_of(request: Request) -> BytesMut {
    let Ok(RequestTarget::Absolute {
        authority,
        path,
        query,
        ..
    }) = RequestTarget::parse(request.target())
    else {
        return request.into_bytes();
    };
    let mut head = BytesMut::with_capacity(request.size() + 16);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    let root: &[u8] = if path.is_empty() { b"/" } else { b"" };
    put(&[request.method().as_str().as_bytes(), b" ", root, path]);
    if let Some(query) = query {
        put(&[b"?", query]);
    }
    let version: &[u8] = match request.version() {
        Version::HTTP_10 => b"0",
        _ => b"1",
    };
    put(&[
        b" HTTP/1.",
        version,
        b"\r\nHost: ",
        authority.as_bytes(),
        b"\r\n",
    ]);
    request.fields().each(|(name, value)| {
        if !name.eq_ignore_ascii_case(b"host") {
            put(&[name, b": ", value, b"\r\n"]);
        }
    });
    put(&[b"\r\n"]);
    head
}

#[cfg(test)]
mod tests {
    use super::super::test_request;
    use super::*;

    #[test]
    fn the_absolute_form_is_the_origin_form_with_its_host() {
        let fields = [("Host", "a.test"), ("X-A", "1")];
        let cases = [
            (
                "/x?y",
                "GET /x?y HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n\r\n",
            ),
            (
                "http://B.test:80/./x?y",
                "GET /./x?y HTTP/1.1\r\nHost: B.test:80\r\nX-A: 1\r\n\r\n",
            ),
            (
                "http://b.test?y",
                "GET /?y HTTP/1.1\r\nHost: b.test\r\nX-A: 1\r\n\r\n",
            ),
        ];
        for (target, expected) in cases {
            let head = head_of(test_request("GET", target, &fields));
            assert_eq!(head, expected.as_bytes(), "{target}");
        }
    }
}
