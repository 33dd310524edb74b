//! Whether several entries of `routes` that are one route agree: two of one instance, or with other settings, would
//! leave one of them without effect.

use std::collections::HashMap;

use super::error::ConfigError;
use super::routes::StaticRoute;
use super::source::{Source, refuse};
use crate::route::{HostPattern, PathPrefix, Settings};

/// The key of a route as the table files it.
type Key<'r> = (&'r HostPattern, PathPrefix);

/// Refuses two entries of one key, a prefix and a request host, unless each has an `instance` of its own and what
/// both set of the route is the same.
pub(super) fn check(
    routes: &[StaticRoute],
    case_sensitive: bool,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let (mut firsts, mut instances) = (HashMap::new(), HashMap::new());
    let mut set: HashMap<Key<'_>, Vec<usize>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let registration = &route.registration;
        let prefix = spelled(&registration.prefix, case_sensitive);
        let instance = registration.instance.as_ref();
        for host in &registration.request_hosts {
            let key = (host, prefix.clone());
            let (first, its) = *firsts.entry(key.clone()).or_insert((index, instance));
            let earlier = if its.is_some() && instance.is_some() {
                instances.insert((key.clone(), instance), index)
            } else {
                Some(first)
            };
            let shown = format!("{host}{}", registration.prefix);
            if let Some(earlier) = earlier.filter(|earlier| *earlier != index) {
                return Err(twice(routes, [earlier, index], &shown, source));
            }
            if !registration.settings.is_default() {
                let before = set.entry(key).or_default();
                agree(routes, before, index, &shown)?;
                before.push(index);
            }
        }
    }
    Ok(())
}

/// Refuses settings that are other than those of an entry before.
fn agree(
    routes: &[StaticRoute],
    before: &[usize],
    index: usize,
    key: &str,
) -> Result<(), ConfigError> {
    let Some(route) = routes.get(index) else {
        return Ok(());
    };
    let contradiction = before.iter().find_map(|at| {
        let other = routes.get(*at)?;
        let settings = &other.registration.settings;
        let name = route.registration.settings.contradiction(settings)?;
        Some((*at, other, name))
    });
    let Some((at, other, name)) = contradiction else {
        return Ok(());
    };
    let text = |settings: &Settings| {
        let text = settings.texts().find(|(own, _)| *own == name);
        text.map(|(_, text)| text).unwrap_or_default()
    };
    let problem = format!(
        "is {}, and `routes[{at}].{name}` at line {} is {}, but both are one route ({key}); write the same, or \
         leave it out in one of them",
        text(&route.registration.settings),
        other.line(name),
        text(&other.registration.settings),
    );
    Err(route.error(name, problem))
}

/// A prefix as the table files it.
fn spelled(prefix: &PathPrefix, case_sensitive: bool) -> PathPrefix {
    if case_sensitive {
        prefix.clone().with_upper_escapes()
    } else {
        prefix.to_ascii_lowercase()
    }
}

fn twice(
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
