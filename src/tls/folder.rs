//! Certificates on the disk that came over the control API: one file each, with chain and key
//! together, so that a change is one rename and never half done.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::source::{Given, Source};

/// The extensions of the files of certificates, and of those that are being written.
const EXTENSION: &str = "json";
const UNFINISHED: &str = "unfinished";

/// A certificate as it is kept.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) source: Source,
    pub(super) default: bool,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl From<&Given<'_>> for Kept {
    fn from(given: &Given<'_>) -> Self {
        Self {
            source: given.source,
            default: given.default,
            certificate: given.certificate.to_owned(),
            key: given.key.to_owned(),
        }
    }
}

/// The folder, which nobody but the proxy's user can look into.
pub(super) struct Folder {
    path: PathBuf,
    /// The certificates that have been written, or found, by name: files that others have removed are written
    /// anew from here.
    kept: BTreeMap<String, Kept>,
}

/// A file of the folder: the certificate's name, and what it holds.
pub(super) type Read = (String, Result<Kept, String>);

impl Folder {
    /// Opens the folder; makes it if it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        make(path)?;
        Ok(Self {
            path: path.to_owned(),
            kept: BTreeMap::new(),
        })
    }

    /// Makes sure that every certificate is where the next start looks for it, and writes those anew whose
    /// files were removed, with the folder if that is gone.
    pub(super) fn restore(&self) -> Result<(), StoreError> {
        for (name, kept) in &self.kept {
            let path = self.file(name);
            let is_there = path.try_exists().or_else(|error| match error.kind() {
                io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            });
            let is_there = is_there.map_err(|source| StoreError {
                path: path.clone(),
                what: "look for the file",
                source,
            })?;
            if !is_there {
                self.put(name, kept)?;
                log::warn!(
                    "{} had been removed; it has been written anew",
                    path.display()
                );
            }
        }
        Ok(())
    }

    /// All certificates. Files that were not finished are removed.
    pub(super) fn read(&mut self) -> Result<Vec<Read>, StoreError> {
        let failed = |source| StoreError {
            path: self.path.clone(),
            what: "read the folder",
            source,
        };
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            match (name, path.extension().and_then(|e| e.to_str())) {
                (Some(name), Some(EXTENSION)) => kept.push((name.to_owned(), read(&path))),
                (_, Some(UNFINISHED)) => {
                    fs::remove_file(&path).map_err(|source| StoreError {
                        path: path.clone(),
                        what: "remove the unfinished file",
                        source,
                    })?;
                }
                _ => log::warn!("{}: is not a certificate of the proxy's", path.display()),
            }
        }
        kept.sort_by(|one, other| one.0.cmp(&other.0));
        let whole = kept
            .iter()
            .filter_map(|(name, kept)| Some((name.clone(), kept.as_ref().ok()?.clone())));
        self.kept = whole.collect();
        Ok(kept)
    }

    /// Keeps a certificate: once this returns it is on the disk.
    pub(super) fn write(&mut self, name: &str, kept: Kept) -> Result<(), StoreError> {
        self.put(name, &kept)?;
        self.kept.insert(name.to_owned(), kept);
        Ok(())
    }

    fn put(&self, name: &str, kept: &Kept) -> Result<(), StoreError> {
        if !self.path.is_dir() {
            make(&self.path)?;
        }
        let unfinished = self.path.join(format!("{name}.{UNFINISHED}"));
        let path = self.file(name);
        self.try_write(&unfinished, &path, kept)
            .map_err(|source| StoreError {
                path,
                what: "write the file",
                source,
            })
    }

    fn try_write(&self, unfinished: &Path, path: &Path, kept: &Kept) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(kept)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(unfinished)?;
        // One that was left over may have another mode.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(unfinished, path)?;
        self.sync()
    }

    /// Changes whether a certificate is the default, if it is kept.
    pub(super) fn set_default(&mut self, name: &str, default: bool) -> Result<(), StoreError> {
        let Some(kept) = self.kept.get(name).cloned() else {
            return Ok(());
        };
        self.write(name, Kept { default, ..kept })
    }

    /// Forgets a certificate: once this returns it is off the disk.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let path = self.file(name);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.sync())
            .map_err(|source| StoreError {
                path,
                what: "remove the file",
                source,
            })?;
        self.kept.remove(name);
        Ok(())
    }

    /// The name of a certificate's file.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{EXTENSION}"))
    }

    /// A rename or removal is on the disk once its folder is.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Folder").field(&self.path).finish()
    }
}

/// Makes the folder if it is not there, and keeps others out of it.
fn make(path: &Path) -> Result<(), StoreError> {
    let failed = |what, source| StoreError {
        path: path.to_owned(),
        what,
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("make the folder", error))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(|error| failed("keep others out of the folder", error))
}

fn read(path: &Path) -> Result<Kept, String> {
    let text = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    // The error's text is a place; serde never quotes the key.
    serde_json::from_slice(&text).map_err(|error| {
        format!(
            "is damaged, at line {}, column {}; put the certificate again",
            error.line(),
            error.column()
        )
    })
}
