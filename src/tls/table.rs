//! The table that a handshake reads: immutable, by name.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;

use super::pair::Pair;
use super::pattern::Pattern;

/// The certificates that have a name, the one that is valid longest first.
type Candidates = SmallVec<[Arc<CertifiedKey>; 1]>;

/// Certificates by the names that they are for. See the module's rules.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Candidates, ahash::RandomState>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Candidates, ahash::RandomState>,
    default: Option<Arc<CertifiedKey>>,
    /// The only one there is.
    only: Option<Arc<CertifiedKey>>,
}

impl Table {
    /// The table of these pairs, of which one may be the default; of two that are equal, the first
    /// wins.
    pub(super) fn new<'a>(
        pairs: impl IntoIterator<Item = &'a Pair>,
        default: Option<&Pair>,
    ) -> Self {
        let mut pairs: Vec<&Pair> = pairs.into_iter().collect();
        pairs.sort_by_key(|pair| Reverse(pair.details.not_after));
        let mut table = Self {
            default: default.map(|pair| Arc::clone(&pair.certified)),
            only: match pairs.as_slice() {
                [pair] => Some(Arc::clone(&pair.certified)),
                _ => None,
            },
            ..Self::default()
        };
        for pair in pairs {
            for pattern in &pair.details.names {
                let (names, name) = match pattern {
                    Pattern::Exact(name) => (&mut table.exact, name),
                    Pattern::Wildcard(name) => (&mut table.wildcard, name),
                };
                let candidates = names.entry(name.clone()).or_default();
                candidates.push(Arc::clone(&pair.certified));
            }
        }
        table
    }

    /// The certificate for a name, or for none, and for a client that can check these signatures.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<&Arc<CertifiedKey>> {
        let Some(name) = name else {
            return self.default.as_ref().or(self.only.as_ref());
        };
        let name = plain(name);
        let exact = self.exact.get(name.as_ref());
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        let candidates = || exact.into_iter().chain(wildcard).flatten();
        candidates()
            .find(|candidate| candidate.key.choose_scheme(schemes).is_some())
            .or_else(|| candidates().next())
            .or(self.default.as_ref())
    }
}

/// A name as the table has it.
pub(super) fn plain(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Identity, pair};
    use super::*;

    /// The names of the certificates of a table, the number of its default, and who wins by the
    /// module's rules, looked for one after the other.
    fn expected(names: &[Vec<String>], default: Option<usize>, host: &str) -> Option<usize> {
        let exact = names
            .iter()
            .position(|names| names.iter().any(|name| name == host));
        let below = |name: &String| {
            let Some(domain) = name.strip_prefix("*.") else {
                return false;
            };
            let Some(label) = host.strip_suffix(domain).and_then(|l| l.strip_suffix('.')) else {
                return false;
            };
            !label.is_empty() && !label.contains('.')
        };
        let wildcard = names.iter().position(|names| names.iter().any(below));
        exact.or(wildcard).or(default)
    }

    proptest! {
        /// Few letters and labels, so that many names meet.
        #[test]
        fn the_table_chooses_as_a_list_would(
            names in prop::collection::vec(
                prop::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,2}", 0..4), 0..6),
            default in prop::option::of(0usize..6),
            hosts in prop::collection::vec("[ab](\\.[ab]){0,3}", 20),
        ) {
            let key = Identity::shared();
            let pairs: Vec<Pair> = names.iter().map(|names| {
                // Equal dates: the first wins.
                let pair = pair(key);
                let mut details = (*pair.details).clone();
                details.names = names.iter().filter_map(|name| Pattern::parse(name)).collect();
                Pair { details: Arc::new(details), certified: Arc::new((*pair.certified).clone()), ..pair }
            }).collect();
            let default = default.filter(|index| *index < pairs.len());
            let table = Table::new(&pairs, default.and_then(|index| pairs.get(index)));
            let unnamed = table.choose(None, &[]).map(|chosen| {
                pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, chosen)).unwrap()
            });
            let only = (pairs.len() == 1).then_some(0);
            prop_assert_eq!(unnamed, default.or(only));
            for host in &hosts {
                let chosen = table.choose(Some(host), &[]).map(|chosen| {
                    pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, chosen)).unwrap()
                });
                prop_assert_eq!(chosen, expected(&names, default, host), "{}", host);
            }
        }
    }
}
