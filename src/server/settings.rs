//! From the configuration file's values to the proxy's options: the one place that knows both.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use log::warn;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::error::StartError;
use super::options::Options;
use crate::config::Count;
use crate::config::{
    self, Config, ConfigError, ControlListen, Located, StaticRoute, TlsClientAuth, TlsListen,
    TlsVersion,
};
use crate::control::{AllowedUser, Tokens, TokensError};
use crate::front::{ClientLimits, Engine, HttpsRedirect, ListenerOptions, RequestIds};
use crate::proxy::{
    ErrorStatuses, ExchangeLimits, GatewayOptions, SecurityDefaults, TargetTlsOptions, Timeouts,
};
use crate::registry::store::{Embedded, Store, StoreError};
use crate::registry::{AllowedTarget, Limits, OwnSocket, RegisterError, UnknownFields};
use crate::route::{CaseSensitivity, FieldError, PathPrefix, SpecError};
use crate::tls::{
    self, CertificateFiles, Certificates, ClientAuth, Details, MinVersion, ServerOptions,
};

/// The paths that apps register at; none, if they cannot.
fn registration_paths(registration: &config::Registration) -> Result<Vec<PathPrefix>, StartError> {
    let paths = registration.paths.iter().filter(|_| registration.enabled);
    paths
        .map(|path| PathPrefix::parse(path))
        .collect::<Result<_, _>>()
        .map_err(|error| StartError::Setting("registration.path", error.to_string()))
}

/// The options that a configuration asks for.
pub(super) fn options(config: &Config) -> Result<Options, StartError> {
    #[cfg(not(feature = "acme"))]
    super::acme::refuse(config)?;
    let registration = &config.registration;
    Ok(Options {
        gateway: gateway(config)?,
        registration_paths: registration_paths(registration)?,
        unknown_fields: match registration.unknown_fields {
            config::UnknownFields::Refuse => UnknownFields::Refuse,
            config::UnknownFields::Ignore => UnknownFields::Ignore,
        },
        registration_limit: registration.body_limit,
        registration_timeout: registration.body_timeout,
        case: if config.routing.case_sensitive {
            CaseSensitivity::Sensitive
        } else {
            CaseSensitivity::Insensitive
        },
        allowed_targets: config.targets.allow.iter().map(allowed).collect(),
        registration_apart: !registration.listen.is_empty(),
        allow_users: registration.allow_users.as_deref().map(users),
        own_listeners: own_listeners(config),
        own_sockets: own_sockets(config),
        tokens: tokens(config)?,
        certificates: Arc::new(certificates(config)?),
        #[cfg(feature = "acme")]
        acme: super::acme::options(config)?,
        require_token: registration.require_token,
        control_hosts: config.control.hosts.clone(),
        control_body_limit: config.control.body_limit,
        control_body_timeout: config.control.body_timeout,
        head_limit: config.limits.head,
        target_limit: config.limits.target,
        field_limit: config.limits.fields,
        table_limits: table_limits(&config.limits),
        head_timeout: config.timeouts.head,
        handshake_timeout: config.timeouts.handshake,
        idle_timeout: config.timeouts.idle,
        listener: ListenerOptions {
            tls: None,
            proxy_protocol: config.proxy_protocol.trusted.clone(),
            http2_cleartext: config.http2.cleartext,
            redirect_to_https: HttpsRedirect::Off,
        },
        listeners: Vec::new(),
        http2_streams: config.http2.streams,
        clients: client_limits(config),
        websocket_frame_limit: config.limits.websocket_frame,
        websocket_message_limit: config.limits.websocket_message,
        overload_target: config.overload.target,
        overload_interval: config.overload.interval,
        engine: match config.engine {
            config::Engine::Direct => Engine::Direct,
            config::Engine::Pingora => Engine::Pingora,
        },
    })
}

/// The limits on the table.
fn table_limits(limits: &config::Limits) -> Limits {
    let default = Limits::default();
    Limits {
        routes: limits.routes.unwrap_or(default.routes),
        routes_per_owner: limits.routes_per_owner.unwrap_or(default.routes_per_owner),
        hosts: limits.hosts.unwrap_or(default.hosts),
        hosts_per_owner: limits.hosts_per_owner.unwrap_or(default.hosts_per_owner),
        instances: limits.instances.unwrap_or(default.instances),
        instances_per_owner: limits
            .instances_per_owner
            .unwrap_or(default.instances_per_owner),
        hosts_per_registration: limits
            .hosts_per_registration
            .unwrap_or(default.hosts_per_registration),
        route_memory: limits.route_memory.unwrap_or(default.route_memory),
    }
}

