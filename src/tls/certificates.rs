//! All certificates, their table, and the changes of both.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use log::{error, warn};
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::entry::{Entry, Origin, Stored, is_name};
use super::error::{LoadError, StoreError, TakeError};
use super::folder::{Folder, Kept};
use super::pair::Pair;
use super::provider::provider;
use super::source::CertificateFiles;
use super::table::{Table, plain};
use super::watched_files::WatchedFiles;

/// The protocol of the challenge TLS-ALPN-01 (RFC 8737, 3).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Any number of certificates, of which a handshake gets the one for its name. The rules are the
/// [module](super)'s.
///
/// A change costs time in proportion to the number of all certificates; a handshake does not.
pub struct Certificates {
    table: ArcSwap<Table>,
    /// Answers to challenges of TLS-ALPN-01, by name.
    challenges: ArcSwap<HashMap<Box<str>, Arc<CertifiedKey>>>,
    pub(super) state: Mutex<State>,
    failures: AtomicU64,
    unmatched: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    pub(super) folder: Option<Folder>,
    pub(super) is_closed: bool,
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
            let (watched, pair) = WatchedFiles::load(&name, files)?;
            let entry = Entry::new(Origin::Files(Box::new(watched)), default, Some(pair));
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
        let mut folder = Folder::open(folder)?;
        let kept = folder.read()?;
        let mut state = self.state.lock();
        let now = SystemTime::now();
        for (name, kept) in kept {
            let file = folder.file(&name);
            let Some(name) = state.free_name(name, &file) else {
                continue;
            };
            let entry = match kept.and_then(usable) {
                Ok((kept, pair)) => {
                    let default = kept.default && state.default().is_none();
                    let mut entry = Entry::new(Origin::Other(kept.source), default, Some(pair));
                    entry.tell_expiry(&name, now);
                    entry.describe(&name, "is in use");
                    entry
                }
                Err(problem) => {
                    let file = file.display();
                    error!("certificate `{name}`: {file} {problem}; it is not used");
                    self.count_failures(1);
                    Entry::damaged(problem)
                }
            };
            state.entries.insert(name, entry);
        }
        state.folder = Some(folder);
        self.publish(&state);
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

    /// Takes and removes nothing any more: another process has the folder. Handshakes go on.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// How many times a certificate's files could not be used, or a new one could not be had.
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
    pub fn set_challenge(&self, name: &str, answer: &Arc<CertifiedKey>) {
        let name = plain(name).into_owned().into_boxed_str();
        self.challenges.rcu(|challenges| {
            let mut challenges = HashMap::clone(challenges);
            challenges.insert(name.clone(), Arc::clone(answer));
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

    /// Counts changes of files that were of no use, or new certificates that could not be had.
    pub(super) fn count_failures(&self, count: u64) {
        self.failures.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn publish(&self, state: &State) {
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
    pub(super) fn default(&self) -> Option<&Arc<str>> {
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.default)
            .map(|(name, _)| name)
    }

    /// The name of a certificate from the folder, unless it is none, or the configuration has one of it.
    fn free_name(&self, name: String, file: &Path) -> Option<Arc<str>> {
        let file = file.display();
        if !is_name(&name) {
            warn!("{file}: is not named as a certificate is; it is not used");
            return None;
        }
        let name: Arc<str> = name.into();
        if self.entries.contains_key(&name) {
            warn!("{file}: the configuration has a certificate of this name; that one is used");
            return None;
        }
        Some(name)
    }
}

/// A certificate from the folder, with what its text says.
fn usable(kept: Kept) -> Result<(Kept, Pair), String> {
    let (certificate, key) = (kept.certificate.as_bytes(), kept.key.as_bytes());
    let pair = Pair::parse(certificate, key, &provider()).map_err(|problem| problem.to_string())?;
    Ok((kept, pair))
}
