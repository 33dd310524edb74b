//! All listeners of a server, bound before anything runs.

use super::control_listener::{BoundControl, ControlListeners};
use super::error::StartError;
use super::options::Options;
use super::traffic::Traffic;
use crate::config::Config;

/// The listeners of the traffic, of the control API and of registrations.
pub(super) struct Bound {
    pub(super) traffic: Traffic,
    pub(super) control: BoundControl,
    pub(super) registration: BoundControl,
}

impl Bound {
    /// Binds every listener of the configuration, and completes the options by what is only known then: how
    /// each takes its connections in, and the addresses that are no targets. With `inherit` the running
    /// server has the sockets, and the addresses are those of the configuration.
    pub(super) fn open(
        config: &Config,
        options: &mut Options,
        inherit: bool,
    ) -> Result<Self, StartError> {
        let mut traffic = Traffic::open(config, &options.listener, &options.certificates, inherit)?;
        let control = BoundControl::open(ControlListeners::of(config), inherit)?;
        let registration = ControlListeners::of_registration(config);
        let registration = BoundControl::open(registration, inherit)?;
        options.listeners = std::mem::take(&mut traffic.listeners);
        options.gateway.https_port = traffic.https_port;
        if !inherit {
            options.own_listeners.clone_from(&traffic.addresses);
            let bound = control.bound.iter().chain(&registration.bound);
            let bound = bound.filter_map(|bound| bound.address);
            options.own_listeners.extend(bound);
        }
        Ok(Self {
            traffic,
            control,
            registration,
        })
    }
}
