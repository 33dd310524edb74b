//! Pingora's traits of a transport beside reads and writes, passed on to the one inside.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::debug;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::AsyncWriteExt;

use super::connection::Connection;
use super::h2::Watched;
use super::lingering_close::drain;
use super::reply::LINGER;

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        self.part().await;
        // Pingora's own way logs a warning for each client that has gone, and has no end.
        let closed = async {
            AsyncWriteExt::shutdown(&mut self.transport).await?;
            if self.is_body_left() {
                drain(self).await?;
            }
            Ok::<(), io::Error>(())
        };
        match pingora_timeout::tokio_timeout(LINGER, closed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("a connection was closed by its client: {error}"),
            Err(_elapsed) => debug!("a client does not take the end of its connection"),
        }
    }
}

/// Passes on to the field `transport` what Pingora asks of a transport beside reads, writes and its end. Peeking
/// is not offered: the front has read the head before Pingora sees the connection.
macro_rules! pass_on {
    ($wrapper:ty) => {
        impl UniqueID for $wrapper {
            fn id(&self) -> UniqueIDType {
                self.transport.id()
            }
        }

        impl Ssl for $wrapper {
            fn get_ssl(&self) -> Option<&pingora_core::protocols::tls::TlsRef> {
                self.transport.get_ssl()
            }

            fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
                self.transport.get_ssl_digest()
            }

            fn selected_alpn_proto(&self) -> Option<ALPN> {
                self.transport.selected_alpn_proto()
            }
        }

        impl GetTimingDigest for $wrapper {
            fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                self.transport.get_timing_digest()
            }

            fn get_read_pending_time(&self) -> Duration {
                self.transport.get_read_pending_time()
            }

            fn get_write_pending_time(&self) -> Duration {
                self.transport.get_write_pending_time()
            }
        }

        impl GetProxyDigest for $wrapper {
            fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
                self.transport.get_proxy_digest()
            }

            fn set_proxy_digest(&mut self, digest: ProxyDigest) {
                self.transport.set_proxy_digest(digest);
            }
        }

        impl GetSocketDigest for $wrapper {
            fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                self.transport.get_socket_digest()
            }

            fn set_socket_digest(&mut self, digest: SocketDigest) {
                self.transport.set_socket_digest(digest);
            }
        }

        impl Peek for $wrapper {}
    };
}

pass_on!(Connection);
pass_on!(Watched);
