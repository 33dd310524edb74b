//! All certificates, their table, and the changes of both.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use log::{error, info, warn};
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::details::Details;
use super::error::{LoadError, PairError, RemoveError, StoreError, TakeError};
use super::folder::{Folder, Kept};
use super::pair::Pair;
use super::provider::provider;
use super::table::{Table, plain};
use super::watch::{self, Watched};

/// The protocol of the challenge TLS-ALPN-01 (RFC 8737, 3).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// The longest name of a certificate.
const LONGEST_NAME: usize = 64;

/// Where a certificate is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Files that the configuration names; they are read again when they change.
    File,
    /// The control API.
    Api,
    /// A certificate authority that was asked for it (RFC 8555).
    Acme,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Api => "api",
            Self::Acme => "acme",
        })
    }
}

/// A certificate of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`, a letter or digit first.
    pub name: String,
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1; it may be in the certificate's file.
    pub key: PathBuf,
    /// Whether it serves clients that no other certificate is for.
    pub default: bool,
}

/// A certificate as it is known now.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is from.
    pub source: Source,
    /// Whether it serves clients that no other certificate is for.
    pub default: bool,
    /// What it says; none if it could never be read, and it is not in use then.
    pub details: Option<Arc<Details>>,
    /// Why its files, as they are now, are of no use; the certificate before them is in use.
    pub last_error: Option<Arc<str>>,
    /// How many changes of its files were of no use.
    pub failures: u64,
}

/// A certificate that is given, to be taken under a name.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The certificate and its chain, PEM.
    pub certificate: &'a str,
    /// The private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: &'a str,
    /// Whether it is to serve clients that no other certificate is for.
    pub default: bool,
    /// Where it is from.
    pub source: Source,
}

/// What became of a certificate that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    Created,
    /// It is in the place of another.
    Replaced,
    /// It was there already.
    Unchanged,
}

/// Any number of certificates, of which a handshake gets the one for its name. The rules are the
/// [module](super)'s.
///
/// A change costs time in proportion to the number of all certificates; a handshake does not.
pub struct Certificates {
    table: ArcSwap<Table>,
    /// Answers to challenges of TLS-ALPN-01, by name.
    challenges: ArcSwap<HashMap<Box<str>, Arc<CertifiedKey>>>,
    state: Mutex<State>,
    failures: AtomicU64,
    unmatched: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Arc<str>, Entry>,
    folder: Option<Folder>,
}

#[derive(Debug)]
pub(super) struct Entry {
    origin: Origin,
    pub(super) default: bool,
    pub(super) pair: Option<Pair>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) failures: u64,
    /// Whether it was said that it has expired.
    pub(super) is_expiry_told: bool,
}

#[derive(Debug)]
enum Origin {
    Files(Watched),
    Other(Source),
}

