//! The upstream peer of a route: which address, which pool, how long.

use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::Session;

use super::Timeouts;
use super::guard::Guard;
use super::target_tls::Profiles;
use crate::front::{DownstreamHandle, Framing};
use crate::route::{Instance, Protocol, Route, Target};

/// One place where an instance takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address<'t> {
    Inet(SocketAddr),
    Unix(&'t str),
}

/// The instance and the address to try: of the chosen instance the address that answered last, then
/// its others in their order, then those of the instances behind it.
pub(super) fn aim(
    route: &Route,
    chosen: usize,
    mut attempt: usize,
) -> Option<(usize, Address<'_>)> {
    let count = route.instance_count();
    for index in (chosen..chosen + count).map(|index| index % count) {
        let target = &route.instance(index).target;
        if let Some(address) = address(target, attempt) {
            return Some((index, address));
        }
        let tried = if target.unix().is_some() {
            1
        } else {
            target.addresses().len()
        };
        attempt = attempt.checked_sub(tried)?;
    }
    None
}

fn address(target: &Target, attempt: usize) -> Option<Address<'_>> {
    if let Some(path) = target.unix() {
        return (attempt == 0).then_some(Address::Unix(path));
    }
    let addresses = target.addresses();
    let preferred = target.preferred();
    let address = match attempt {
        0 => addresses.get(preferred).copied(),
        _ => addresses
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != preferred)
            .nth(attempt - 1)
            .map(|(_, address)| *address),
    };
    address.map(Address::Inet)
}

/// The peer at an address of an instance's target; none if its TLS settings are gone.
pub(super) fn peer(
    instance: &Instance,
    address: Address<'_>,
    profiles: &Profiles,
    timeouts: &Timeouts,
    kind: Kind,
    group: u64,
    guard: &Guard,
) -> Option<HttpPeer> {
    let tls = instance.target.tls.as_deref();
    let name = tls.map_or_else(String::new, |tls| tls.server_name.to_string());
    let mut peer = match address {
        // A socket address does not resolve, so this neither blocks nor fails.
        Address::Inet(address) => HttpPeer::new(address, tls.is_some(), name),
        Address::Unix(path) => match HttpPeer::new_uds(path, tls.is_some(), name) {
            Ok(peer) => peer,
            Err(error) => {
                log::warn!("the Unix socket {path} is no target: {error}");
                return None;
            }
        },
    };
    profiles.apply(&instance.target, &mut peer)?;
    peer.group_key = group;
    peer.options.custom_l4 = guard.connector(address);
    set_timeouts(&mut peer, timeouts, kind, instance.target.protocol);
    Some(peer)
}

fn set_timeouts(peer: &mut HttpPeer, timeouts: &Timeouts, kind: Kind, protocol: Protocol) {
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = match kind {
        Kind::Plain => timeouts.longest_silence(),
        // Over HTTP/2 its time would begin with the upload, and the client is always polled.
        Kind::Upload if speaks_only_http2(protocol) => None,
        Kind::Upload => timeouts.upload_silence(),
        Kind::Upgrade => None,
    };
    options.write_timeout = timeouts.send;
    options.tcp_keepalive = timeouts.send.map(unsent);
    options.idle_timeout = timeouts.upstream_idle;
}

pub(super) fn speaks_only_http2(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::H2 | Protocol::H2c)
}

/// Has the kernel end a connection whose app takes nothing for so long. Pingora 0.9.1 goes on after a
/// write that took too long, and would wait for the rest of a WebSocket without an end.
fn unsent(limit: Duration) -> TcpKeepalive {
    // All but the last are what Linux does anyway.
    TcpKeepalive {
        idle: Duration::from_hours(2),
        interval: Duration::from_secs(75),
        count: 9,
        user_timeout: limit,
    }
}

/// Sets the limits on the origin's pauses that the front keeps.
pub(super) fn set_upstream_timeouts(session: &Session, timeouts: &Timeouts, kind: Kind) {
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        let (first_byte, between_bytes) = timeouts.upstream_timeouts(kind);
        hold.upstream_timeouts().set(first_byte, between_bytes);
    }
}

/// The kind of an exchange, by who keeps the limits on the upstream's pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pingora does, with one timer for both.
    #[default]
    Plain,
    /// A body comes first, and Pingora's timer would count its pauses as the
    /// origin's. The front knows when it has ended.
    Upload,
    /// The silence of both sides of a WebSocket counts, which the front alone sees.
    Upgrade,
}

impl Kind {
    /// The kind of a request, by how the end of its body is told.
    pub(super) fn of(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Plain,
            Framing::Upgrade => Self::Upgrade,
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => Self::Upload,
        }
    }
}

impl Timeouts {
    /// Pingora has one limit for the origin's first byte and for every later one: the longer.
    fn longest_silence(&self) -> Option<Duration> {
        Some(self.first_byte?.max(self.between_bytes?))
    }

    /// For an upload, Pingora's limit is only for the case that it does not poll the client while it
    /// waits (`Gateway::request_body_filter`): so long that the client's own limit comes first.
    fn upload_silence(&self) -> Option<Duration> {
        let longest = self.longest_silence()?.max(self.client_body?);
        Some(longest + Duration::from_secs(1))
    }

    /// The limits that the front keeps beside Pingora's own, for first byte and between bytes.
    pub(super) fn upstream_timeouts(&self, kind: Kind) -> (Option<Duration>, Option<Duration>) {
        match kind {
            Kind::Plain => {}
            Kind::Upload => return (self.first_byte, self.between_bytes),
            Kind::Upgrade => return (self.first_byte, self.websocket_idle),
        }
        // Of a head that comes in pieces Pingora would give each the time anew.
        let longest = self.longest_silence();
        let between_bytes = self.between_bytes.filter(|limit| Some(*limit) != longest);
        (self.first_byte, between_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(first_byte: Option<u64>, between_bytes: Option<u64>) -> Timeouts {
        Timeouts {
            first_byte: first_byte.map(Duration::from_secs),
            between_bytes: between_bytes.map(Duration::from_secs),
            ..Timeouts::default()
        }
    }

    #[test]
    fn the_front_keeps_only_what_pingora_cannot() {
        let cases = [
            (timeouts(Some(60), Some(60)), Some(60), Some(60), None),
            (timeouts(Some(5), Some(60)), Some(60), Some(5), None),
            (
                timeouts(Some(300), Some(60)),
                Some(300),
                Some(300),
                Some(60),
            ),
            (timeouts(None, Some(60)), None, None, Some(60)),
            (timeouts(None, None), None, None, None),
        ];
        for (timeouts, pingora, first, between) in cases {
            let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
            assert_eq!(seconds(timeouts.longest_silence()), pingora);
            let (own_first, own_between) = timeouts.upstream_timeouts(Kind::Plain);
            assert_eq!((seconds(own_first), seconds(own_between)), (first, between));
        }
    }
}
