//! Where connections lead.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::Equivalent;

use crate::proxy::peer::Address;
use crate::route::{Target, TargetTls};

/// Where a connection leads, and since when.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Origin {
    pub(in crate::proxy) key: UpstreamKey,
    /// The serial number of the newest instance that there was when the connection was made.
    pub(in crate::proxy) newest: u64,
}

/// The key of interchangeable connections: an endpoint and the TLS settings for it. Connections of different
/// settings never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct UpstreamKey {
    endpoint: Endpoint,
    tls: Option<Arc<TargetTls>>,
}

#[cfg(test)]
impl UpstreamKey {
    /// The key of a Unix socket.
    pub(in crate::proxy) fn unix(path: &str) -> Self {
        Self {
            endpoint: Endpoint::Unix(path.into()),
            tls: None,
        }
    }
}

/// An [`Address`] to keep.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    Inet(SocketAddr),
    Unix(Arc<str>),
}

/// An [`UpstreamKey`] to look up. Their hashes are the same: both are derived, from the same parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct KeyRef<'t> {
    address: Address<'t>,
    tls: Option<&'t TargetTls>,
}

impl<'t> KeyRef<'t> {
    /// The key of an instance's target at one of its addresses.
    pub(in crate::proxy) fn new(target: &'t Target, address: Address<'t>) -> Self {
        Self {
            address,
            tls: target.tls.as_deref(),
        }
    }

    pub(in crate::proxy) fn to_owned(self) -> UpstreamKey {
        UpstreamKey {
            endpoint: match self.address {
                Address::Inet(address) => Endpoint::Inet(address),
                Address::Unix(path) => Endpoint::Unix(path.into()),
            },
            tls: self.tls.cloned().map(Arc::new),
        }
    }
}

impl Equivalent<UpstreamKey> for KeyRef<'_> {
    fn equivalent(&self, key: &UpstreamKey) -> bool {
        let is_there = match (self.address, &key.endpoint) {
            (Address::Inet(address), Endpoint::Inet(other)) => address == *other,
            (Address::Unix(path), Endpoint::Unix(other)) => *path == **other,
            _ => false,
        };
        is_there && self.tls == key.tls.as_deref()
    }
}
