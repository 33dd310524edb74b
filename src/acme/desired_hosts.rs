//! Which hosts are to have certificates.

use std::collections::BTreeSet;

use super::options::Options;
use crate::registry::Registry;
use crate::route::HostPattern;

/// The longest host: it is a file's name, too.
const LONGEST_HOST: usize = 240;

/// The most hosts of routes that are to have certificates: each costs memory, and orders.
pub(super) const MOST_REGISTERED: usize = 10_000;

/// The hosts of routes that the configuration's list allows, but for those that it names itself.
pub(super) fn registered(options: &Options, registry: &Registry) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    if options.registered_hosts.is_empty() {
        return hosts;
    }
    let own: BTreeSet<&str> = options.hosts.iter().map(String::as_str).collect();
    let state = registry.state();
    for route in state.routes.iter() {
        let HostPattern::Exact(host) = &route.host else {
            continue;
        };
        let host = host.as_str();
        let is_new = !hosts.contains(host) && !own.contains(host);
        if is_new && is_allowed(&options.registered_hosts, host) && is_public(host) {
            hosts.insert(host.to_owned());
        }
    }
    hosts
}

/// Whether a pattern of the list is for a host.
fn is_allowed(patterns: &[HostPattern], host: &str) -> bool {
    patterns.iter().any(|pattern| match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => exact.as_str() == host,
        HostPattern::Wildcard(domain) => host
            .strip_suffix(domain.as_str())
            .is_some_and(|below| below.ends_with('.')),
    })
}

/// Whether a host looks like one that an authority would take: labels of letters, digits and hyphens,
/// at least two, and no address.
fn is_public(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !ends && label.bytes().all(plain)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    host.len() <= LONGEST_HOST && host.contains('.') && host.split('.').all(label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_decides() {
        let patterns: Vec<_> = ["shop.example", "*.apps.example"]
            .map(|text| HostPattern::parse(text).unwrap())
            .into();
        for (host, expected) in [
            ("shop.example", true),
            ("a.apps.example", true),
            ("a.b.apps.example", true),
            ("apps.example", false),
            ("xapps.example", false),
            ("a.shop.example", false),
            ("other.example", false),
        ] {
            assert_eq!(is_allowed(&patterns, host), expected, "{host}");
        }
        assert!(!is_allowed(&[], "shop.example"));
    }

    #[test]
    fn what_no_authority_would_take_is_not_asked_for() {
        for (host, expected) in [
            ("a.example", true),
            ("xn--bcher-kva.example", true),
            ("localhost", false),
            ("10.0.0.1", false),
            ("[::1]", false),
            ("a_b.example", false),
            ("-a.example", false),
            ("a-.example", false),
            ("a..example", false),
        ] {
            assert_eq!(is_public(host), expected, "{host}");
        }
        let long = format!("{}.example", vec!["a"; 120].join("."));
        assert!(!is_public(&long));
    }
}