/// The limits on clients. Proxies in front of this one are exempt.
fn client_limits(config: &Config) -> ClientLimits {
    let auto = ClientLimits::default();
    let limits = &config.limits;
    let most = |count: Count, auto: usize| match count {
        Count::Auto => auto,
        Count::Off => usize::MAX,
        Count::Most(most) => usize::try_from(most.get()).unwrap_or(usize::MAX),
    };
    ClientLimits {
        connections: most(limits.connections, auto.connections),
        connections_per_client: most(limits.connections_per_client, auto.connections_per_client),
        new_connections_per_second: limits.new_connections_per_second,
        requests_per_connection: limits.requests_per_connection.map(NonZeroU64::from),
        streams_per_client: most(limits.streams_per_client, auto.streams_per_client),
        exempt: config.trusted_proxies.clone(),
        ..auto
    }
}

/// The tokens of the file that the configuration names.
fn tokens(config: &Config) -> Result<Option<Arc<Tokens>>, StartError> {
    let Some(path) = &config.control.tokens else {
        return Ok(None);
    };
    match Tokens::load(path) {
        Ok(tokens) => Ok(Some(Arc::new(tokens))),
        Err(TokensError::Wrong(error)) => Err(error.into()),
        Err(TokensError::Unreadable { path, source }) => Err(StartError::File {
            key: "control.tokens",
            path: path.to_string_lossy().into_owned(),
            source,
        }),
    }
}

/// The certificates of the files that the configuration names.
fn certificates(config: &Config) -> Result<Certificates, StartError> {
    let files = config.tls.certificates.iter().map(|entry| {
        Ok(CertificateFiles {
            name: entry.name.clone(),
            certificate: absolute("tls.certificates", &entry.certificate)?,
            key: absolute("tls.certificates", &entry.key)?,
            default: entry.default,
        })
    });
    let files = files.collect::<Result<Vec<_>, StartError>>()?;
    Ok(Certificates::load(files)?)
}

/// A path that still leads there when the working directory is another.
fn absolute(key: &'static str, path: &Path) -> Result<PathBuf, StartError> {
    std::path::absolute(path).map_err(|source| StartError::File {
        key,
        path: path.to_string_lossy().into_owned(),
        source,
    })
}

/// Returns the TLS versions and the client authentication of TLS listeners: the general ones, then each
/// listener's.
pub(super) fn tls_options(config: &Config) -> Result<Vec<ServerOptions>, StartError> {
    let tls = &config.tls;
    let general = server_options(config, "tls", tls.min_version, &tls.client_auth);
    let listeners = tls.listen.iter().enumerate();
    let listeners = listeners.map(|(index, listen)| listener_tls(config, index, listen));
    std::iter::once(general).chain(listeners).collect()
}

/// The TLS configuration of one listener, by its place in the configuration.
pub(super) fn listener_tls(
    config: &Config,
    index: usize,
    listen: &TlsListen,
) -> Result<ServerOptions, StartError> {
    let section = format!("tls.listen[{index}]");
    server_options(config, &section, listen.min_version, &listen.client_auth)
}

fn server_options(
    config: &Config,
    section: &str,
    min_version: TlsVersion,
    client_auth: &TlsClientAuth,
) -> Result<ServerOptions, StartError> {
    let authorities = |path| {
        tls::Authorities::load(path).map_err(|source| StartError::ClientAuth {
            key: format!("{section}.client_auth.ca"),
            source,
        })
    };
    Ok(ServerOptions {
        min_version: match min_version {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        },
        client_auth: match client_auth {
            TlsClientAuth::Off => ClientAuth::Off,
            TlsClientAuth::Optional(path) => ClientAuth::Optional(authorities(path)?),
            TlsClientAuth::Require(path) => ClientAuth::Require(authorities(path)?),
        },
        challenges: super::acme::has_tls_challenges(config),
        ..ServerOptions::default()
    })
}

