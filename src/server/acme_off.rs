//! The stand-in for ACME where it is not compiled in (the feature `acme`).

use std::sync::Arc;

use super::error::StartError;
use super::options::Options;
use crate::config::Config;
use crate::registry::Registry;

/// Gets no certificates.
#[derive(Clone)]
pub(super) struct Issuer;

impl Issuer {
    #[allow(clippy::needless_pass_by_ref_mut)] // As it is with ACME.
    pub(super) fn of(_options: &mut Options, _registry: &Arc<Registry>) -> Self {
        Self
    }

    #[allow(clippy::unused_self)]
    pub(super) fn start(&self) {}

    #[allow(clippy::unused_self)]
    pub(super) fn load(&self) {}

    #[allow(clippy::unused_self)]
    pub(super) fn close(&self) {}
}

/// Refuses a configuration that wants certificates from an authority.
pub(super) fn refuse(config: &Config) -> Result<(), StartError> {
    if config.acme.is_on() {
        let problem =
            "this program has no ACME; build it with the feature `acme`, or take `acme` out";
        return Err(StartError::Setting("acme", problem.to_owned()));
    }
    Ok(())
}

/// No listener answers challenges.
pub(super) fn has_tls_challenges(_config: &Config) -> bool {
    false
}
