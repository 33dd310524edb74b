//! The two files of a certificate, which are read again when they change.
//!
//! Each look is at their metadata; they are read when that differs or is so fresh that it may not show
//! a change. What cannot be used is looked at once more before it is an error: of two files one is
//! always written first, and a file may be half written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::error::{LoadError, PairError, Part};
use super::pair::Pair;
use super::provider::provider;
use super::source::CertificateFiles;

/// A file that was read so soon after its last change may have changed again within the same tick
/// of the file system's clock.
const TICK: Duration = Duration::from_secs(2);

/// A file's device, inode, size, and the times of its last change and of its metadata's.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// Two files as they were at a moment.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    stamps: [Stamp; 2],
    /// Whether they may change without a sign.
    is_fresh: bool,
}

/// The content of the files, as a SHA-256; or why they cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Read([u8; 32]),
    Unreadable(String),
}

/// The files of a certificate.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// The files when they were last read; none if they have to be read again.
    seen: Option<Seen>,
    /// The content that is in use.
    used: Content,
    /// The content that could not be used, and whether its error has been reported.
    refused: Option<(Content, bool)>,
}

/// The result of a look at the files.
pub(super) enum Look {
    /// Nothing new.
    Same,
    /// After something else, what is in use.
    Restored,
    /// Something else that can be used.
    Changed(Box<Pair>),
    /// Something else that cannot.
    Failed(LoadError),
}

impl WatchedFiles {
    /// Reads the files of a certificate for the first time.
    pub(super) fn load(
        name: &Arc<str>,
        files: CertificateFiles,
    ) -> Result<(Self, Pair), LoadError> {
        let mut watched = Self {
            certificate: files.certificate,
            key: files.key,
            seen: None,
            used: Content::Unreadable(String::new()),
            refused: None,
        };
        let now = SystemTime::now();
        watched.seen = watched.stat(now).ok();
        let texts = watched.read(name)?;
        let pair = watched.parse(name, &texts, now)?;
        watched.used = content(&texts);
        Ok((watched, pair))
    }

    /// The file of the key.
    pub(super) fn key(&self) -> &Path {
        &self.key
    }

    /// Looks at the files.
    pub(super) fn look(&mut self, name: &Arc<str>, now: SystemTime) -> Look {
        let seen = self.stat(now).ok();
        let is_same = match (&seen, &self.seen) {
            (Some(seen), Some(before)) => seen.stamps == before.stamps && !before.is_fresh,
            _ => false,
        };
        let is_to_be_told = matches!(self.refused, Some((_, false)));
        if is_same && !is_to_be_told {
            return Look::Same;
        }
        self.seen = seen;
        let texts = match self.read(name) {
            Ok(texts) => texts,
            Err(error) => return self.refuse(Content::Unreadable(error.to_string()), error),
        };
        let content = content(&texts);
        if content == self.used {
            let was_told = matches!(self.refused.take(), Some((_, true)));
            return if was_told { Look::Restored } else { Look::Same };
        }
        match self.parse(name, &texts, now) {
            Ok(pair) => {
                self.used = content;
                self.refused = None;
                Look::Changed(Box::new(pair))
            }
            Err(error) => {
                if is_of_its_time(&error) {
                    // It may be of use later, though the files stay as they are.
                    self.seen = None;
                }
                self.refuse(content, error)
            }
        }
    }

    /// An error once for each change, and not before it is there at two looks.
    fn refuse(&mut self, content: Content, error: LoadError) -> Look {
        match &mut self.refused {
            Some((refused, is_told)) if *refused == content => {
                if *is_told {
                    return Look::Same;
                }
                *is_told = true;
                Look::Failed(error)
            }
            _ => {
                self.refused = Some((content, false));
                Look::Same
            }
        }
    }

    fn stat(&self, now: SystemTime) -> io::Result<Seen> {
        let (certificate, key) = (fs::metadata(&self.certificate)?, fs::metadata(&self.key)?);
        let mut is_fresh = false;
        for file in [&certificate, &key] {
            // A time in the future may come again.
            is_fresh |= now
                .duration_since(file.modified()?)
                .map_or(true, |age| age < TICK);
        }
        Ok(Seen {
            stamps: [stamp(&certificate), stamp(&key)],
            is_fresh,
        })
    }

    fn read(&self, name: &Arc<str>) -> Result<[Vec<u8>; 2], LoadError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| LoadError::Unreadable {
                name: Arc::clone(name),
                path: path.clone(),
                source,
            })
        };
        Ok([read(&self.certificate)?, read(&self.key)?])
    }

    fn parse(
        &self,
        name: &Arc<str>,
        [certificate, key]: &[Vec<u8>; 2],
        now: SystemTime,
    ) -> Result<Pair, LoadError> {
        let parse = || {
            let pair = Pair::parse(certificate, key, &provider())?;
            pair.details.check(now)?;
            Ok(pair)
        };
        parse().map_err(|problem: PairError| LoadError::Unusable {
            name: Arc::clone(name),
            path: match problem.part() {
                Part::Certificate => self.certificate.clone(),
                Part::Key => self.key.clone(),
            },
            problem,
        })
    }
}

/// Whether nothing but a date is wrong.
fn is_of_its_time(error: &LoadError) -> bool {
    let LoadError::Unusable { problem, .. } = error else {
        return false;
    };
    matches!(
        problem,
        PairError::Expired { .. } | PairError::NotYetValid { .. }
    )
}

fn stamp(file: &fs::Metadata) -> Stamp {
    (
        file.dev(),
        file.ino(),
        file.size(),
        (file.mtime(), file.mtime_nsec()),
        (file.ctime(), file.ctime_nsec()),
    )
}

fn content([certificate, key]: &[Vec<u8>; 2]) -> Content {
    let mut hash = Sha256::new();
    hash.update(certificate.len().to_be_bytes());
    hash.update(certificate);
    hash.update(key);
    Content::Read(hash.finalize().into())
}
