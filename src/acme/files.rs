//! The files in the state directory: the account of each directory URL, a certificate with its key for each
//! host, the times of the next attempts, and the lock of the process that orders. Only the proxy's user can
//! read them; every file is written as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use log::{error, warn};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backoff::Tries;
use super::names::short_hash;
use crate::tls::StoreError;

const EXTENSION: &str = "json";

/// An account as it is kept.
#[derive(Deserialize, Serialize)]
pub(super) struct KeptAccount {
    /// The URL of the directory that it is of.
    pub(super) directory: String,
    pub(super) contact: Vec<String>,
    pub(super) credentials: AccountCredentials,
}

/// A certificate as it is kept.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct KeptCertificate {
    /// The URL of the directory that it is from.
    pub(super) directory: String,
    /// When it was issued, by this machine's clock: seconds since 1970.
    pub(super) issued: u64,
    /// The chain, PEM.
    pub(super) certificate: String,
    /// Its key, PEM.
    pub(super) key: String,
}

/// A file of the folder of certificates: the host, and what is kept for it.
pub(super) type ForHost = (String, Result<KeptCertificate, String>);

/// A folder's stamp: another one after every change in it.
pub(super) type Stamp = (i64, i64);

/// The folder.
pub(super) struct Files {
    folder: PathBuf,
    certificates: PathBuf,
    /// The account that was read or written last, and its file.
    account: Mutex<Option<(PathBuf, Value)>>,
}

impl Files {
    /// Opens the folder; makes it if it is not there.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let files = Self {
            folder: folder.to_owned(),
            certificates: folder.join("certificates"),
            account: Mutex::default(),
        };
        files.make()?;
        Ok(files)
    }

    fn make(&self) -> Result<(), StoreError> {
        for path in [&self.folder, &self.certificates] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| failed(path, "make the folder", error))?;
        }
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
            .map_err(|error| failed(&self.folder, "keep others out of the folder", error))
    }

    /// Makes the folder anew, with the account, if it was removed underneath; says whether it was. What else
    /// was in it is the caller's to write.
    pub(super) fn restore(&self) -> Result<bool, StoreError> {
        if self.certificates.is_dir() {
            return Ok(false);
        }
        self.make()?;
        if let Some((path, account)) = &*self.account.lock()
            && !path.exists()
        {
            self.write(path, account)?;
        }
        let folder = self.certificates.display();
        warn!("ACME: {folder} had been removed; it is written anew, with all certificates");
        Ok(true)
    }

    /// The right to order, until what comes back is dropped; none while another process has it. The
    /// system takes it from a process that dies.
    pub(super) fn lock(&self) -> Result<Option<File>, StoreError> {
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&path, "open the file", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(&path, "lock the file", error)),
        }
    }

    /// The account of a directory. A file that is damaged is put aside.
    pub(super) fn account(&self, directory: &str) -> Option<KeptAccount> {
        let path = self.account_path(directory);
        let problem = match read::<KeptAccount>(&path) {
            Ok(None) => return None,
            Ok(Some(account)) if account.directory == directory => {
                self.remember_account(path, &account);
                return Some(account);
            }
            Ok(Some(_other)) => "is of another directory".to_owned(),
            Err(problem) => problem,
        };
        error!("ACME: {}: {problem}; a new account is made", path.display());
        self.put_account_aside(directory);
        None
    }

    /// Puts the account of a directory aside: it is of no use.
    pub(super) fn put_account_aside(&self, directory: &str) {
        let path = self.account_path(directory);
        let aside = path.with_extension("unusable");
        match fs::rename(&path, &aside) {
            Ok(()) => {
                *self.account.lock() = None;
                warn!("ACME: {}: the old account is here now", aside.display());
            }
            Err(error) => error!("ACME: {}: cannot be put aside: {error}", path.display()),
        }
    }

    pub(super) fn write_account(&self, account: &KeptAccount) -> Result<(), StoreError> {
        let path = self.account_path(&account.directory);
        self.write(&path, account)?;
        self.remember_account(path, account);
        Ok(())
    }

    fn remember_account(&self, path: PathBuf, account: &KeptAccount) {
        match serde_json::to_value(account) {
            Ok(account) => *self.account.lock() = Some((path, account)),
            Err(error) => error!("ACME: {}: {error}", path.display()),
        }
    }

    /// A directory's own file: another URL, another account.
    fn account_path(&self, directory: &str) -> PathBuf {
        let hash = short_hash(directory);
        self.folder.join(format!("account-{hash}.{EXTENSION}"))
    }

    /// Another stamp than before if a certificate may have changed.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let folder = fs::metadata(&self.certificates).ok()?;
        Some((folder.mtime(), folder.mtime_nsec()))
    }

    /// All certificates.
    pub(super) fn certificates(&self) -> Result<Vec<ForHost>, StoreError> {
        let failed = |error| failed(&self.certificates, "read the folder", error);
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.certificates).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_ours = path
                .extension()
                .is_some_and(|extension| extension == EXTENSION);
            let host = path.file_stem().and_then(|stem| stem.to_str());
            let (true, Some(host)) = (is_ours, host) else {
                continue;
            };
            match read(&path) {
                Ok(Some(certificate)) => kept.push((host.to_owned(), Ok(certificate))),
                // Just removed.
                Ok(None) => {}
                Err(problem) => {
                    let problem = format!("{} {problem}", path.display());
                    kept.push((host.to_owned(), Err(problem)));
                }
            }
        }
        Ok(kept)
    }

    pub(super) fn write_certificate(
        &self,
        host: &str,
        kept: &KeptCertificate,
    ) -> Result<(), StoreError> {
        self.write(&self.certificate_path(host), kept)
    }

    pub(super) fn remove_certificate(&self, host: &str) -> Result<(), StoreError> {
        let path = self.certificate_path(host);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed(&path, "remove the file", error))
            }
            _ => Ok(()),
        }
    }

    fn certificate_path(&self, host: &str) -> PathBuf {
        self.certificates.join(format!("{host}.{EXTENSION}"))
    }

    /// When to try again.
    pub(super) fn tries(&self) -> Tries {
        let path = self.folder.join("tries.json");
        match read(&path) {
            Ok(tries) => tries.unwrap_or_default(),
            Err(problem) => {
                warn!("ACME: {} {problem}; it is begun anew", path.display());
                Tries::default()
            }
        }
    }

    pub(super) fn write_tries(&self, tries: &Tries) -> Result<(), StoreError> {
        self.write(&self.folder.join("tries.json"), tries)
    }

    /// Writes a file: once this returns it is on the disk. Whoever writes has the lock.
    fn write(&self, path: &Path, content: &impl Serialize) -> Result<(), StoreError> {
        self.try_write(path, content)
            .map_err(|error| failed(path, "write the file", error))
    }

    fn try_write(&self, path: &Path, content: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(content)?;
        let unfinished = self.folder.join("unfinished");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        // One that was left over may have another mode.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // The name is on the disk once its folder is.
        File::open(path.parent().unwrap_or(&self.folder))?.sync_all()
    }
}

fn failed(path: &Path, what: &'static str, source: io::Error) -> StoreError {
    StoreError {
        path: path.to_owned(),
        what,
        source,
    }
}

/// Reads a JSON file; `None` if there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    // The error's place alone: its text may quote a key.
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("is damaged, at line {line}, column {column}")
    })
}
