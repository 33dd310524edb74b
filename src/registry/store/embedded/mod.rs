//! The store in one file.
//!
//! It is redb's: a copy-on-write B-tree in one file, in safe Rust, with no background threads and
//! no log to replay, whose commits are transactions and whose pages all have checksums. What it
//! does not do is done here:
//!
//! - A plain open trusts a file that was closed, panics on some damage, and repairs by going back to
//!   an older commit. So each open first reads all of the file as a trial that writes nothing, with
//!   every checksum ([`backend::Trial`]), and looks at the one bit without one ([`header`]).
//! - A one-phase commit may be taken for one that never was when its pages are damaged, so that an
//!   older state comes back: commits have two phases, which are two syncs.
//! - After an error it refuses everything until it is opened again: the next commit does so, and
//!   first puts the header back that was there before the commit that failed ([`backend::Disk`]).
//! - A removal needs free pages, too, since no page is written over: a commit that adds leaves some in
//!   the file ([`mod@format`]), so that routes can be removed on a full disk.
//! - A file that is open can be removed, and takes commits all the same: each commit looks whether the
//!   file is still where the next start looks for it.
//! - Its locks have changed between its releases: the lock is this module's, an exclusive `flock`,
//!   held as long as the file is open.

mod backend;
mod fault;
mod file;
mod format;
mod format1;
mod header;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, Durability, ReadableDatabase};

use self::backend::{Before, Disk, Trial, read_header};
use self::fault::guarded;
use self::file::FileState;
use self::format::Fault;
use self::header::Commits;
use super::{Meta, Store, StoreError, Stored, Write};

/// redb's memory for pages, in bytes: it grows with the file up to this.
const CACHE: usize = 16 * 1024 * 1024;
/// A file below this size, in bytes, is left as it is.
const COMPACT_FROM: u64 = 8 * 1024 * 1024;
/// A file that is this many times as large as its content is made smaller.
const COMPACT_AT: u64 = 8;

/// Keeps the routes in one file.
#[derive(Debug)]
pub struct Embedded {
    path: PathBuf,
    /// `None` after an error, until the next commit.
    open: Option<Open>,
    /// The state that the file has to have before it is opened again.
    before: Option<Before>,
    /// The number of the last commit.
    commits: u64,
    /// Holds the lock: the last to be closed.
    file: Arc<File>,
}

#[derive(Debug)]
struct Open {
    database: Database,
    disk: Disk,
}

