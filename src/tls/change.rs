//! Certificates that come and go while the proxy runs.

use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info};

use super::certificates::{Certificates, State};
use super::entry::{Entry, Origin, Stored, Taken, is_name};
use super::error::{RemoveError, StoreError, TakeError};
use super::folder::Kept;
use super::pair::Pair;
use super::provider::provider;
use super::source::{Given, Source};

impl Certificates {
    /// Takes a certificate under a name, in the place of the one that has it. Once this returns it
    /// is on the disk, if there is a folder, and every later handshake sees it. Writes to the disk:
    /// call it where that may block.
    ///
    /// One of [`Source::Acme`] is kept by whoever ordered it, not here, and may have expired, or not be
    /// valid yet: it is better than none, and asking for another does not set a clock right.
    ///
    /// # Errors
    /// [`TakeError`]; nothing has changed then.
    pub fn take(&self, name: &str, given: &Given<'_>) -> Result<Taken, TakeError> {
        self.take_if(name, given, |_any| true)
    }

    /// Puts a certificate, if `may` allows it and the one that it replaces.
    ///
    /// # Errors
    /// [`TakeError`]; nothing has changed then.
    pub fn take_if(
        &self,
        name: &str,
        given: &Given<'_>,
        may: impl Fn(&Stored) -> bool,
    ) -> Result<Taken, TakeError> {
        if !is_name(name) {
            return Err(TakeError::Name);
        }
        let now = SystemTime::now();
        let mut entry = read(given, now)?;
        let name: Arc<str> = name.into();
        let mut state = self.state.lock();
        let other = admit(&state, &name, &entry, may)?;
        if let Some(folder) = &state.folder {
            folder.restore()?;
        }
        let taken = match state.entries.get(&name) {
            None => Taken::Created,
            Some(earlier) if earlier.is_same(&entry) && earlier.pair.is_some() => {
                return Ok(Taken::Unchanged);
            }
            Some(_) => Taken::Replaced,
        };
        keep(&mut state, &name, given, other.as_deref())?;
        if let Some(other) = other.and_then(|other| state.entries.get_mut(&other)) {
            other.default = false;
        }
        entry.tell_expiry(&name, now);
        entry.describe(&name, "is taken");
        state.entries.insert(name, entry);
        self.publish(&state);
        Ok(taken)
    }

    /// Notes that a new certificate could not be had from an authority: it is shown with the one that
    /// is in use, or without one.
    pub fn note_failure(&self, name: &str, reason: &str) {
        let name: Arc<str> = name.into();
        let mut state = self.state.lock();
        let entry = state.entries.entry(name);
        let entry = entry.or_insert_with(|| Entry::new(Origin::Other(Source::Acme), false, None));
        entry.last_error = Some(reason.into());
        entry.failures += 1;
        self.count_failures(1);
    }

    /// Forgets that a certificate could not be had, which nobody wants any more.
    pub fn forget_failure(&self, name: &str) {
        let mut state = self.state.lock();
        let is_nothing = |entry: &Entry| entry.pair.is_none() && entry.is_of(Source::Acme);
        if state.entries.get(name).is_some_and(is_nothing) {
            state.entries.remove(name);
        } else if let Some(entry) = state.entries.get_mut(name)
            && entry.is_of(Source::Acme)
        {
            entry.last_error = None;
        }
    }

    /// Removes a certificate that is not the configuration's. Connections that use it are not
    /// disturbed. Writes to the disk, as [`Certificates::take`] does.
    ///
    /// # Errors
    /// [`RemoveError`]; nothing has changed then.
    pub fn remove(&self, name: &str) -> Result<(), RemoveError> {
        self.remove_if(name, |_any| true)
    }

    /// Removes a certificate, if `may` allows it.
    ///
    /// # Errors
    /// [`RemoveError`]; nothing has changed then.
    pub fn remove_if(
        &self,
        name: &str,
        may: impl FnOnce(&Stored) -> bool,
    ) -> Result<(), RemoveError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(RemoveError::Closed);
        }
        let Some((name, entry)) = state.entries.get_key_value(name) else {
            return Err(RemoveError::Unknown(name.into()));
        };
        let name = Arc::clone(name);
        if !may(&entry.stored(&name)) {
            return Err(RemoveError::Forbidden);
        }
        if entry.is_configured() {
            return Err(RemoveError::Configured(name));
        }
        if let Some(folder) = &mut state.folder {
            folder.restore()?;
            folder.remove(&name)?;
        }
        state.entries.remove(&name);
        self.publish(&state);
        info!("certificate `{name}`: is removed");
        Ok(())
    }
}

/// Reads a certificate that is given.
fn read(given: &Given<'_>, now: SystemTime) -> Result<Entry, TakeError> {
    let (certificate, key) = (given.certificate.as_bytes(), given.key.as_bytes());
    let pair = Pair::parse(certificate, key, &provider())?;
    if given.source != Source::Acme {
        pair.details.check(now)?;
    }
    let origin = Origin::Other(given.source);
    Ok(Entry::new(origin, given.default, Some(pair)))
}

/// Whether a certificate may have its name, and be the default if it is to be: then the name of the one that
/// has been until now.
fn admit(
    state: &State,
    name: &Arc<str>,
    entry: &Entry,
    may: impl Fn(&Stored) -> bool,
) -> Result<Option<Arc<str>>, TakeError> {
    if state.is_closed {
        return Err(TakeError::Closed);
    }
    let earlier = state.entries.get(name);
    let is_allowed = |entry: &Entry| may(&entry.stored(name));
    if !is_allowed(entry) || !earlier.is_none_or(is_allowed) {
        return Err(TakeError::Forbidden);
    }
    if earlier.is_some_and(Entry::is_configured) {
        return Err(TakeError::Configured(Arc::clone(name)));
    }
    let other = state
        .default()
        .filter(|other| entry.default && *other != name);
    match other {
        Some(other) if state.entries.get(other).is_some_and(Entry::is_configured) => {
            Err(TakeError::DefaultConfigured(Arc::clone(other)))
        }
        other => Ok(other.cloned()),
    }
}

/// Writes a certificate to the disk, if there is a folder, and takes the default from the other one.
fn keep(
    state: &mut State,
    name: &str,
    given: &Given<'_>,
    other: Option<&str>,
) -> Result<(), StoreError> {
    let Some(folder) = &mut state.folder else {
        return Ok(());
    };
    if given.source == Source::Acme {
        return Ok(());
    }
    // A crash in between leaves no default, rather than two.
    if let Some(other) = other {
        folder.set_default(other, false)?;
    }
    let written = folder.write(name, Kept::from(given));
    if written.is_err()
        && let Some(other) = other
        && let Err(error) = folder.set_default(other, true)
    {
        error!("{error}; it is the default all the same until the next start");
    }
    written
}
