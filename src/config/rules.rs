//! The rules that no single value shows: keys that contradict each other, and bounds of Pingora's keys.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::ConfigError;
use super::file::File;
use super::pingora::PingoraConf;
use super::resolved::Config;
use super::source::{Source, refuse};
use super::{control, listen, number, registration, store, tls};

/// The largest head that Pingora reads.
const LARGEST_HEAD: usize = 1024 * 1024;

/// More threads than this are a typing error.
const THREADS: RangeInclusive<usize> = 1..=1024;

/// More tasks than this are a typing error.
const TASKS: RangeInclusive<usize> = 1..=1024;

/// Pingora allocates for the whole pool, times the threads, at the start.
const POOL: RangeInclusive<usize> = 0..=65_536;

/// The variables that hold the port; the first one set wins.
const PORT_VARIABLES: [&str; 2] = ["PORT", "port"];

/// Checks what the keys are together.
pub(super) fn check(file: &File, source: &Source<'_>) -> Result<(), ConfigError> {
    check_range("threads", file.threads, THREADS, source)?;
    check_range(
        "listener_tasks_per_fd",
        file.listener_tasks_per_fd,
        TASKS,
        source,
    )?;
    check_range(
        "upstream_keepalive_pool_size",
        file.upstream_keepalive_pool_size,
        POOL,
        source,
    )?;
    check_limits(file, source)?;
    check_listen(file, source)?;
    registration::check_keys(&file.registration, source)?;
    control::check_keys(&file.control, source)?;
    store::check_keys(&file.store, source)?;
    tls::check_keys(&file.tls, source)?;
    check_addresses::<Ipv4Addr>("client_bind_to_ipv4", &file.client_bind_to_ipv4, source)?;
    check_addresses::<Ipv6Addr>("client_bind_to_ipv6", &file.client_bind_to_ipv6, source)
}

fn check_range(
    key: &str,
    value: usize,
    range: RangeInclusive<usize>,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = (range.start(), range.end());
    let problem = format!("is {value}; write a whole number from {least} to {most}");
    Err(refuse(key, problem, source))
}

fn check_limits(file: &File, source: &Source<'_>) -> Result<(), ConfigError> {
    let (head, target) = (file.limits.head, file.limits.target);
    if head > LARGEST_HEAD {
        let problem = "is more than 1MiB, which Pingora refuses; lower it";
        return Err(refuse("limits.head", problem, source));
    }
    if target <= head {
        return Ok(());
    }
    // One of the two is in the file: the defaults agree.
    let place = source
        .value("limits.target")
        .or_else(|| source.value("limits.head"));
    Err(ConfigError::Value {
        place: place.unwrap_or_else(|| source.whole()),
        key: "limits.target".to_owned(),
        problem: format!(
            "({target} bytes) is more than `limits.head` ({head} bytes), of which it is a part; \
             lower it"
        ),
    })
}

fn check_listen(file: &File, source: &Source<'_>) -> Result<(), ConfigError> {
    let Some(listen) = &file.listen else {
        return Ok(());
    };
    if file.port.is_some() {
        return Err(ConfigError::Value {
            place: source.key("port").unwrap_or_else(|| source.whole()),
            key: "port".to_owned(),
            problem: "and `listen` are both given; keep one of the two".to_owned(),
        });
    }
    listen::check_entries("listen", listen, source)
}

/// A token can only be asked for where there are some.
pub(super) fn check_tokens(config: &Config, source: &Source<'_>) -> Result<(), ConfigError> {
    if config.registration.require_token && config.control.tokens.is_none() {
        let problem = "is true, but there are no tokens; set `control.tokens`, or remove the line";
        return Err(refuse("registration.require_token", problem, source));
    }
    Ok(())
}

/// Pingora parses these late, and panics.
fn check_addresses<T: FromStr>(
    key: &str,
    addresses: &[String],
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let wrong = addresses
        .iter()
        .position(|address| address.parse::<T>().is_err());
    wrong.map_or(Ok(()), |index| {
        let family = key.trim_start_matches("client_bind_to_ip");
        let problem = format!("is not an IP{family} address; write one of this machine's");
        Err(refuse(&format!("{key}[{index}]"), problem, source))
    })
}

/// Checks Pingora's own rules. Its message begins with the key.
pub(super) fn check_pingora(conf: PingoraConf, source: &Source<'_>) -> Result<(), ConfigError> {
    let Err(error) = conf.0.validate() else {
        return Ok(());
    };
    let message = error
        .context
        .as_ref()
        .map_or_else(|| error.to_string(), |context| context.as_str().to_owned());
    let (key, problem) = message.split_once(' ').unwrap_or(("", &message));
    let problem = format!("{problem}; change it, or remove the line");
    Err(refuse(key, problem, source))
}

/// The port that the environment says, if it says one, and the variable that does.
pub(super) fn port_of(
    env: impl Fn(&str) -> Option<String>,
    file: &File,
) -> Result<Option<(&'static str, u16)>, ConfigError> {
    let set = PORT_VARIABLES
        .into_iter()
        .find_map(|variable| Some((variable, env(variable)?)));
    let Some((variable, text)) = set else {
        return Ok(None);
    };
    let refuse = |problem: String| ConfigError::Environment { variable, problem };
    let port = number::listening_port(&text)
        .map_err(|problem| refuse(format!("{problem}, or unset the variable")))?;
    if file.listen.is_some() {
        return Err(refuse(
            "cannot override `listen` of the configuration; unset it, or write `port` instead of \
             `listen`"
                .to_owned(),
        ));
    }
    Ok(Some((variable, port)))
}