impl Embedded {
    /// Opens the store, and makes it first if there is no such file: with the folders that are
    /// missing, for nobody else to read. The file is locked until this is dropped.
    ///
    /// # Errors
    /// [`StoreError`]: the file is in use, damaged, or of a later release, which leave it as it is;
    /// or the system refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = file::open(path, |file| guarded(path, || make(path, file)))?;
        guarded(path, || examine(path, &file))?;
        let open = open(path, &file)?;
        guarded(path, || upgrade(path, &open.database))?;
        let commits = guarded(path, || {
            let transaction = open.database.begin_read().map_err(Fault::from);
            let checked = transaction.and_then(|transaction| format::check(&transaction));
            checked.map_err(|fault| explain(path, fault))
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            open: Some(open),
            before: None,
            commits,
            file,
        })
    }

    /// The file, opened again if it had to be closed.
    fn opened(&mut self) -> Result<Open, StoreError> {
        if let Some(open) = self.open.take() {
            return Ok(open);
        }
        let system = |error| fault::system(&self.path, &error);
        if let Some(before) = &self.before {
            before.restore(&self.file).map_err(system)?;
            self.before = None;
        }
        let open = open(&self.path, &self.file)?;
        let found = guarded(&self.path, || {
            let transaction = open.database.begin_read().map_err(Fault::from);
            let checked = transaction.and_then(|transaction| format::check(&transaction));
            checked.map_err(|fault| explain(&self.path, fault))
        })?;
        if found != self.commits {
            let reason = format!("its last commit is {found} and not {}", self.commits);
            return Err(fault::damaged(&self.path, &reason));
        }
        Ok(open)
    }

    /// Makes sure that the file is where the next start looks for it: a commit to a file without a name
    /// is not kept. One that was removed is written anew, one that was replaced is an error.
    fn in_place(&mut self) -> Result<(), StoreError> {
        let standing = file::file_state(&self.file, &self.path);
        match standing.map_err(|error| fault::system(&self.path, &error))? {
            FileState::There => Ok(()),
            FileState::Removed => self.write_anew(),
            FileState::Replaced => Err(fault::replaced(&self.path)),
        }
    }

    /// Gives the routes a file of the old name.
    fn write_anew(&mut self) -> Result<(), StoreError> {
        // Closed, all of it is in the file.
        let open = self.opened()?;
        guarded(&self.path, || {
            let closed = open.database.close();
            closed.map_err(|error| fault::redb(&self.path, error.into()))
        })?;
        let made = file::create(&self.path, |new| {
            file::copy(&self.file, new).map_err(|error| fault::system(&self.path, &error))
        });
        self.file = made?.ok_or_else(|| fault::replaced(&self.path))?;
        log::warn!(
            "{} had been removed; it has been written anew, with all routes",
            self.path.display()
        );
        Ok(())
    }

    /// Closes the file after an error, and says whether what was being written is kept all the same.
    fn failed(&mut self, open: Open, error: StoreError) -> Result<(), StoreError> {
        let Open { database, disk } = open;
        let settled = disk.settle();
        self.before = Some(settled.before);
        let closed = guarded(&self.path, || {
            drop(database);
            Ok(())
        });
        if let Err(error) = closed {
            log::error!("{error}");
        }
        let error = settled
            .error
            .map_or(error, |error| fault::system(&self.path, &error));
        if settled.committed {
            log::warn!("a commit was kept, and then: {error}");
            return Ok(());
        }
        // At once, since the file shows the new state otherwise if this process ends here.
        match self.opened() {
            Ok(open) => self.open = Some(open),
            Err(error) => log::warn!("the store stays closed until the next change: {error}"),
        }
        Err(error)
    }

    /// Makes a file smaller that is mostly free: its content has moved to its front already then, so
    /// there is little to do.
    fn compact(&mut self, content: u64) -> Result<(), StoreError> {
        let len = self.file.metadata();
        let len = len
            .map_err(|error| fault::system(&self.path, &error))?
            .len();
        if len < COMPACT_FROM || len / COMPACT_AT < content {
            return Ok(());
        }
        let mut open = self.opened()?;
        let done = guarded(&self.path, || {
            let compacted = open.database.compact();
            compacted.map_err(|error| fault::redb(&self.path, error.into()))
        });
        match done {
            Ok(_) => {
                self.open = Some(open);
                Ok(())
            }
            Err(error) => {
                // The content is the same in each of its steps, so the last one that is on disk does.
                open.disk.begin_synced();
                self.failed(open, error)
            }
        }
    }
}

impl Store for Embedded {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let open = self.opened()?;
        let stored = guarded(&self.path, || {
            let transaction = open.database.begin_read().map_err(Fault::from);
            let loaded = transaction.and_then(|transaction| format::load(&transaction));
            loaded.map_err(|fault| explain(&self.path, fault))
        });
        self.open = Some(open);
        let (stored, content) = stored?;
        if let Err(error) = self.compact(content) {
            log::warn!("the store cannot be made smaller: {error}");
        }
        Ok(stored)
    }

    fn commit(&mut self, writes: &[Write], meta: Meta) -> Result<(), StoreError> {
        let encoded = format::encode(writes).map_err(|error| StoreError::Io {
            path: self.path.clone(),
            reason: format!("a route cannot be written down: {error}").into(),
        })?;
        self.in_place()?;
        let open = self.opened()?;
        let number = self.commits + 1;
        if let Err(error) = open.disk.begin() {
            self.open = Some(open);
            return Err(fault::system(&self.path, &error));
        }
        let done = guarded(&self.path, || {
            let committed = transact(&open.database, |transaction| {
                format::apply(transaction, &encoded, meta, number)
            });
            committed.map_err(|fault| explain(&self.path, fault))
        });
        match done {
            Ok(()) => self.open = Some(open),
            Err(error) => self.failed(open, error)?,
        }
        self.commits = number;
        Ok(())
    }

    fn name(&self) -> &'static str {
        "embedded"
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let open = self.open.take();
        let closed = guarded(&self.path, || {
            match open.map(|open| open.database.close()) {
                Some(Err(error)) => Err(fault::redb(&self.path, error.into())),
                Some(Ok(())) | None => Ok(()),
            }
        });
        // Nothing is lost: the next open takes a little longer.
        if let Err(error) = closed {
            log::warn!("the store was not closed in order: {error}");
        }
    }
}

