//! The settings of a route: one file for each setting, and `list`, the one list of them. Everything that reads or
//! writes a route follows from the list: registrations, the control API and its description, the store, the
//! audit, the command line, the configuration.
//!
//! A new setting is a file with a type that is a [`Setting`], and a line in the list.

mod client_certificate;
mod hsts;
mod list;
mod patch;
mod setting;
mod timeouts;
mod tls;

pub use client_certificate::ClientCertificate;
pub use hsts::Hsts;
pub use list::Settings;
pub use patch::SettingsPatch;
pub use setting::{Setting, SettingField};
pub use timeouts::{RouteTimeouts, Timeout, TimeoutOrOff};
pub use tls::TlsPolicy;