impl Certificates {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: ArcSwap::default(),
            challenges: ArcSwap::default(),
            state: Mutex::default(),
            failures: AtomicU64::new(0),
            unmatched: AtomicU64::new(0),
        }
    }

    /// Those of the configuration.
    ///
    /// # Errors
    /// [`LoadError`] of the first that cannot be used: also of one that has expired.
    pub fn load(files: impl IntoIterator<Item = CertificateFiles>) -> Result<Self, LoadError> {
        let certificates = Self::new();
        let mut state = certificates.state.lock();
        for files in files {
            let name: Arc<str> = files.name.as_str().into();
            let refuse = |problem: String| LoadError::Entry {
                name: Arc::clone(&name),
                problem,
            };
            if !is_name(&name) {
                return Err(refuse(TakeError::Name.to_string()));
            }
            if state.entries.contains_key(&name) {
                return Err(refuse("is there twice; rename one".to_owned()));
            }
            if files.default
                && let Some(other) = state.default()
            {
                return Err(refuse(format!(
                    "and `{other}` are both the default; choose one"
                )));
            }
            let default = files.default;
            let (watched, pair) = Watched::load(&name, files)?;
            let entry = Entry::new(Origin::Files(watched), default, Some(pair));
            state.entries.insert(name, entry);
        }
        certificates.publish(&state);
        drop(state);
        Ok(certificates)
    }

    /// Says in the log which certificates there are, and what is not right about them.
    pub fn describe(&self) {
        for (name, entry) in &self.state.lock().entries {
            entry.describe(name, "is in use");
        }
    }

    /// Keeps what comes over the control API in a folder from now on, and takes what is there: one
    /// that is damaged is named in the log and in its status, and is not in use.
    ///
    /// # Errors
    /// [`StoreError`]: the folder cannot be made, read, or closed to others.
    pub fn open(&self, folder: &Path) -> Result<(), StoreError> {
        let folder = Folder::open(folder)?;
        let kept = folder.read()?;
        let mut state = self.state.lock();
        let now = SystemTime::now();
        for (name, kept) in kept {
            let file = folder.file(&name);
            let file = file.display();
            if !is_name(&name) {
                warn!("{file}: is not named as a certificate is; it is not used");
                continue;
            }
            let name: Arc<str> = name.into();
            if state.entries.contains_key(&name) {
                warn!("{file}: the configuration has a certificate of this name; that one is used");
                continue;
            }
            let read = kept.and_then(|kept| {
                let pair = Pair::parse(
                    kept.certificate.as_bytes(),
                    kept.key.as_bytes(),
                    &provider(),
                )
                .map_err(|problem| problem.to_string())?;
                Ok((kept, pair))
            });
            let entry = match read {
                Ok((kept, pair)) => {
                    let default = kept.default && state.default().is_none();
                    let mut entry = Entry::new(Origin::Other(kept.source), default, Some(pair));
                    entry.tell_expiry(&name, now);
                    entry.describe(&name, "is in use");
                    entry
                }
                Err(problem) => {
                    error!("certificate `{name}`: {file} {problem}; it is not used");
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    let mut entry = Entry::new(Origin::Other(Source::Api), false, None);
                    entry.last_error = Some(problem.into());
                    entry.failures = 1;
                    entry
                }
            };
            state.entries.insert(name, entry);
        }
        state.folder = Some(folder);
        self.publish(&state);
        Ok(())
    }

    /// Takes a certificate under a name, in the place of the one that has it. Once this returns it
    /// is on the disk, if there is a folder, and every later handshake sees it. Writes to the disk:
    /// call it where that may block.
    ///
    /// # Errors
    /// [`TakeError`]; nothing has changed then.
    pub fn take(&self, name: &str, given: &Given<'_>) -> Result<Taken, TakeError> {
        self.take_if(name, given, |_any| true)
    }

    /// The same, if `may` allows the new certificate and the one that it replaces.
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
        let (certificate, key) = (given.certificate.as_bytes(), given.key.as_bytes());
        let pair = Pair::parse(certificate, key, &provider())?;
        pair.details.check(SystemTime::now())?;
        let name: Arc<str> = name.into();
        let entry = Entry::new(Origin::Other(given.source), given.default, Some(pair));
        let mut state = self.state.lock();
        let earlier = state.entries.get(&name);
        let is_allowed = |entry: &Entry| may(&entry.stored(&name));
        if !is_allowed(&entry) || !earlier.is_none_or(is_allowed) {
            return Err(TakeError::Forbidden);
        }
        if earlier.is_some_and(Entry::is_configured) {
            return Err(TakeError::Configured(name));
        }
        let other = state
            .default()
            .filter(|other| given.default && **other != name);
        let other = other.cloned();
        if let Some(other) = &other
            && state.entries.get(other).is_some_and(Entry::is_configured)
        {
            return Err(TakeError::DefaultConfigured(Arc::clone(other)));
        }
        let taken = match earlier {
            None => Taken::Created,
            Some(earlier) if earlier.is_same(&entry) => return Ok(Taken::Unchanged),
            Some(_) => Taken::Replaced,
        };
        if let Some(folder) = &state.folder {
            // First the end of the old default: a crash in between leaves none, and not two.
            if let Some(other) = &other {
                folder.set_default(other, false)?;
            }
            folder.write(&name, &Kept::from(given))?;
        }
        if let Some(other) = other.and_then(|other| state.entries.get_mut(&other)) {
            other.default = false;
        }
        entry.describe(&name, "is taken");
        state.entries.insert(name, entry);
        self.publish(&state);
        Ok(taken)
    }

    /// Removes a certificate that is not the configuration's. Connections that use it are not
    /// disturbed. Writes to the disk, as [`Certificates::take`] does.
    ///
    /// # Errors
    /// [`RemoveError`]; nothing has changed then.
    pub fn remove(&self, name: &str) -> Result<(), RemoveError> {
        self.remove_if(name, |_any| true)
    }

    /// The same, if `may` allows it.
    ///
    /// # Errors
    /// [`RemoveError`]; nothing has changed then.
    pub fn remove_if(
        &self,
        name: &str,
        may: impl FnOnce(&Stored) -> bool,
    ) -> Result<(), RemoveError> {
        let mut state = self.state.lock();
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
        if let Some(folder) = &state.folder {
            folder.remove(&name)?;
        }
        state.entries.remove(&name);
        self.publish(&state);
        info!("certificate `{name}`: is removed");
        Ok(())
    }

    /// All certificates, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Stored> {
        let state = self.state.lock();
        let entries = state.entries.iter();
        entries.map(|(name, entry)| entry.stored(name)).collect()
    }

    /// One certificate.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Stored> {
        let state = self.state.lock();
        let (name, entry) = state.entries.get_key_value(name)?;
        Some(entry.stored(name))
    }

    /// How many times a certificate's files could not be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How many handshakes asked for a name that no certificate is for.
    #[must_use]
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Ordering::Relaxed)
    }

    /// Answers challenges of TLS-ALPN-01 for a name with a certificate from now on (RFC 8737).
    /// Listeners see it if their [`ServerOptions`](super::ServerOptions) have `challenges`.
    pub fn set_challenge(&self, name: &str, answer: Arc<CertifiedKey>) {
        let name = plain(name).into_owned().into_boxed_str();
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            challenges.insert(name.clone(), Arc::clone(&answer));
            challenges
        });
    }

    /// Answers no challenges for a name any more.
    pub fn clear_challenge(&self, name: &str) {
        let name = plain(name);
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            challenges.remove(name.as_ref());
            challenges
        });
    }

    /// The certificate for a name, or for a client that names none; it can make one of these
    /// signatures, if there is one that can.
    #[must_use]
    pub fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.table.load().choose(name, schemes).map(Arc::clone)
    }

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
            self.failures
                .fetch_add(entry.failures - failures, Ordering::Relaxed);
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
    pub fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        watch::start(Arc::downgrade(self))
    }

    fn publish(&self, state: &State) {
        let pairs = state
            .entries
            .values()
            .filter_map(|entry| entry.pair.as_ref());
        let default = state.entries.values().find(|entry| entry.default);
        let default = default.and_then(|entry| entry.pair.as_ref());
        self.table.store(Arc::new(Table::new(pairs, default)));
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_set().entries(state.entries.keys()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let is_challenge = hello.alpn().is_some_and(|mut protocols| {
            protocols.next() == Some(ACME_TLS) && protocols.next().is_none()
        });
        if is_challenge {
            return self
                .challenges
                .load()
                .get(plain(name?).as_ref())
                .map(Arc::clone);
        }
        let chosen = self.choose(name, hello.signature_schemes());
        if chosen.is_none() {
            self.unmatched.fetch_add(1, Ordering::Relaxed);
            log::debug!(
                "no certificate for {}",
                name.unwrap_or("a client that names no host")
            );
        }
        chosen
    }
}

