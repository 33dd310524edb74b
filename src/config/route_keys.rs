//! Whether several entries of `routes` that are one route agree: two of one instance, or with other settings, would
//! leave one of them without effect.

use std::collections::HashMap;

use super::error::ConfigError;
use super::routes::StaticRoute;
use super::source::{Source, refuse};
use crate::route::{HostPattern, PathPrefix};

/// The key of a route as the table files it.
type Key<'r> = (&'r HostPattern, PathPrefix);

/// Refuses two entries of one key, a prefix and a request host, unless each has an `instance` of its own and what
/// both set of the route is the same.
pub(super) fn check(
    routes: &[StaticRoute],
    case_sensitive: bool,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    differ(routes, case_sensitive, source)?;
    agree(routes, case_sensitive)
}

/// Refuses two entries of one key unless each has an `instance` of its own.
fn differ(
    routes: &[StaticRoute],
    case_sensitive: bool,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let (mut firsts, mut instances) = (HashMap::new(), HashMap::new());
    for (index, route) in routes.iter().enumerate() {
        let instance = route.registration.instance.as_ref();
        for key in keys(route, case_sensitive) {
            let (first, its) = *firsts.entry(key.clone()).or_insert((index, instance));
            let host = key.0;
            let earlier = if its.is_some() && instance.is_some() {
                instances.insert((key, instance), index)
            } else {
                Some(first)
            };
            if let Some(earlier) = earlier.filter(|earlier| *earlier != index) {
                let key = format!("{host}{}", route.registration.prefix);
                return Err(refused(routes, [earlier, index], &key, source));
            }
        }
    }
    Ok(())
}

/// Refuses two entries of one key that set the route differently.
fn agree(routes: &[StaticRoute], case_sensitive: bool) -> Result<(), ConfigError> {
    let mut set: HashMap<Key<'_>, Vec<(usize, &StaticRoute)>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let settings = &route.registration.settings;
        if settings.is_default() {
            continue;
        }
        for key in keys(route, case_sensitive) {
            let host = key.0;
            let before = set.entry(key).or_default();
            for (at, other) in before.iter() {
                if let Some(name) = settings.contradiction(&other.registration.settings) {
                    let key = format!("{host}{}", route.registration.prefix);
                    return Err(contradicts(route, (*at, other), name, &key));
                }
            }
            // Of those that say the same, one is enough.
            if !before
                .iter()
                .any(|(_, other)| other.registration.settings == *settings)
            {
                before.push((index, route));
            }
        }
    }
    Ok(())
}

/// The keys of an entry, one for each of its request hosts.
fn keys(route: &StaticRoute, case_sensitive: bool) -> impl Iterator<Item = Key<'_>> {
    let registration = &route.registration;
    let prefix = spelled(&registration.prefix, case_sensitive);
    let hosts = registration.request_hosts.iter();
    hosts.map(move |host| (host, prefix.clone()))
}

/// The error of an entry that sets what another one of its key has set to something else.
fn contradicts(
    route: &StaticRoute,
    (at, other): (usize, &StaticRoute),
    name: &str,
    key: &str,
) -> ConfigError {
    let text = |route: &StaticRoute| {
        let mut texts = route.registration.settings.texts();
        let text = texts.find(|(own, _)| *own == name);
        text.map(|(_, text)| text).unwrap_or_default()
    };
    let problem = format!(
        "is {}, and `routes[{at}].{name}` at line {} is {}, but both are one route ({key}); write the same, or \
         leave it out in one of them",
        text(route),
        other.line(name),
        text(other),
    );
    route.error(name, problem)
}

/// A prefix as the table files it.
fn spelled(prefix: &PathPrefix, case_sensitive: bool) -> PathPrefix {
    if case_sensitive {
        prefix.clone().with_upper_escapes()
    } else {
        prefix.to_ascii_lowercase()
    }
}

fn refused(
    routes: &[StaticRoute],
    [earlier, later]: [usize; 2],
    key: &str,
    source: &Source<'_>,
) -> ConfigError {
    let line = routes.get(earlier).map_or(0, |route| route.line("prefix"));
    let problem = format!(
        "is one route ({key}) with `routes[{earlier}]` at line {line}, and only one of them could be there; \
         keep one, or give each an `instance` of its own"
    );
    refuse(&format!("routes[{later}].prefix"), problem, source)
}
