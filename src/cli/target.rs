//! Where an app is and what it speaks, as options of the commands that put or register one.

use std::num::NonZeroU16;

use clap::Args;
use serde_json::{Value, json};

/// The options.
#[derive(Args, Debug)]
pub(super) struct TargetArgs {
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
    /// What the app speaks: http1 (the default), h2c, h2 or auto.
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
}

impl TargetArgs {
    pub(super) fn port(&self) -> Option<u16> {
        self.port.map(NonZeroU16::get)
    }

    pub(super) fn unix(&self) -> Option<String> {
        self.unix.clone()
    }

    pub(super) fn protocol(&self) -> Option<String> {
        self.protocol.clone()
    }

    /// `https` as the API takes it.
    pub(super) fn https(&self) -> Option<Value> {
        if self.server_name.is_none() && self.tls_profile.is_none() {
            return self.https.then_some(Value::Bool(true));
        }
        let mut wish = json!({});
        for (name, value) in [
            ("server_name", &self.server_name),
            ("profile", &self.tls_profile),
        ] {
            if let (Some(value), Some(wish)) = (value, wish.as_object_mut()) {
                wish.insert(name.to_owned(), json!(value));
            }
        }
        Some(wish)
    }
}
