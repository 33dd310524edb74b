//! One certificate: where it is from, what is in use, and how it is doing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};

use super::details::Details;
use super::error::PairError;
use super::pair::Pair;
use super::source::Source;
use super::watched_files::{Look, WatchedFiles};

/// The longest name of a certificate.
const LONGEST_NAME: usize = 64;

/// A certificate as it is known now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is from.
    pub source: Source,
    /// Whether it serves clients that no other certificate is for.
    pub default: bool,
    /// The details; `None` if the certificate could never be read, and is not in use then.
    pub details: Option<Arc<Details>>,
    /// Why its files, as they are now, are of no use, or why there is no new one from an authority; the
    /// certificate before is in use.
    pub last_error: Option<Arc<str>>,
    /// How many changes of its files were of no use, or how often there was no new one.
    pub failures: u64,
}

/// The outcome of a certificate that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new.
    Created,
    /// It is in the place of another.
    Replaced,
    /// It was there already.
    Unchanged,
}

/// A certificate under its name.
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
pub(super) enum Origin {
    Files(Box<WatchedFiles>),
    Other(Source),
}

impl Entry {
    /// Whether it is of files, which can change.
    pub(super) fn has_files(&self) -> bool {
        matches!(self.origin, Origin::Files(_))
    }

    pub(super) fn new(origin: Origin, default: bool, pair: Option<Pair>) -> Self {
        Self {
            origin,
            default,
            pair,
            last_error: None,
            failures: 0,
            is_expiry_told: false,
        }
    }

    /// One from the disk that is of no use.
    pub(super) fn damaged(problem: String) -> Self {
        Self {
            last_error: Some(problem.into()),
            failures: 1,
            ..Self::new(Origin::Other(Source::Api), false, None)
        }
    }

    pub(super) fn is_configured(&self) -> bool {
        matches!(self.origin, Origin::Files(_))
    }

    pub(super) fn is_of(&self, source: Source) -> bool {
        self.source() == source
    }

    fn source(&self) -> Source {
        match self.origin {
            Origin::Files(_) => Source::File,
            Origin::Other(source) => source,
        }
    }

    /// Whether it is the very same; a certificate always has the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let chain = |entry: &Self| entry.pair.as_ref().map(|pair| pair.certified.cert.clone());
        chain(self) == chain(other)
            && self.default == other.default
            && self.source() == other.source()
    }

    /// Looks at the files, if it has some: the pair to use from now on.
    pub(super) fn look(&mut self, name: &Arc<str>, now: SystemTime) -> Option<Pair> {
        let Origin::Files(watched) = &mut self.origin else {
            return None;
        };
        match watched.look(name, now) {
            Look::Same => None,
            Look::Restored => {
                self.last_error = None;
                info!("certificate `{name}`: its files are again those that are in use");
                None
            }
            Look::Changed(pair) => {
                self.last_error = None;
                Some(*pair)
            }
            Look::Failed(error) => {
                error!("{error}; the certificate stays as it was");
                self.failures += 1;
                self.last_error = Some(error.to_string().into());
                None
            }
        }
    }

    pub(super) fn tell_expiry(&mut self, name: &str, now: SystemTime) {
        let Some(pair) = self.pair.as_ref().filter(|_| !self.is_expiry_told) else {
            return;
        };
        if let Err(problem @ PairError::Expired { .. }) = pair.details.check(now) {
            warn!("certificate `{name}`: {problem}; clients will refuse it");
            self.is_expiry_told = true;
        }
    }

    pub(super) fn stored(&self, name: &Arc<str>) -> Stored {
        Stored {
            name: Arc::clone(name),
            source: self.source(),
            default: self.default,
            details: self.pair.as_ref().map(|pair| Arc::clone(&pair.details)),
            last_error: self.last_error.clone(),
            failures: self.failures,
        }
    }

    pub(super) fn describe(&self, name: &str, what: &str) {
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
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}
