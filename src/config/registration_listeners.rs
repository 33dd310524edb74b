//! Whether the listeners of `registration.listen` can be where they are, beside all others.

use super::control::{ControlListen, meet};
use super::error::ConfigError;
use super::registration::Registration;
use super::resolved::Config;
use super::source::{Source, refuse};

/// Checks what the listeners of registration are together with all others.
pub(super) fn check(config: &Config, source: &Source<'_>) -> Result<(), ConfigError> {
    let Registration {
        enabled, listen, ..
    } = &config.registration;
    if !enabled && !listen.is_empty() {
        let problem = "is given, but `registration.enabled` is false; remove one of the two";
        return Err(refuse("registration.listen", problem, source));
    }
    for (index, listen) in listen.iter().enumerate() {
        let Some(problem) = problem(config, index, listen) else {
            continue;
        };
        let item = format!("registration.listen[{index}]");
        let key = match source.value(&item) {
            Some(_) => &*item,
            None => "registration.listen",
        };
        return Err(refuse(key, problem, source));
    }
    Ok(())
}

/// The problem with a listener, if there is one.
fn problem(config: &Config, index: usize, listen: &ControlListen) -> Option<String> {
    let is_any_port = matches!(listen, ControlListen::Tcp(address) if address.port() == 0);
    let mut earlier = config.registration.listen.iter().take(index);
    if !is_any_port && earlier.any(|earlier| earlier == listen) {
        return Some("is in the list twice; keep one".to_owned());
    }
    match listen {
        ControlListen::Unix(_) if config.server.user.is_some() => Some(
            "is a Unix socket, which would belong to the user before `user`; remove that key, and start the \
             proxy as its user"
                .to_owned(),
        ),
        ControlListen::Unix(_) => {
            let is_taken = config.control.listen.contains(listen);
            is_taken.then(|| "is where the control API is; choose another path".to_owned())
        }
        ControlListen::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(format!(
            "({address}) is not on loopback, and only this machine may register; listen on 127.0.0.1"
        )),
        ControlListen::Tcp(address) => {
            let traffic = config.listen.iter().map(|listen| listen.address);
            let secured = config.tls.listen.iter().map(|listen| listen.address);
            let control = config.control.listen.iter().filter_map(ControlListen::tcp);
            let mut others = traffic.chain(secured).chain(control);
            let other = others.find(|other| meet(*other, *address))?;
            Some(format!(
                "is where the proxy listens already ({other}); choose another port, or a Unix socket"
            ))
        }
    }
}