/// Where a listener sends its clients.
pub(super) fn redirect(redirect: config::HttpsRedirect) -> HttpsRedirect {
    match redirect {
        config::HttpsRedirect::Off => HttpsRedirect::Off,
        config::HttpsRedirect::DefaultPort => HttpsRedirect::DefaultPort,
        config::HttpsRedirect::Port(port) => HttpsRedirect::Port(port),
    }
}

/// Where certificates are kept that come over the control API: nowhere, if routes are not.
pub(super) fn certificates_folder(config: &Config) -> Option<PathBuf> {
    match config.store {
        config::Store::Memory => None,
        config::Store::Embedded { .. } => Some(config.state_directory.join("certificates")),
    }
}

/// The store that a configuration asks for, open; `None` for the memory alone.
pub(super) fn store(config: &Config) -> Result<Option<Box<dyn Store>>, StoreError> {
    match &config.store {
        config::Store::Memory => Ok(None),
        config::Store::Embedded { path } => Ok(Some(Box::new(Embedded::open(path)?))),
    }
}

fn users(users: &[config::User]) -> Vec<AllowedUser> {
    let user = |user: &config::User| AllowedUser {
        uid: user.uid,
        name: user.name.clone(),
    };
    users.iter().map(user).collect()
}

/// The addresses of the traffic, of the control API and of registrations; none is a target.
fn own_listeners(config: &Config) -> Vec<SocketAddr> {
    let control = control_listeners(config).filter_map(|listen| match listen {
        ControlListen::Tcp(address) => Some(*address),
        ControlListen::Unix(_) => None,
    });
    let traffic = config.listen.iter().map(|listen| listen.address);
    let secured = config.tls.listen.iter().map(|listen| listen.address);
    traffic.chain(secured).chain(control).collect()
}

/// The Unix sockets of the proxy itself, as they are at this moment; none is a target.
pub(super) fn own_sockets(config: &Config) -> Vec<OwnSocket> {
    let listeners = control_listeners(config).filter_map(|listen| match listen {
        ControlListen::Tcp(_) => None,
        ControlListen::Unix(path) => Some(OwnSocket::bound_at(path)),
    });
    // It is bound for moments only, at an upgrade.
    let upgrade = OwnSocket::at(Path::new(&config.server.upgrade_sock));
    listeners.chain([upgrade]).collect()
}

fn control_listeners(config: &Config) -> impl Iterator<Item = &ControlListen> {
    let control = config.control.listen.iter();
    control.chain(&config.registration.listen)
}

fn gateway(config: &Config) -> Result<GatewayOptions, StartError> {
    let timeouts = &config.timeouts;
    let errors = &config.errors;
    Ok(GatewayOptions {
        errors: ErrorStatuses {
            no_route: status("errors.no_route", errors.no_route)?,
            unreachable: status("errors.unreachable", errors.unreachable)?,
            timeout: status("errors.timeout", errors.timeout)?,
        },
        timeouts: Timeouts {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
            between_bytes: timeouts.between_bytes,
            websocket_idle: timeouts.websocket_idle,
            client_body: timeouts.client_body,
            send: timeouts.send,
            upstream_idle: timeouts.upstream_idle,
            grpc_deadline: timeouts.grpc_deadline,
        },
        limits: ExchangeLimits {
            body: config.limits.body,
            upload_rate: config.limits.upload_rate,
            download_rate: config.limits.download_rate,
        },
        limit_counts: Arc::default(),
        request_ids: RequestIds {
            field: config.request_id.field.clone(),
            accept: config.request_id.accept,
        },
        trusted_proxies: config.trusted_proxies.clone(),
        target_tls: config
            .targets
            .tls
            .iter()
            .map(|entry| Ok((entry.name.clone(), target_tls(entry)?)))
            .collect::<Result<_, StartError>>()?,
        security: SecurityDefaults {
            tls: setting(config.tls.routes.as_ref())?.unwrap_or_default(),
            hsts: setting(config.tls.hsts.as_ref())?.unwrap_or_default(),
        },
        https_port: config.tls.redirect_port,
        debug: config.debug,
        ..GatewayOptions::default()
    })
}

