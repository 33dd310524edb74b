//! From what is written of a route to the change of the table that it asks for.

use super::{Actor, Change, Edit, Edits, Spec};
use crate::route::{CheckedInstance, HostPattern, Registration, RouteKey, Target};

impl CheckedInstance {
    /// The instance with its target.
    pub(crate) fn with_target(self, target: Target) -> Spec {
        Spec {
            id: self.id.unwrap_or_default(),
            owner: self.owner,
            target,
            ttl: self.ttl,
        }
    }
}

impl Registration {
    /// The change of the table that it asks for.
    pub(super) fn change(&self, target: Target, actor: Actor) -> Change {
        let spec = Spec {
            id: self.instance.clone().unwrap_or_default(),
            owner: self.owner.clone(),
            target,
            ttl: self.ttl,
        };
        let edit = |host: &HostPattern| {
            let key = RouteKey {
                host: host.clone(),
                prefix: self.prefix.clone(),
            };
            match self.instance {
                None => Edit::Register(key, spec.clone(), self.settings.clone()),
                Some(_) => Edit::Join(key, spec.clone(), self.settings.clone(), true),
            }
        };
        Change {
            edits: Edits::Each(self.request_hosts.iter().map(edit).collect()),
            conditions: Vec::new(),
            dry_run: false,
            actor,
        }
    }
}
