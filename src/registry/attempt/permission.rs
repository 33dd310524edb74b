//! The rights of an actor to change a route, and the owner in whose name it does so.

use std::sync::Arc;

use super::super::change::{ChangeError, Spec};
use super::super::rights::Action;
use super::{Attempt, Result};
use crate::route::{Instance, RouteKey};

impl Attempt<'_> {
    /// The instance with its owner: the actor, unless another is named and may be.
    pub(super) fn owned(&self, key: &RouteKey, spec: &Spec) -> Result<Spec> {
        let mut spec = spec.clone();
        match &spec.owner {
            None => spec.owner.clone_from(&self.actor.name),
            Some(owner) => {
                let is_own = self.actor.name.as_ref() == Some(owner);
                if !is_own && !self.actor.rights.allows(Action::TakeOver, key, None) {
                    let owner = Arc::clone(owner);
                    return Err(ChangeError::ForeignOwner { owner });
                }
            }
        }
        Ok(spec)
    }

    pub(super) fn may(&self, action: Action, key: &RouteKey, port: Option<u16>) -> Result<()> {
        let rights = &self.actor.rights;
        // Who may write a route may also write one of its instances.
        if rights.allows(action, key, port)
            || (action == Action::Register && rights.allows(Action::Write, key, port))
        {
            return Ok(());
        }
        let key = key.clone();
        Err(ChangeError::Scope { action, key, port })
    }

    pub(super) fn may_aim(&self, action: Action, key: &RouteKey, specs: &[Spec]) -> Result<()> {
        for spec in specs {
            // No range of ports has a 0, which stands for a Unix socket.
            self.may(action, key, Some(spec.target.port().unwrap_or(0)))?;
        }
        self.may(action, key, None)
    }

    pub(super) fn may_take_all<'i>(
        &self,
        key: &RouteKey,
        instances: impl IntoIterator<Item = &'i Arc<Instance>>,
    ) -> Result<()> {
        instances
            .into_iter()
            .try_for_each(|instance| self.may_take(key, instance))
    }

    pub(super) fn may_take(&self, key: &RouteKey, instance: &Instance) -> Result<()> {
        match &instance.owner {
            Some(owner)
                if self.actor.name.as_ref() != Some(owner)
                    && !self.actor.rights.allows(Action::TakeOver, key, None) =>
            {
                Err(ChangeError::Owned {
                    key: key.clone(),
                    owner: Arc::clone(owner),
                })
            }
            _ => Ok(()),
        }
    }
}
