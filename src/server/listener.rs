//! Listening sockets, bound before Pingora starts.
//!
//! Pingora binds within a task: a port that is taken is tried for 30 s, then the task panics and
//! the process stays up, deaf. Here a failure is an error with its remedy, at once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::accept_queue;

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {remedy}")]
#[non_exhaustive]
pub struct BindError {
    /// The address, or `unix:` and a path.
    pub address: String,
    /// The remedy.
    pub remedy: String,
    /// The kernel's error.
    pub source: io::Error,
}

/// The purpose of a listener, which decides the configuration key that a remedy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Traffic,
    Control,
    /// The control API where nothing says another place.
    DefaultControl,
    /// Registrations alone.
    Registration,
}

/// A socket that listens.
#[derive(Debug)]
pub(super) struct BoundListener {
    /// The address, with the port that the kernel chose if it was to.
    pub(super) address: SocketAddr,
    pub(super) socket: OwnedFd,
}

impl BoundListener {
    pub(super) fn bind(address: SocketAddr, purpose: Purpose) -> Result<Self, BindError> {
        listen(address).map_err(|source| failed(address, purpose, source))
    }

    /// A second descriptor of the same socket, for another worker.
    pub(super) fn copy(&self) -> Result<(String, OwnedFd), BindError> {
        let address = self.address;
        let copy = self
            .socket
            .try_clone()
            .map_err(|source| failed(address, Purpose::Traffic, source))?;
        Ok((address.to_string(), copy))
    }
}

fn failed(address: SocketAddr, purpose: Purpose, source: io::Error) -> BindError {
    BindError {
        address: address.to_string(),
        remedy: remedy(address, purpose, &source),
        source,
    }
}

fn listen(address: SocketAddr) -> io::Result<BoundListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier process that linger do not keep the port; a listener does.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has its own listener: `[::]:3000` beside `0.0.0.0:3000`.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(accept_queue::LENGTH)?;
    socket.set_nonblocking(true)?;
    let address = socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("the socket has no address"))?;
    Ok(BoundListener {
        address,
        socket: socket.into(),
    })
}

/// Whether an address is missing because the machine does not have its family at all.
pub(super) fn is_family_missing(error: &BindError) -> bool {
    matches!(
        error.source.raw_os_error(),
        Some(97 /* EAFNOSUPPORT */ | 99 /* EADDRNOTAVAIL */)
    )
}

fn remedy(address: SocketAddr, purpose: Purpose, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let choice = match purpose {
                Purpose::Traffic => {
                    "choose another by `port:` in the configuration or PORT in the environment"
                }
                Purpose::Control => "choose another by `control.listen` in the configuration",
                Purpose::Registration => {
                    "choose another by `registration.listen` in the configuration"
                }
                Purpose::DefaultControl => {
                    "write `control.listen` in the configuration: the control API's port is the \
                     one after the traffic's unless it says another, or off"
                }
            };
            format!(
                "port {port} is taken by another program (see `ss -ltnp sport = :{port}`); \
                 stop it, or {choice}"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "port {port} is privileged; choose one above 1023, or give the right to it: \
             `setcap cap_net_bind_service=+ep` on the binary"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "no interface of this machine has the address {} ({error})",
                address.ip()
            )
        }
        _ => error.to_string(),
    }
}
