//! A connection that has been accepted, until its first request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;

use super::balance::{Counted, Seat};
use super::clients::Ticket;
use super::connection::Connection;
use super::connections::ConnectionGuard;
use super::lingering_close::{dismiss, tls_required};
use super::listener::{Accepted, ListenerMode};
use super::overload::NewConnection;
use super::sniff::Sniff;
use super::{ControlService, Front, Service, abort, client_hello, listener, stopping};

#[async_trait]
impl<P, C> ServerApp for Front<P, C>
where
    P: Service,
    C: ControlService,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let NewConnection::Serve(read) = self.look_at_new(&stream) else {
            // Dropped, it is closed.
            return None;
        };
        // What has been read does not travel.
        let stream = if read.is_empty() {
            self.hand_on(stream)
        } else {
            Some(stream)
        };
        if let Some(stream) = stream {
            let counted = self.seat.as_ref().and_then(Seat::enter);
            self.take_in((stream, read), shutdown.clone(), counted);
        }
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
        self.control.http_cleanup().await;
    }
}

impl<P, C> Front<P, C>
where
    P: Service,
    C: ControlService,
{
    /// Serves a connection, of which some bytes may have been read, from now on, as one of this worker.
    pub(super) fn take_in(
        self: &Arc<Self>,
        (stream, read): (Stream, BytesMut),
        shutdown: ShutdownWatch,
        seated: Option<Counted<Self>>,
    ) {
        let counted = (self.connections.enter(), seated);
        let Ok(ticket) = self.admit(&stream) else {
            // Dropped, it is closed.
            return;
        };
        self.stop_watch.call_once(|| {
            let (front, mut shutdown) = (Arc::clone(self), shutdown.clone());
            tokio::spawn(async move {
                stopping(&mut shutdown).await;
                front.is_stopping.store(true, Ordering::SeqCst);
                // A connection that comes behind its turn sees the mark.
                front.connections.wake();
            });
        });
        // A task of its own: Pingora's keeps the room that a TLS handshake needs for as long as
        // the connection lives. Nothing is around it, which would keep what it is given a second time.
        let attended = Arc::clone(self).attend((stream, read), shutdown, ticket, counted);
        tokio::spawn(attended);
    }

    /// Takes a connection in and serves it until its end; until then it is counted.
    pub(super) async fn attend(
        self: Arc<Self>,
        (stream, read): (Stream, BytesMut),
        shutdown: ShutdownWatch,
        mut ticket: Ticket,
        _counted: (ConnectionGuard, Option<Counted<Self>>),
    ) {
        let listener = self.options.listeners.of(&stream);
        let accepted = if listener.is_direct() {
            Accepted::Plain(stream, read)
        } else {
            // Boxed, here and below: its room is free again when it is over.
            Box::pin(self.arrive(stream, listener, shutdown.clone(), &mut ticket)).await
        };
        let sniff = if listener.http2_cleartext {
            Sniff::AnyHttp
        } else {
            Sniff::Http1
        };
        let redirect = listener.redirect_to_https;
        let mode = match &accepted {
            Accepted::Plain(stream, _) | Accepted::Encrypted(stream) | Accepted::Http2(stream) => {
                ListenerMode::of(redirect, stream)
            }
            Accepted::NotEncrypted(_) | Accepted::Unknown(_) | Accepted::Nothing => {
                ListenerMode::SERVING
            }
        };
        let abort = self.connections.abort(abort::task_waker().await);
        let connection = match accepted {
            Accepted::Plain(stream, read) => {
                Connection::new(stream, Arc::clone(&abort)).sniffing(sniff, read)
            }
            Accepted::Encrypted(stream) => Connection::new(stream, Arc::clone(&abort)),
            Accepted::NotEncrypted(stream) => {
                let mut connection = Connection::new(stream, Arc::clone(&abort));
                return Box::pin(self.refuse(&mut connection, &tls_required())).await;
            }
            Accepted::Unknown(stream) => {
                let peer = listener::peer(&stream);
                self.failures
                    .note(peer, &"no certificate for the name that it asks for");
                let mut connection = Connection::new(stream, Arc::clone(&abort));
                let alert = dismiss(&mut connection, client_hello::UNRECOGNIZED_NAME);
                return Box::pin(alert).await;
            }
            Accepted::Http2(stream) => {
                return Box::pin(self.serve_http2(stream, mode, shutdown, ticket)).await;
            }
            Accepted::Nothing => return,
        };
        let frames = self.options.frames.clone();
        let connection = Box::new(connection.treated(mode, frames));
        let client = self
            .converse(connection, shutdown.clone(), &mut ticket)
            .await;
        if let Some(client) = client {
            Box::pin(self.serve_http2_after(client, shutdown, ticket)).await;
        }
    }
}
