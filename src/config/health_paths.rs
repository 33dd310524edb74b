//! Whether the paths of `health` are free for probes.

use super::error::ConfigError;
use super::health::Health;
use super::resolved::Config;
use super::source::{Source, refuse};

/// Where certificate authorities look for the answers to challenges (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge";

/// Checks that nothing else is answered at the paths.
pub(super) fn check(config: &Config, source: &Source<'_>) -> Result<(), ConfigError> {
    let Health {
        liveness_path,
        readiness_path,
    } = &config.health;
    for (key, path) in [
        ("health.liveness_path", liveness_path),
        ("health.readiness_path", readiness_path),
    ] {
        if let Some(path) = path
            && let Some(user) = user_of(path, config)
        {
            let problem = format!("({path}) {user}; choose another");
            return Err(refuse(key, problem, source));
        }
    }
    if readiness_path.is_some() && readiness_path == liveness_path {
        let problem = "is `health.liveness_path`, too; choose another";
        return Err(refuse("health.readiness_path", problem, source));
    }
    Ok(())
}

/// Returns the use that a path is in already, in words for the error.
fn user_of(path: &str, config: &Config) -> Option<&'static str> {
    let registration = &config.registration;
    let registers = registration.enabled && registration.listen.is_empty();
    if registers && registration.paths.iter().any(|own| is_within(path, own)) {
        return Some("is at or below `registration.path`, where apps register");
    }
    is_within(path, CHALLENGES).then_some("is where certificate authorities look for challenges")
}

/// Whether a path is another one or below it, in any case.
fn is_within(path: &str, own: &str) -> bool {
    let begin = path.get(..own.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(own))
        && matches!(path.as_bytes().get(own.len()), None | Some(b'/'))
}
