//! The rules that registrations follow, and stored routes when they are read again.

use std::num::NonZeroU32;

use super::error::RegisterError;
use super::limits::Limits;
use super::resolve::TargetPolicy;
use crate::route::{CaseSensitivity, PathPrefix, Route};

/// The rules that registrations follow.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which targets are allowed.
    pub targets: TargetPolicy,
    /// Prefixes that belong to the proxy.
    pub reserved: Vec<PathPrefix>,
    /// Paths at which health probes are answered. A route for the very path would miss its GET requests.
    pub probes: Vec<PathPrefix>,
    /// Whether prefixes match with regard to ASCII case.
    pub case: CaseSensitivity,
    /// How much the table may hold.
    pub limits: Limits,
    /// How many failures of one code are kept as events in a second; 10 by default, `None` for all.
    pub failures_per_second: Option<NonZeroU32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            targets: TargetPolicy::default(),
            reserved: Vec::new(),
            probes: Vec::new(),
            case: CaseSensitivity::default(),
            limits: Limits::default(),
            failures_per_second: NonZeroU32::new(10),
        }
    }
}

impl Rules {
    /// A prefix as the table compares it, unless it is the proxy's own.
    pub(super) fn admit(&self, prefix: PathPrefix) -> Result<PathPrefix, RegisterError> {
        if self.reserved.iter().any(|own| prefix.is_within(own)) {
            let prefix = prefix.to_string();
            return Err(RegisterError::Reserved { prefix });
        }
        let is_probe = |own: &PathPrefix| prefix.is_within(own) && own.is_within(&prefix);
        if self.probes.iter().any(is_probe) {
            let prefix = prefix.to_string();
            return Err(RegisterError::ReservedForProbes { prefix });
        }
        Ok(self.spelt(prefix))
    }

    /// A prefix as the table compares it.
    pub(super) fn spelt(&self, prefix: PathPrefix) -> PathPrefix {
        match self.case {
            CaseSensitivity::Insensitive => prefix.ignoring_case(),
            CaseSensitivity::Sensitive => prefix.with_upper_escapes(),
        }
    }

    /// A stored route, unless the rules have changed against it.
    pub(super) fn readmit(&self, mut route: Route) -> Result<Route, String> {
        route.prefix = self
            .admit(route.prefix)
            .map_err(|error| error.to_string())?;
        for instance in route.instances() {
            let allowed = self.targets.allow_resolved(&instance.target);
            allowed.map_err(|error| error.to_string())?;
        }
        Ok(route)
    }
}
