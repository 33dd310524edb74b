//! Who comes first, when more certificates are due than are ordered at a time.

/// The place of a host in the queue: the least is first.
///
/// Apps can register any number of hosts. They do not keep the operator's own from their turn, nor
/// what serves now from being renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Its certificate is in use, and expires soon: when, in seconds since 1970.
    Expiring(u64),
    /// A host of the configuration: when it was last tried, in seconds since 1970.
    Own(u64),
    /// One that was registered: the same.
    Registered(u64),
}

/// The hosts that are kept out of many; those with a certificate come first, then those that are kept
/// already, then the others by name. They stay the same when more come.
pub(super) fn bound<T: Ord>(mut hosts: Vec<(Seniority, T)>, most: usize) -> Vec<T> {
    hosts.sort_unstable();
    hosts.truncate(most);
    hosts.into_iter().map(|(_, host)| host).collect()
}

/// The claim of a registered host to a certificate when there are too many hosts, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seniority {
    HasCertificate,
    Known,
    New,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_comes_first_then_the_operators_hosts_then_who_waited_longest() {
        let mut places = [
            Priority::Registered(0),
            Priority::Registered(7),
            Priority::Own(9),
            Priority::Own(0),
            Priority::Expiring(5000),
            Priority::Expiring(4000),
        ];
        places.sort_unstable();
        assert_eq!(
            places,
            [
                Priority::Expiring(4000),
                Priority::Expiring(5000),
                Priority::Own(0),
                Priority::Own(9),
                Priority::Registered(0),
                Priority::Registered(7),
            ]
        );
    }

    #[test]
    fn of_too_many_hosts_the_known_stay() {
        let hosts = vec![
            (Seniority::New, "a"),
            (Seniority::Known, "y"),
            (Seniority::HasCertificate, "z"),
            (Seniority::New, "b"),
        ];
        assert_eq!(bound(hosts.clone(), 3), ["z", "y", "a"]);
        assert_eq!(bound(hosts.clone(), 9).len(), 4);
        assert_eq!(bound(hosts, 0), Vec::<&str>::new());
    }
}
