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
//! left blank is its defaults. The text becomes a [`Config`] in one go: `file` mirrors the keys,
//! every value is parsed while it is deserialised (`duration`, `size`, `network`, `number`), so
//! that its error has a line and a column, `rules` checks what no single value shows, and `explain`
//! (with `outline`, `key`) turns the deserialiser's errors into ours.

mod acme;
mod control;
mod duration;
mod error;
mod explain;
mod file;
mod key;
mod listen;
mod log_filter;
mod network;
mod number;
mod outline;
mod pingora;
mod registration;
mod registration_path;
mod route_keys;
mod routes;
mod rules;
mod section;
mod size;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod user;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pingora_core::server::configuration::ServerConf;
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{Location, Options, Spanned};

pub use self::acme::{Acme, AcmeChallenge, AcmeEab};
pub use self::control::{Control, ControlListen};
pub use self::error::{ConfigError, Hint, Located, Place};
pub use self::listen::{HttpsRedirect, Listen};
pub use self::network::AllowedTarget;
pub use self::pingora::PingoraConf;
pub use self::registration::{Registration, UnknownFields};
pub use self::routes::StaticRoute;
pub use self::section::{
    Count, Engine, Errors, Http2, Limits, Overload, ProxyProtocol, RequestId, Routing, TargetTls,
    Targets, Timeouts,
};
pub use self::store::Store;
pub use self::tls::{Tls, TlsCertificate, TlsClientAuth, TlsListen, TlsVersion};
pub use self::user::User;

use self::file::File;
use self::listen::{Entry, General};
use self::number::Port;
use self::outline::Source;
use self::pingora::with_pingora_keys;

/// The port that is listened on when nothing says another.
const DEFAULT_PORT: u16 = 3000;

/// A checked configuration: every default is resolved, every value holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Pingora's own keys. [`Config::pingora`] is what to start a server with.
    pub server: PingoraConf,
    /// `listen` or `port`: where to listen, at least one. Default: port 3000 of every IPv4 and,
    /// where there is any, IPv6 address.
    pub listen: Vec<Listen>,
    /// `engine`: what carries proxied requests. Default: direct.
    pub engine: Engine,
    /// `debug`: whether routing decisions are logged and `x-served-by` is set. Default: false.
    pub debug: bool,
    /// `log`: the filter of the log, in the language of `env_logger`. Default: `info`.
    pub log: String,
    /// `shutdown_grace`: how long requests may go on once the proxy is told to stop. Default: 30 s.
    pub shutdown_grace: Duration,
    /// `routing`: how a request finds its route.
    pub routing: Routing,
    /// `registration`: how apps register.
    pub registration: Registration,
    /// `targets`: where a registered target may be.
    pub targets: Targets,
    /// `control`: the control API.
    pub control: Control,
    /// `tls`: TLS with clients.
    pub tls: Tls,
    /// `acme`: certificates from an authority.
    pub acme: Acme,
    /// `store`: what keeps the routes. Default: memory.
    pub store: Store,
    /// `state_directory`: where state is kept. Default: the environment's `STATE_DIRECTORY`, or
    /// else `/var/lib/dynamic-reverse-proxy`.
    pub state_directory: PathBuf,
    /// `trusted_proxies`: the peers whose `Forwarded` and `X-Forwarded-*` fields are believed.
    /// Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// `proxy_protocol`: the load balancers that announce each client by the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// `http2`: HTTP/2 with clients.
    pub http2: Http2,
    /// `routes`: the routes that are there from the start. Default: none.
    pub routes: Vec<StaticRoute>,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `limits`: how large a request's head may be.
    pub limits: Limits,
    /// `overload`: when requests are shed.
    pub overload: Overload,
    /// `errors`: the statuses of the proxy's own answers.
    pub errors: Errors,
    /// `request_id`: the field that names a request.
    pub request_id: RequestId,
}

