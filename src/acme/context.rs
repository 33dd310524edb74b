//! The state that all parts of ACME share, and the time at which the last account was made.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::answers::Answers;
use super::options::Options;
use crate::registry::Registry;
use crate::tls::Certificates;

/// A new account is made no more often than this: an authority that forgets them would get one with
/// every order.
const ACCOUNT: Duration = Duration::from_hours(1);

/// The options, and what certificates are for and go to.
pub(super) struct Context {
    pub(super) options: Options,
    pub(super) answers: Answers,
    pub(super) certificates: Arc<Certificates>,
    pub(super) registry: Arc<Registry>,
    /// When this process last made an account.
    account_made: Mutex<Option<Instant>>,
}

impl Context {
    pub(super) fn new(
        options: Options,
        answers: Answers,
        certificates: Arc<Certificates>,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            options,
            answers,
            certificates,
            registry,
            account_made: Mutex::new(None),
        }
    }

    /// Until when there is to be no other account.
    pub(super) fn rest_of_account(&self) -> Option<SystemTime> {
        let made = (*self.account_made.lock())?;
        let rest = ACCOUNT.checked_sub(made.elapsed())?;
        SystemTime::now().checked_add(rest)
    }

    /// Notes that an account was made.
    pub(super) fn note_account(&self) {
        *self.account_made.lock() = Some(Instant::now());
    }
}
