//! The watch over the files of certificates, and over their dates: a look every second.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use super::certificates::Certificates;
use super::entry::Entry;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

impl Certificates {
    /// Looks at the files of all certificates, once, and takes those that have changed and can be
    /// used. [`Certificates::watch`] does so every second.
    pub fn look(&self) {
        self.look_at(SystemTime::now());
    }

    pub(super) fn look_at(&self, now: SystemTime) {
        let mut state = self.state.lock();
        let mut has_changed = false;
        for (name, entry) in &mut state.entries {
            let failures = entry.failures;
            if let Some(pair) = entry.look(name, now) {
                entry.pair = Some(pair);
                entry.is_expiry_told = false;
                entry.describe(name, "is read again");
                has_changed = true;
            }
            self.count_failures(entry.failures - failures);
            entry.tell_expiry(name, now);
        }
        if has_changed {
            self.publish(&state);
        }
    }

    /// Looks at the files every second, on a thread of its own, for as long as there is a listener
    /// or anybody else with these certificates.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn watch(self: &Arc<Self>) -> io::Result<()> {
        let has_files = self.state.lock().entries.values().any(Entry::has_files);
        start(Arc::downgrade(self), has_files)
    }
}

/// Looks at the files every second until nobody has the certificates any more. Without files there are
/// only dates to look at, once a minute.
fn start(certificates: Weak<Certificates>, has_files: bool) -> io::Result<()> {
    let interval = if has_files { INTERVAL } else { 60 * INTERVAL };
    thread::Builder::new()
        .name("certificates".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(interval);
                let Some(certificates) = certificates.upgrade() else {
                    return;
                };
                certificates.look();
            }
        })
        .map(|_detached| ())
}
