//! The file: made whole or not at all, for one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::StoreError;
use super::fault;

/// The file, locked until it is closed; `content` gives a new one its first content.
pub(super) fn open(
    path: &Path,
    content: impl Fn(&Arc<File>) -> Result<(), StoreError>,
) -> Result<Arc<File>, StoreError> {
    let system = |error: io::Error| fault::system(path, &error);
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => {
                lock(path, &file)?;
                if !file.metadata().map_err(system)?.is_file() {
                    return Err(fault::damaged(path, "it is not a regular file"));
                }
                return Ok(Arc::new(file));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(system(error)),
        }
        if let Some(file) = create(path, &content)? {
            return Ok(file);
        }
    }
}

/// Where a file is now, beside where it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// There.
    There,
    /// Nothing is there.
    Removed,
    /// Another file is there.
    Replaced,
}

/// Whether the file is still the one of this name, which the next start will look for.
pub(super) fn file_state(file: &File, path: &Path) -> io::Result<FileState> {
    let this = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) if (this.dev(), this.ino()) == (there.dev(), there.ino()) => Ok(FileState::There),
        Ok(_) => Ok(FileState::Replaced),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(FileState::Removed)
        }
        Err(error) => Err(error),
    }
}

/// The first content of a file that takes the place of another.
pub(super) fn copy(from: &File, to: &File) -> io::Result<()> {
    let (mut from, mut to) = (from, to);
    from.rewind()?;
    io::copy(&mut from, &mut to).map(|_bytes| ())
}

/// A new file: it gets its name once it is whole and on disk, so that a crash leaves no half file
/// under that name. `None` if another process was quicker.
pub(super) fn create(
    path: &Path,
    content: impl Fn(&Arc<File>) -> Result<(), StoreError>,
) -> Result<Option<Arc<File>>, StoreError> {
    let system = |error: io::Error| fault::system(path, &error);
    let folder = fault::folder(path);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(system)?;
    let temporary = temporary(path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&temporary)
        .map_err(system)?;
    // Whoever holds this lock on the file of this name makes the store.
    lock(path, &file)?;
    if file_state(&file, &temporary).map_err(system)? != FileState::There {
        return Ok(None);
    }
    if path.try_exists().map_err(system)? {
        fs::remove_file(&temporary).map_err(system)?;
        return Ok(None);
    }
    file.set_len(0).map_err(system)?;
    let file = Arc::new(file);
    let made = content(&file).and_then(|()| {
        file.sync_all().map_err(system)?;
        fs::rename(&temporary, path).map_err(system)?;
        // The name is on disk once its folder is.
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(system)
    });
    match made {
        Ok(()) => Ok(Some(file)),
        Err(error) => {
            // It holds nothing, and the next start begins anew with it.
            if let Err(left) = fs::remove_file(&temporary)
                && left.kind() != ErrorKind::NotFound
            {
                log::warn!("{} is left over: {left}", temporary.display());
            }
            Err(error)
        }
    }
}

fn lock(path: &Path, file: &File) -> Result<(), StoreError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Locked {
            path: path.to_path_buf(),
        },
        TryLockError::Error(error) => fault::system(path, &error),
    })
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