/// The first content of a new file.
fn make(path: &Path, file: &Arc<File>) -> Result<(), StoreError> {
    let Open { database, .. } = open(path, file)?;
    transact(&database, |transaction| {
        format::create(transaction, fastrand::u32(..))
    })
    .map_err(|fault| explain(path, fault))?;
    database
        .close()
        .map_err(|error| fault::redb(path, error.into()))
}

/// Brings a file that an earlier release wrote to the format that is written now, in one commit.
fn upgrade(path: &Path, database: &Database) -> Result<(), StoreError> {
    let found = database.begin_read().map_err(Fault::from);
    let found = found.and_then(|transaction| format::format(&transaction));
    let found = found.map_err(|fault| explain(path, fault))?;
    if found == format::FORMAT {
        return Ok(());
    }
    let mut routes = 0;
    transact(database, |transaction| {
        routes = format::upgrade(transaction)?;
        Ok(())
    })
    .map_err(|fault| explain(path, fault))?;
    log::info!(
        "{}: {routes} routes brought from format {found} to {}, which earlier releases do not read",
        path.display(),
        format::FORMAT
    );
    Ok(())
}

/// Opens the file for good.
fn open(path: &Path, file: &Arc<File>) -> Result<Open, StoreError> {
    let disk = Disk::new(Arc::clone(file)).map_err(|error| fault::system(path, &error))?;
    let database = guarded(path, || {
        let opened = builder().create_with_backend(disk.clone());
        opened.map_err(|error| fault::redb(path, error.into()))
    })?;
    Ok(Open { database, disk })
}

/// Reads all of the file and checks it; nothing is written unless the file is whole.
fn examine(path: &Path, file: &Arc<File>) -> Result<(), StoreError> {
    let system = |error| fault::system(path, &error);
    if file.metadata().map_err(system)?.len() == 0 {
        return Err(fault::damaged(path, "it is empty"));
    }
    let header = read_header(file).map_err(system)?;
    if !header::is_redb(&header) {
        return Err(fault::damaged(path, "it is not a store of this program"));
    }
    let commits = header::commits(&header);
    if commits == Commits::Reversed {
        return Err(fault::damaged(path, "its header is not as written"));
    }
    try_with(path, file, None)?;
    if commits == Commits::Between {
        // The newer one counts if it is whole. Its commit may not have been answered, but it is
        // the one that the bit pointed to if that was turned over.
        let flags = [header::other_flags(&header)];
        if guarded(path, || try_with(path, file, Some(flags))).is_ok() {
            let written = file.write_all_at(&flags, header::FLAGS as u64);
            written.and_then(|()| file.sync_data()).map_err(system)?;
        }
    }
    Ok(())
}

/// Opens the file without writing to it, and with other flags if there are some.
fn try_with(path: &Path, file: &Arc<File>, flags: Option<[u8; 1]>) -> Result<(), StoreError> {
    use redb::StorageBackend;
    let system = |error| fault::system(path, &error);
    let trial = Trial::new(Arc::clone(file)).map_err(system)?;
    if let Some(flags) = flags {
        trial.write(header::FLAGS as u64, &flags).map_err(system)?;
    }
    let database = builder()
        .set_check_integrity_on_open(true)
        .create_with_backend(trial)
        .map_err(|error| fault::redb(path, error.into()))?;
    let transaction = database.begin_read().map_err(Fault::from);
    let checked = transaction.and_then(|transaction| format::check(&transaction));
    checked.map(drop).map_err(|fault| explain(path, fault))
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// One commit.
fn transact(
    database: &Database,
    work: impl FnOnce(&redb::WriteTransaction) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    work(&transaction)?;
    transaction.commit()?;
    Ok(())
}

fn explain(path: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Redb(error) => fault::redb(path, error),
        Fault::Content(reason) => fault::damaged(path, &reason),
        Fault::Newer(found) => StoreError::Newer {
            path: path.to_path_buf(),
            found,
            known: format::FORMAT,
        },
    }
}
