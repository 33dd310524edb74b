//! An instance, as options of the commands that put or register one: where the app is, what it speaks, whose
//! it is, for how long.

use std::num::NonZeroU16;
use std::time::Duration;

use clap::Args;

use super::duration;
use crate::route::{HttpsInput, InstanceSpec, Port, TlsWish};

/// The options.
#[derive(Args, Debug)]
pub(super) struct InstanceArgs {
    /// Where the app is; localhost by default.
    #[arg(long, alias = "target-host")]
    host: Option<String>,
    /// The app's port.
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "unix",
        conflicts_with = "unix"
    )]
    port: Option<NonZeroU16>,
    /// The app's Unix socket, by its absolute path; `targets.allow` has to name it.
    #[arg(long, value_name = "PATH")]
    unix: Option<String>,
    /// The protocol of the app: http1 (the default), h2c, h2 or auto.
    #[arg(long, value_name = "NAME", value_parser = ["http1", "h2c", "h2", "auto"])]
    protocol: Option<String>,
    /// Connect to the app over TLS, and verify its certificate.
    #[arg(long)]
    https: bool,
    /// Over TLS: the name that its certificate has to be for; the app's host by default.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Over TLS: the settings of this name in the proxy's `targets.tls`.
    #[arg(long, value_name = "NAME")]
    tls_profile: Option<String>,
    /// How long it holds unless it is repeated.
    #[arg(long, value_name = "DURATION", value_parser = duration::lease)]
    ttl: Option<Duration>,
    /// Whose it is.
    #[arg(long)]
    owner: Option<String>,
}

impl InstanceArgs {
    /// The instance, without a name.
    pub(super) fn spec(&self) -> InstanceSpec {
        InstanceSpec {
            host: self.host.clone(),
            port: self.port.map(Port::from),
            unix: self.unix.clone(),
            protocol: self.protocol.clone(),
            https: self.https(),
            owner: self.owner.clone(),
            ttl: self.ttl.map(duration::written),
            ..InstanceSpec::default()
        }
    }

    /// `https` as the API takes it.
    fn https(&self) -> Option<HttpsInput> {
        if self.server_name.is_none() && self.tls_profile.is_none() {
            return self.https.then_some(HttpsInput::Whether(true));
        }
        Some(HttpsInput::How(TlsWish {
            server_name: self.server_name.clone(),
            profile: self.tls_profile.clone(),
        }))
    }
}
