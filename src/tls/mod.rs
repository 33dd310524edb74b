//! Certificates: load them, choose one by the name that a client asks for (SNI, RFC 6066, 3), read
//! them again when their files change, take them over the control API; and rustls's configuration of
//! a listener with them.
//!
//! [`Certificates`] is all that a listener needs. A handshake reads one immutable table and waits for
//! nobody; a change makes a new table, and no connection notices it.
//!
//! # Which certificate a client gets
//!
//! 1. One that has the very name among its subject alternative names (the common name does not count:
//!    RFC 9525, 2).
//! 2. One with a wildcard for it: `*.example.com` is for `a.example.com`, and neither for
//!    `example.com` nor for `a.b.example.com` (RFC 9525, 6.3).
//! 3. The default one, which also serves clients that name no host.
//! 4. To a client that names no host, the only one, if there is but one.
//! 5. None: an alert, `unrecognized_name`, which the front sends.
//!
//! Of several that have the name in the same way it is the one that is valid longest; one whose kind
//! of key the client cannot check only if there is no other.

mod authorities;
mod certificates;
mod chain;
mod change;
mod details;
mod entry;
mod error;
mod folder;
mod options;
mod pair;
mod pattern;
mod pem;
mod provider;
mod source;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod watched_files;

pub use authorities::{Authorities, AuthoritiesError};
pub use certificates::Certificates;
pub use details::Details;
pub use entry::{Stored, Taken};
pub use error::{LoadError, PairError, Part, RemoveError, StoreError, TakeError};
pub use options::{ClientAuth, MinVersion, ServerConfigError, ServerOptions, server_config};
pub use pattern::Pattern;
pub use provider::{install, provider};
pub use source::{CertificateFiles, Given, Source};
