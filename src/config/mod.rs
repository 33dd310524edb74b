//! The configuration: one strict YAML file, `conf/pingora.yaml`, with Pingora's own keys at the top
//! level and ours beside them.
//!
//! ```
//! use dynamic_reverse_proxy::config::Config;
//!
//! let text = "port: 8080\ntimeouts:\n  conect: 1s\n";
//! let error = Config::from_yaml("proxy.yaml", text, |_| None).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "proxy.yaml:3:3: unknown key `conect` in `timeouts`, did you mean `connect`?"
//! );
//! ```
//!
//! What is not known is refused, at any depth. What is left out has its default; a section that is
//! left blank is its defaults. The text becomes a [`Config`] in one go, which `read` leads: `file`
//! mirrors the keys, every value is parsed while it is deserialised (`duration`, `size`, `network`,
//! `number`), so that its error has a line and a column, `resolved` puts the defaults in, `rules`
//! and the `check` of each section look at what no single value shows, and `explain` (with `source`,
//! `outline`, `key`, `spelling`) turns the deserialiser's errors into ours.

mod acme;
mod control;
mod duration;
mod error;
mod explain;
mod field_name;
mod file;
mod health;
mod health_paths;
mod key;
mod listen;
mod log_filter;
mod network;
mod number;
mod outline;
mod pingora;
mod read;
mod registration;
mod registration_listeners;
mod registration_path;
mod resolved;
mod route_entry;
mod route_keys;
mod routes;
mod rules;
mod section;
mod size;
mod source;
mod spelling;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod user;

pub use self::acme::{Acme, AcmeChallenge, AcmeEab};
pub use self::control::{Control, ControlListen};
pub use self::error::{ConfigError, Hint, Located, Place};
pub use self::health::Health;
pub use self::listen::{HttpsRedirect, Listen};
pub use self::network::AllowedTarget;
pub use self::number::Count;
pub use self::pingora::PingoraConf;
pub use self::registration::{Registration, UnknownFields};
pub use self::resolved::Config;
pub use self::routes::StaticRoute;
pub use self::section::{
    Engine, Errors, Events, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, TargetTls,
    Targets, Timeouts,
};
pub use self::store::Store;
pub use self::tls::{Tls, TlsCertificate, TlsClientAuth, TlsListen, TlsVersion};
pub use self::user::User;
