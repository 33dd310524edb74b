//! The traffic's listeners: where they are, and how each takes its connections in.

use std::net::SocketAddr;
use std::sync::Arc;

use log::info;
use rustls::ServerConfig;

use super::error::StartError;
use super::listener::{self, BoundListener, Purpose};
use super::settings;
use crate::config::{Config, Listen, TlsListen};
use crate::front::{HttpsRedirect, ListenerOptions};
use crate::tls::{self, Certificates};

/// The listeners of the traffic.
#[derive(Default)]
pub(super) struct Traffic {
    /// Their sockets; none if the running server has them.
    pub(super) bound: Vec<BoundListener>,
    /// Their addresses: those in cleartext, then those with TLS.
    pub(super) addresses: Vec<SocketAddr>,
    /// The options of those that differ from the rest.
    pub(super) listeners: Vec<(SocketAddr, ListenerOptions)>,
    /// The public port of https.
    pub(super) https_port: u16,
}

impl Traffic {
    /// Binds every listener of the configuration; with `inherit` the running server has the sockets,
    /// and the addresses are those of the configuration.
    pub(super) fn open(
        config: &Config,
        common: &ListenerOptions,
        certificates: &Arc<Certificates>,
        inherit: bool,
    ) -> Result<Self, StartError> {
        let mut traffic = Self {
            https_port: config.tls.redirect_port,
            ..Self::default()
        };
        for listen in &config.listen {
            let Some(address) = traffic.bind(listen.address, listen.optional, inherit)? else {
                continue;
            };
            traffic.note(address, listen, common);
        }
        for (index, listen) in config.tls.listen.iter().enumerate() {
            let Some(address) = traffic.bind(listen.address, false, inherit)? else {
                continue;
            };
            if traffic.https_port == 0 {
                // The default is the first listener's, which has only now got one.
                traffic.https_port = address.port();
            }
            let tls = settings::listener_tls(config, index, listen)?;
            let tls = tls::server_config(&tls, Arc::clone(certificates))?;
            traffic.secure(address, tls, listen, common);
        }
        Ok(traffic)
    }

    /// The port of the first listener.
    pub(super) fn port(&self) -> u16 {
        self.addresses.first().map_or(0, SocketAddr::port)
    }

    /// The address, with its port; none if it is optional and the machine lacks its family.
    fn bind(
        &mut self,
        address: SocketAddr,
        optional: bool,
        inherit: bool,
    ) -> Result<Option<SocketAddr>, StartError> {
        let address = if inherit {
            address
        } else {
            match BoundListener::bind(address, Purpose::Traffic) {
                Ok(listener) => {
                    let address = listener.address;
                    self.bound.push(listener);
                    address
                }
                Err(error) if optional && listener::is_family_missing(&error) => {
                    info!("not listening on {address}: {}", error.source);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.addresses.push(address);
        Ok(Some(address))
    }

    fn note(&mut self, address: SocketAddr, listen: &Listen, common: &ListenerOptions) {
        let redirect = settings::redirect(listen.redirect_to_https);
        match redirect {
            HttpsRedirect::Off => info!("HTTP on {address}"),
            _ => info!("HTTP on {address}, which redirects to https"),
        }
        let is_common = redirect == common.redirect_to_https
            && listen.http2_cleartext == common.http2_cleartext
            && listen.proxy_protocol == common.proxy_protocol;
        if !is_common {
            let listener = ListenerOptions {
                redirect_to_https: redirect,
                http2_cleartext: listen.http2_cleartext,
                proxy_protocol: listen.proxy_protocol.clone(),
                ..common.clone()
            };
            self.listeners.push((address, listener));
        }
    }

    /// Each has a configuration of its own: a session is resumed where it began, and nowhere else.
    fn secure(
        &mut self,
        address: SocketAddr,
        tls: Arc<ServerConfig>,
        listen: &TlsListen,
        common: &ListenerOptions,
    ) {
        let listener = ListenerOptions {
            tls: Some(tls),
            proxy_protocol: listen.proxy_protocol.clone(),
            ..common.clone()
        };
        self.listeners.push((address, listener));
        info!("TLS on {address}");
    }
}
