//! Whether several entries of `routes` say the same: two of one instance would leave one of them without effect.

use std::collections::HashMap;

use super::error::ConfigError;
use super::routes::StaticRoute;
use super::source::{Source, refuse};
use crate::route::PathPrefix;

/// Refuses two entries of one key, a prefix and a request host, unless each has an `instance` of its own.
pub(super) fn check(
    routes: &[StaticRoute],
    case_sensitive: bool,
    source: &Source<'_>,
) -> Result<(), ConfigError> {
    let (mut firsts, mut instances) = (HashMap::new(), HashMap::new());
    for (index, route) in routes.iter().enumerate() {
        let registration = &route.registration;
        let prefix = spelled(&registration.prefix, case_sensitive);
        let instance = registration.instance.as_ref();
        for host in &registration.request_hosts {
            let key = (host, prefix.clone());
            let (first, its) = *firsts.entry(key.clone()).or_insert((index, instance));
            let earlier = if its.is_some() && instance.is_some() {
                instances.insert((key, instance), index)
            } else {
                Some(first)
            };
            if let Some(earlier) = earlier.filter(|earlier| *earlier != index) {
                let key = format!("{host}{}", registration.prefix);
                return Err(refused(routes, [earlier, index], &key, source));
            }
        }
    }
    Ok(())
}

/// A prefix as the table files it.
fn spelled(prefix: &PathPrefix, case_sensitive: bool) -> PathPrefix {
    if case_sensitive {
        prefix.clone()
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
