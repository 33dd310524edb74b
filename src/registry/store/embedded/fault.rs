//! The errors of the store, in words for the operator.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{User, geteuid};

use super::super::StoreError;

/// The system's error.
pub(super) fn system(path: &Path, error: &io::Error) -> StoreError {
    let path = path.to_path_buf();
    let full = |reason: &str| StoreError::Full {
        path: path.clone(),
        reason: reason.into(),
    };
    let io = |reason: String| StoreError::Io {
        path: path.clone(),
        reason: reason.into(),
    };
    match error.kind() {
        ErrorKind::StorageFull => full("no space is left on the device"),
        ErrorKind::QuotaExceeded => full("the disk quota is used up"),
        ErrorKind::FileTooLarge => full("the largest size of a file is reached"),
        ErrorKind::UnexpectedEof => damaged(&path, "it ends too early"),
        ErrorKind::InvalidData => damaged(&path, "it is not a store of this program"),
        ErrorKind::PermissionDenied => io(format!(
            "{} may not read and write it ({error}); give the file and the folder {} to that user, \
             or set `store.embedded.path` to a place that it may write",
            user(),
            folder(&path).display()
        )),
        ErrorKind::ReadOnlyFilesystem => io(format!(
            "the file system of the folder {} is read-only; set `store.embedded.path` to a place \
             that {} may write",
            folder(&path).display(),
            user()
        )),
        ErrorKind::IsADirectory => io(
            "it is a folder; set `store.embedded.path` to a file, for example `routes.redb` in it"
                .to_owned(),
        ),
        ErrorKind::NotADirectory => io(format!(
            "a part of {} is a file and not a folder; set `store.embedded.path` to another place",
            folder(&path).display()
        )),
        _ => io(format!(
            "{error}; look after the disk and the folder {}, then try again",
            folder(&path).display()
        )),
    }
}

/// redb's error.
pub(super) fn redb(path: &Path, error: redb::Error) -> StoreError {
    use redb::Error;
    match error {
        Error::Io(error) => system(path, &error),
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::Locked {
            path: path.to_path_buf(),
        },
        Error::PreviousIo | Error::DatabaseClosed | Error::Backend(_) | Error::ValueTooLarge(_) => {
            StoreError::Io {
                path: path.to_path_buf(),
                reason: error.to_string().into(),
            }
        }
        Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TableIsNotMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_) => damaged(
            path,
            &format!("it is not a store of this program, but a database of another ({error})"),
        ),
        Error::UpgradeRequired(version) => damaged(
            path,
            &format!("it has version {version} of redb's format, which is not read any more"),
        ),
        error => damaged(path, &error.to_string()),
    }
}

/// A file that is not what was written.
pub(super) fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged {
        path: path.to_path_buf(),
        reason: reason.into(),
    }
}

/// Another file is in the place of this store's.
pub(super) fn replaced(path: &Path) -> StoreError {
    StoreError::Io {
        path: path.to_path_buf(),
        reason:
            "another file is there than the one that the routes are in; put that back, or restart \
                 the proxy to go on with this one"
                .into(),
    }
}

/// Runs what may panic on a damaged file.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let reason = said(panic.as_ref());
        Err(damaged(
            path,
            &format!("reading it came to an end by `{reason}`"),
        ))
    })
}

fn said(panic: &(dyn Any + Send)) -> Arc<str> {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
        .into()
}

/// The folder that the file is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Who this process is, for a message.
fn user() -> String {
    let id = geteuid();
    match User::from_uid(id) {
        Ok(Some(user)) => format!("the user {} ({id})", user.name),
        Ok(None) | Err(_) => format!("the user {id}"),
    }
}