impl Config {
    /// Reads and checks a file; without a path, the defaults.
    ///
    /// `env` looks up an environment variable. `PORT`, and if it is not set `port`, overrides the
    /// file's `port`: if both are set, `PORT` wins. With `listen` in the file either is an error.
    /// `STATE_DIRECTORY` is the default of `state_directory`.
    /// Look up with `std::env::var_os` and `to_string_lossy`: `var(..).ok()` hides a variable that
    /// is not Unicode, which ought to be an error too.
    ///
    /// # Errors
    /// When the file cannot be read, or anything in it, or in the environment, is wrong.
    pub fn load(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Self::from_yaml("", "", env);
        };
        let name: Arc<str> = path.to_string_lossy().into();
        let bytes =
            fs::read(path).map_err(|source| ConfigError::unreadable(Arc::clone(&name), source))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::from_yaml(&name, text, env),
            Err(error) => {
                let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let place = end_of(&String::from_utf8_lossy(valid), name);
                Err(ConfigError::NotUtf8 { place })
            }
        }
    }

    /// Checks a configuration that was read elsewhere; `name` stands for the file in errors. For
    /// `env` see [`Config::load`].
    ///
    /// # Errors
    /// When anything in the text, or in the environment, is wrong.
    pub fn from_yaml(
        name: &str,
        text: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        // Some editors begin a file with a byte order mark; columns do not count it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source {
            file: name.into(),
            text,
        };
        explain::check_tabs(&source)?;
        let file: Option<File> = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| explain::explain(&error, &source))?;
        let mut file = file.unwrap_or_default();
        rules::check(&file, &source)?;
        let port = rules::port_of(&env, &file)?;
        if let Some((_variable, port)) = port {
            file.port = Some(Port(port));
        }
        let routes = routes::read(std::mem::take(&mut file.routes), &source)?;
        route_keys::check(&routes, file.routing.case_sensitive, &source)?;
        let config = Self {
            routes,
            ..Self::resolve(file, &source.file, env)
        };
        let variable = port.map(|(variable, _)| variable);
        let user = config.server.user.as_deref();
        control::check(&config.control, &config.listen, user, variable, &source)?;
        tls::check(&config.tls, &config.listen, &config.control, &source)?;
        registration::check(&config, &source)?;
        acme::check(&config, &source)?;
        rules::check_tokens(&config, &source)?;
        rules::check_pingora(config.server.clone(), &source)?;
        Ok(config)
    }

    /// Pingora's configuration. Its grace period is `shutdown_grace` unless `grace_period_seconds`
    /// is given: its own default of five minutes is waited out even with nothing to wait for.
    #[must_use]
    pub fn pingora(&self) -> ServerConf {
        let mut conf = self.server.clone().0;
        let grace = self.shutdown_grace;
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        conf.grace_period_seconds.get_or_insert(seconds);
        conf
    }

    fn resolve(file: File, name: &Arc<str>, env: impl Fn(&str) -> Option<String>) -> Self {
        let server = PingoraConf(with_pingora_keys!(ServerConf, file, {
            upgrade_sock_connect_accept_max_retries: None,
        }));
        let listen = listen(&file);
        let state_directory = store::state_directory(file.state_directory, env);
        Self {
            server,
            control: file.control.resolve(&listen),
            listen,
            tls: file.tls.resolve(&file.proxy_protocol.trusted, name),
            acme: file.acme.resolve(),
            store: file.store.resolve(&state_directory),
            state_directory,
            engine: file.engine,
            debug: file.debug,
            log: file.log,
            shutdown_grace: file.shutdown_grace,
            routing: file.routing,
            registration: file.registration.resolve(),
            targets: file.targets,
            trusted_proxies: file.trusted_proxies,
            proxy_protocol: file.proxy_protocol,
            http2: file.http2,
            // They are read by themselves.
            routes: Vec::new(),
            timeouts: file.timeouts,
            limits: file.limits,
            overload: file.overload,
            errors: file.errors,
            request_id: file.request_id,
        }
    }
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        Self::resolve(File::default(), &Arc::from(""), |_| None)
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    // The file is the operator's own, and may hold a hundred thousand routes.
    options.budget = None;
    options
}

/// The addresses to listen on. With port 0 the two families would get different ports: then it is
/// IPv4 alone.
fn listen(file: &File) -> Vec<Listen> {
    let general = General {
        http2_cleartext: file.http2.cleartext,
        proxy_protocol: &file.proxy_protocol.trusted,
    };
    if let Some(listen) = &file.listen {
        let entries = Entry::all(listen);
        return entries.map(|entry| entry.resolve(general)).collect();
    }
    let at = |address: IpAddr, port, optional| Listen {
        optional,
        ..Listen::plain((address, port).into(), general)
    };
    let port = file.port.map_or(DEFAULT_PORT, |port| port.0);
    let mut listen = vec![at(Ipv4Addr::UNSPECIFIED.into(), port, false)];
    if port != 0 {
        listen.push(at(Ipv6Addr::UNSPECIFIED.into(), port, true));
    }
    listen
}

fn locate(spanned: Spanned<String>, file: &Arc<str>) -> Located<String> {
    Located {
        value: spanned.value,
        place: place(spanned.referenced, file),
    }
}

fn place(location: Location, file: &Arc<str>) -> Place {
    Place {
        file: Arc::clone(file),
        line: usize::try_from(location.line()).unwrap_or_default(),
        column: usize::try_from(location.column()).unwrap_or_default(),
    }
}

/// The place right after a text.
fn end_of(text: &str, file: Arc<str>) -> Place {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        file,
        line: text.matches('\n').count() + 1,
        column: last.chars().count() + 1,
    }
}
