//! The last look at a target, when it is connected to. What was checked at its registration may hold no
//! more: a link leads elsewhere, an address has become this machine's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::{BError, Error, ErrorType, Result};
use tokio::net::UnixStream;

use super::peer::Address;
use crate::registry::Registry;

/// Connects to what is still allowed, and to nothing else.
#[derive(Clone)]
pub(super) struct Guard(Arc<Registry>);

impl Guard {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// Refuses an address that leads back to the proxy.
    pub(super) fn check(&self, address: SocketAddr) -> io::Result<()> {
        if self.0.is_own_listener(address) {
            return Err(is_own(address));
        }
        Ok(())
    }

    /// Connects to the socket that a path leads to now, if that may be.
    pub(super) async fn connect_unix(&self, path: &str) -> io::Result<UnixStream> {
        let socket = self.0.open_unix(path)?;
        UnixStream::connect(socket.address()).await
    }

    /// Returns a connector that checks the address, in place of Pingora's own, which would connect to
    /// whatever is there; `None` if the address needs no further check.
    pub(super) fn connector(
        &self,
        address: Address<'_>,
    ) -> Option<Arc<dyn L4Connect + Send + Sync>> {
        let is_guarded = match address {
            Address::Inet(address) => self.check(address).is_err(),
            Address::Unix(_) => true,
        };
        is_guarded.then(|| Arc::new(self.clone()) as Arc<dyn L4Connect + Send + Sync>)
    }
}

/// The routes are not shown.
impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

fn is_own(address: SocketAddr) -> io::Error {
    let reason = format!("{address} is a listener of the proxy itself");
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
fn failed(error: io::Error) -> BError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        _ => ErrorType::ConnectError,
    };
    Error::because(kind, "no connection", error)
}

#[async_trait]
impl L4Connect for Guard {
    async fn connect(&self, address: &PeerAddress) -> Result<Stream> {
        match address {
            // It was refused when this was made.
            PeerAddress::Inet(address) => Err(failed(is_own(*address))),
            PeerAddress::Unix(address) => {
                let path = address.as_pathname().and_then(|path| path.to_str());
                let stream = self.connect_unix(path.unwrap_or_default()).await;
                Ok(stream.map_err(failed)?.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Rules, TargetPolicy};

    #[tokio::test]
    async fn what_leads_back_to_the_proxy_is_not_connected_to() {
        let own: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let targets = TargetPolicy {
            own: vec![own],
            ..TargetPolicy::default()
        };
        let rules = Rules {
            targets,
            ..Rules::default()
        };
        let guard = Guard::new(Arc::new(Registry::new(rules)));
        let other = "127.0.0.1:4001".parse().unwrap();
        assert!(guard.check(own).is_err() && guard.check(other).is_ok());
        // Pingora connects itself where there is nothing to look at.
        assert!(guard.connector(Address::Inet(other)).is_none());
        let connector = guard.connector(Address::Inet(own)).unwrap();
        let connected = connector.connect(&PeerAddress::Inet(own)).await;
        assert!(
            connected
                .unwrap_err()
                .to_string()
                .contains("the proxy itself")
        );
        assert!(guard.connect_unix("/run/app.sock").await.is_err());
    }
}
