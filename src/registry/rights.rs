//! Who asks for a change, and what they may do.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::route::{HostPattern, PathPrefix, RouteKey};

/// An action that can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// See routes, and explain where a URL goes.
    Read,
    /// Put, replace and remove routes as a whole.
    Write,
    /// Join a route, renew a lease, leave.
    Register,
    /// Listen to the events.
    Events,
    /// Take over what belongs to another owner.
    TakeOver,
    /// See, put and remove certificates of TLS; a scope's hosts are those of the certificates.
    Certificates,
}

/// Somebody's rights: everything, or what one of some scopes allows.
#[derive(Clone, Debug)]
pub struct Rights(Option<Arc<[Scope]>>);

/// Actions, and the routes that they are allowed on. An absent list means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The actions.
    pub actions: Vec<Action>,
    /// The request hosts: a wildcard covers itself and all names below it, `*` every host and routes
    /// for any host; a route for any host is covered by nothing else.
    pub hosts: Option<Vec<HostPattern>>,
    /// The prefixes, each with all that is below it, without regard to case.
    pub prefixes: Option<Vec<PathPrefix>>,
    /// The targets' ports.
    pub ports: Option<Vec<RangeInclusive<u16>>>,
}

/// Who asks for a change.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The name of the token; `None` for whoever is trusted without one.
    pub name: Option<Arc<str>>,
    /// Their rights.
    pub rights: Rights,
    /// Where the request came from: an address, `unix`, `config`, `lease`.
    pub from: Arc<str>,
    /// The user of this machine whose process asks, as the configuration calls them; `None` where the
    /// kernel was not asked.
    pub user: Option<Arc<str>>,
    /// The id of the request by which it is asked for; `None` where there was none.
    pub request: Option<Arc<str>>,
}

impl Rights {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// Allows everything that at least one of these scopes allows; nothing, if there are no scopes.
    #[must_use]
    pub fn scoped(scopes: impl Into<Arc<[Scope]>>) -> Self {
        Self(Some(scopes.into()))
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the action is allowed on any route at all.
    #[must_use]
    pub fn may(&self, action: Action) -> bool {
        self.0
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|scope| scope.actions.contains(&action)))
    }

    /// Whether the action is allowed on a route, and, if one is given, with this target port.
    #[must_use]
    pub fn allows(&self, action: Action, key: &RouteKey, port: Option<u16>) -> bool {
        self.0
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|scope| scope.covers(action, key, port)))
    }
}

impl Scope {
    fn covers(&self, action: Action, key: &RouteKey, port: Option<u16>) -> bool {
        let host = |hosts: &Vec<HostPattern>| hosts.iter().any(|own| covers_host(own, &key.host));
        let prefix = |prefixes: &Vec<PathPrefix>| {
            let prefix = key.prefix.to_ascii_lowercase();
            prefixes
                .iter()
                .any(|own| prefix.is_within(&own.to_ascii_lowercase()))
        };
        let ports = |ports: &Vec<RangeInclusive<u16>>| {
            port.is_none_or(|port| ports.iter().any(|range| range.contains(&port)))
        };
        self.actions.contains(&action)
            && self.hosts.as_ref().is_none_or(host)
            && self.prefixes.as_ref().is_none_or(prefix)
            && self.ports.as_ref().is_none_or(ports)
    }
}

fn covers_host(own: &HostPattern, host: &HostPattern) -> bool {
    match (own, host) {
        (HostPattern::Any, _) => true,
        (HostPattern::Exact(own), HostPattern::Exact(host)) => own == host,
        (HostPattern::Wildcard(own), HostPattern::Wildcard(host)) => {
            own == host || is_below(host.as_str(), own.as_str())
        }
        (HostPattern::Wildcard(own), HostPattern::Exact(host)) => {
            is_below(host.as_str(), own.as_str())
        }
        _ => false,
    }
}

/// Whether a name has a domain as its parent, at any depth.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.ends_with('.'))
}

impl Actor {
    /// Whoever is trusted with everything, from `from`.
    #[must_use]
    pub fn local(from: impl Into<Arc<str>>) -> Self {
        Self {
            name: None,
            rights: Rights::all(),
            from: from.into(),
            user: None,
            request: None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Register => "register",
            Self::Events => "events",
            Self::TakeOver => "take_over",
            Self::Certificates => "certificates",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, prefix: &str) -> RouteKey {
        RouteKey {
            host: pattern(host),
            prefix: PathPrefix::parse(prefix).unwrap(),
        }
    }

    fn pattern(host: &str) -> HostPattern {
        match host {
            "*" => HostPattern::Any,
            host => HostPattern::parse(host).unwrap(),
        }
    }

    fn scope(actions: &[Action]) -> Scope {
        Scope {
            actions: actions.to_vec(),
            hosts: None,
            prefixes: None,
            ports: None,
        }
    }

    #[test]
    fn without_scopes_everything_is_allowed_and_with_none_nothing() {
        let anywhere = key("*", "/");
        for action in [Action::Read, Action::Write, Action::TakeOver] {
            assert!(Rights::all().may(action));
            assert!(Rights::all().allows(action, &anywhere, Some(1)));
            assert!(!Rights::scoped([]).may(action));
            assert!(!Rights::scoped([]).allows(action, &anywhere, None));
        }
        let actor = Actor::local("unix");
        assert!(actor.name.is_none() && actor.rights.may(Action::TakeOver));
    }

    #[test]
    fn an_action_is_allowed_where_one_scope_has_it_all() {
        let shop = Scope {
            prefixes: Some(vec![PathPrefix::parse("/shop").unwrap()]),
            ports: Some(vec![4000..=4999, 8080..=8080]),
            ..scope(&[Action::Write])
        };
        let rights = Rights::scoped([scope(&[Action::Read]), shop]);
        assert!(rights.may(Action::Read) && rights.may(Action::Write));
        assert!(!rights.may(Action::Events));
        for (action, prefix, port, expected) in [
            (Action::Read, "/other", Some(1), true),
            (Action::Write, "/shop", Some(4000), true),
            (Action::Write, "/SHOP/cart", Some(8080), true),
            (Action::Write, "/shop", None, true),
            (Action::Write, "/shop", Some(8081), false),
            (Action::Write, "/shopping", Some(8080), false),
            (Action::Write, "/", Some(8080), false),
            (Action::Register, "/shop", Some(8080), false),
        ] {
            let allowed = rights.allows(action, &key("*", prefix), port);
            assert_eq!(allowed, expected, "{action} {prefix} {port:?}");
        }
    }

    #[test]
    fn a_host_covers_itself_and_a_wildcard_what_is_below_it() {
        for (own, host, expected) in [
            ("*", "*", true),
            ("*", "example.com", true),
            ("*", "*.example.com", true),
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", false),
            ("example.com", "*.example.com", false),
            ("example.com", "*", false),
            ("*.example.com", "*.example.com", true),
            ("*.example.com", "*.a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "*.com", false),
            ("*.example.com", "*", false),
            ("*.a.example.com", "*.example.com", false),
        ] {
            let rights = Rights::scoped([Scope {
                hosts: Some(vec![pattern(own)]),
                ..scope(&[Action::Register])
            }]);
            let allowed = rights.allows(Action::Register, &key(host, "/"), None);
            assert_eq!(allowed, expected, "{own} covers {host}");
        }
    }
}
