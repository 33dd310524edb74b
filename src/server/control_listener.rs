//! The listeners of the control API, and of registrations alone: loopback TCP and Unix sockets.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use pingora_core::listeners::ListenerConfig;

use super::listener::{BindError, BoundListener, Purpose};
use super::unix_socket::{self, Access, SocketFile};
use crate::config::{Config, ControlListen};

/// How many connections may wait to be accepted on a Unix socket.
const BACKLOG: i32 = 1024;

/// A control listener: where it is, and, once it is bound, its socket.
#[derive(Debug)]
pub(super) struct ControlListener {
    /// Its name in Pingora's table of sockets.
    pub(super) name: String,
    /// How it is shown in the log.
    pub(super) shown: String,
    /// Its file, if it has one.
    pub(super) file: Option<SocketFile>,
    /// Its address, if it is TCP.
    pub(super) address: Option<SocketAddr>,
    pub(super) socket: OwnedFd,
}

/// The control listeners that the configuration asks for, not yet bound.
#[derive(Clone, Debug)]
pub(super) struct ControlListeners {
    pub(super) listen: Vec<ControlListen>,
    purpose: Purpose,
}

impl ControlListeners {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listen: config.control.listen.clone(),
            purpose: if config.control.is_default {
                Purpose::DefaultControl
            } else {
                Purpose::Control
            },
        }
    }

    /// Those that take registrations instead of the traffic's.
    pub(super) fn of_registration(config: &Config) -> Self {
        Self {
            listen: config.registration.listen.clone(),
            purpose: Purpose::Registration,
        }
    }

    /// Returns their purpose, as the log names it.
    pub(super) fn title(&self) -> &'static str {
        match self.purpose {
            Purpose::Registration => "registration",
            Purpose::Traffic | Purpose::Control | Purpose::DefaultControl => "control API",
        }
    }

    fn key(&self) -> &'static str {
        match self.purpose {
            Purpose::Registration => "registration.listen",
            Purpose::Traffic | Purpose::Control | Purpose::DefaultControl => "control.listen",
        }
    }

    /// Who may connect to their Unix sockets.
    pub(super) fn access(&self) -> Access {
        match self.purpose {
            Purpose::Registration => Access::Everybody,
            Purpose::Traffic | Purpose::Control | Purpose::DefaultControl => Access::Owner,
        }
    }

    /// Binds all of them.
    pub(super) fn bind(&self) -> Result<Vec<ControlListener>, BindError> {
        self.listen
            .iter()
            .map(|listen| self.bind_one(listen))
            .collect()
    }

    /// Binds one of them.
    pub(super) fn bind_one(&self, listen: &ControlListen) -> Result<ControlListener, BindError> {
        match listen {
            ControlListen::Tcp(address) => {
                let BoundListener { address, socket } =
                    BoundListener::bind(*address, self.purpose)?;
                Ok(ControlListener {
                    name: address.to_string(),
                    shown: address.to_string(),
                    file: None,
                    address: Some(address),
                    socket,
                })
            }
            ControlListen::Unix(path) => {
                let shown = shown(listen);
                let socket = match unix_socket::listen(path, self.access(), BACKLOG) {
                    Ok(socket) => socket,
                    Err(source) => {
                        return Err(BindError {
                            address: shown,
                            remedy: unix_socket::remedy(&source, self.key()),
                            source,
                        });
                    }
                };
                Ok(ControlListener {
                    name: name(listen),
                    shown,
                    file: Some(SocketFile::at(path)),
                    address: None,
                    socket: socket.into(),
                })
            }
        }
    }
}

/// Control listeners, and their sockets; none if the running server has them.
pub(super) struct BoundControl {
    pub(super) wanted: ControlListeners,
    pub(super) bound: Vec<ControlListener>,
}

impl BoundControl {
    /// Binds the listeners, unless the running server has the sockets.
    pub(super) fn open(wanted: ControlListeners, inherit: bool) -> Result<Self, BindError> {
        let bound = if inherit { Vec::new() } else { wanted.bind()? };
        Ok(Self { wanted, bound })
    }
}

/// The name of a listener in Pingora's table of sockets.
pub(super) fn name(listen: &ControlListen) -> String {
    match listen {
        ControlListen::Tcp(address) => address.to_string(),
        ControlListen::Unix(path) => path.to_string_lossy().into_owned(),
    }
}

/// How a listener is shown in the log.
pub(super) fn shown(listen: &ControlListen) -> String {
    match listen {
        ControlListen::Tcp(address) => address.to_string(),
        ControlListen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// A listener by its name, as Pingora wants it.
pub(super) fn endpoint(name: &str, access: Access) -> ListenerConfig {
    if name.starts_with('/') {
        // Pingora sets the mode again, to 0666 if it is not told.
        let mode = Permissions::from_mode(access.mode());
        ListenerConfig::uds(name).permissions(mode)
    } else {
        ListenerConfig::tcp(name)
    }
}