impl State {
    /// The name of the default.
    fn default(&self) -> Option<&Arc<str>> {
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.default)
            .map(|(name, _)| name)
    }
}

impl Entry {
    fn new(origin: Origin, default: bool, pair: Option<Pair>) -> Self {
        Self {
            origin,
            default,
            pair,
            last_error: None,
            failures: 0,
            is_expiry_told: false,
        }
    }

    fn is_configured(&self) -> bool {
        matches!(self.origin, Origin::Files(_))
    }

    fn source(&self) -> Source {
        match self.origin {
            Origin::Files(_) => Source::File,
            Origin::Other(source) => source,
        }
    }

    /// Whether it is the very same; a certificate always has the same key.
    fn is_same(&self, other: &Self) -> bool {
        let chain = |entry: &Self| entry.pair.as_ref().map(|pair| pair.certified.cert.clone());
        chain(self) == chain(other)
            && self.default == other.default
            && self.source() == other.source()
    }

    /// Looks at the files, if it has some: the pair to use from now on.
    fn look(&mut self, name: &Arc<str>, now: SystemTime) -> Option<Pair> {
        let Origin::Files(watched) = &mut self.origin else {
            return None;
        };
        match watched.look(name, now) {
            watch::Look::Same => None,
            watch::Look::Restored => {
                self.last_error = None;
                info!("certificate `{name}`: its files are again those that are in use");
                None
            }
            watch::Look::Changed(pair) => {
                self.last_error = None;
                Some(*pair)
            }
            watch::Look::Failed(error) => {
                error!("{error}; the certificate stays as it was");
                self.failures += 1;
                self.last_error = Some(error.to_string().into());
                None
            }
        }
    }

    fn tell_expiry(&mut self, name: &str, now: SystemTime) {
        let Some(pair) = self.pair.as_ref().filter(|_| !self.is_expiry_told) else {
            return;
        };
        if let Err(problem @ PairError::Expired { .. }) = pair.details.check(now) {
            warn!("certificate `{name}`: {problem}; clients will refuse it");
            self.is_expiry_told = true;
        }
    }

    fn stored(&self, name: &Arc<str>) -> Stored {
        Stored {
            name: Arc::clone(name),
            source: self.source(),
            default: self.default,
            details: self.pair.as_ref().map(|pair| Arc::clone(&pair.details)),
            last_error: self.last_error.clone(),
            failures: self.failures,
        }
    }

    fn describe(&self, name: &str, what: &str) {
        let Some(pair) = &self.pair else { return };
        let details = &pair.details;
        let names: Vec<String> = details.names.iter().map(ToString::to_string).collect();
        let until = humantime::format_rfc3339_seconds(details.not_after);
        let names = names.join(", ");
        info!("certificate `{name}`: {what}, for [{names}], valid until {until}");
        for warning in &pair.warnings {
            warn!("certificate `{name}`: {warning}");
        }
        if let Origin::Files(watched) = &self.origin {
            warn_of_mode(name, watched.key());
        }
    }
}

/// Whoever can read the key can be the server.
fn warn_of_mode(name: &str, key: &Path) {
    if fs::metadata(key).is_ok_and(|file| file.mode() & 0o044 != 0) {
        let key = key.display();
        warn!("certificate `{name}`: {key}: others can read the private key; chmod 600 it");
    }
}

/// A name of a certificate, which is a file's too.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}