/// The settings for TLS with targets, from their files.
fn target_tls(entry: &config::TargetTls) -> Result<TargetTlsOptions, StartError> {
    const KEY: &str = "targets.tls";
    let file = |path: &PathBuf, source: io::Error| StartError::File {
        key: KEY,
        path: path.display().to_string(),
        source,
    };
    let not_pem = |path: &PathBuf, error: pem::Error| match error {
        pem::Error::Io(error) => file(path, error),
        other => StartError::Setting(KEY, format!("{}: {other:?}", path.display())),
    };
    let chain = |path: &PathBuf| -> Result<Vec<Vec<u8>>, StartError> {
        let found = CertificateDer::pem_file_iter(path).map_err(|error| not_pem(path, error))?;
        let found: Result<Vec<_>, _> = found.map(|der| der.map(|der| der.to_vec())).collect();
        match found.map_err(|error| not_pem(path, error))? {
            none if none.is_empty() => Err(StartError::Setting(
                KEY,
                format!(
                    "{} has no certificate in it; it has to be PEM",
                    path.display()
                ),
            )),
            chain => Ok(chain),
        }
    };
    let authorities = entry.ca.as_ref().map(chain).transpose()?;
    let identity = match (&entry.certificate, &entry.key) {
        (Some(certificate), Some(key)) => {
            let der = PrivateKeyDer::from_pem_file(key).map_err(|error| not_pem(key, error))?;
            Some((chain(certificate)?, der.secret_der().to_vec()))
        }
        (None, None) => None,
        _ => {
            let problem = "certificate and key belong together; give both, or neither";
            return Err(StartError::Setting(KEY, problem.to_owned()));
        }
    };
    let expiry = identity.as_ref().and_then(|(chain, _key)| chain.first());
    let expiry = expiry.and_then(|der| Details::of_der(der));
    if let Some(Err(problem)) = expiry.map(|details| details.check(SystemTime::now())) {
        warn!(
            "{KEY}: {} {problem}; apps that ask for it refuse it",
            entry.name
        );
    }
    TargetTlsOptions::new(authorities.unwrap_or_default(), identity)
        .map_err(|error| StartError::Setting(KEY, format!("{}: {error}", entry.name)))
}

fn status(key: &'static str, code: u16) -> Result<StatusCode, StartError> {
    StatusCode::from_u16(code).map_err(|error| StartError::Setting(key, error.to_string()))
}

fn allowed(target: &config::AllowedTarget) -> AllowedTarget {
    match target {
        config::AllowedTarget::Network(network) => AllowedTarget::Network(*network),
        config::AllowedTarget::Host(name) => AllowedTarget::Host(name.clone()),
        config::AllowedTarget::Unix(path) => AllowedTarget::Unix(path.clone()),
        config::AllowedTarget::HostSuffix(domain) => AllowedTarget::HostSuffix(domain.clone()),
    }
}

/// Warns of a Unix socket, or folder, that is allowed by a link to it: nothing is allowed by that.
pub(super) fn warn_of_links(targets: &[AllowedTarget]) {
    for target in targets {
        let AllowedTarget::Unix(path) = target else {
            continue;
        };
        if let Ok(real) = std::fs::read_link(path.trim_end_matches('/')) {
            warn!(
                "targets.allow: unix:{path} is a link, which allows nothing; write what it leads to: {}",
                real.display()
            );
        }
    }
}

/// A setting that is written as a text; an error stands where it does.
fn setting<T: FromStr<Err = FieldError>>(
    text: Option<&Located<String>>,
) -> Result<Option<T>, ConfigError> {
    let parse = |text: &Located<String>| {
        text.value
            .parse()
            .map_err(|error: FieldError| text.error(error.to_string()))
    };
    text.map(parse).transpose()
}

/// Where in a static route a refusal of the registry belongs.
pub(super) fn refused(route: &StaticRoute, error: &RegisterError) -> ConfigError {
    let field = match error {
        RegisterError::Spec(SpecError::Field(error)) => {
            return route.error(&error.key(), format!("cannot be used: {}", error.problem));
        }
        RegisterError::TargetIsProxy { .. } if !route.has("host") && !route.has("unix") => "port",
        RegisterError::TargetNotAllowed { .. }
        | RegisterError::TargetUnresolved { .. }
        | RegisterError::TargetIsProxy { .. }
            if route.has("host") =>
        {
            "host"
        }
        RegisterError::UnixNotAllowed { .. } | RegisterError::TargetIsProxy { .. } => "unix",
        _ => "prefix",
    };
    let text = error.to_string();
    let own = text.strip_prefix(field).and_then(|t| t.strip_prefix(": "));
    route.error(field, format!("cannot be used: {}", own.unwrap_or(&text)))
}
