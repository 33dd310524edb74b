//! The table that requests see, and the one way to change it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::Table;

/// The current [`Table`]. Readers take it without waiting, whatever writers do, and write nothing that
/// another reader reads. Writers come one after the other.
pub struct LiveTable {
    current: ArcSwap<Table>,
    writer: Mutex<()>,
}

/// The table at one moment, for the time of a request.
pub type TableGuard = arc_swap::Guard<Arc<Table>>;

impl LiveTable {
    /// Publishes a table.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            current: ArcSwap::from_pointee(table),
            writer: Mutex::new(()),
        }
    }

    /// The table as it is now, to look up in. A thread should hold no more than a few at a time, each
    /// for a short time; keep a [`snapshot`](Self::snapshot) instead.
    #[must_use]
    pub fn load(&self) -> TableGuard {
        self.current.load()
    }

    /// The table as it is now, to keep.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// Makes changes and publishes them all at once. Every `load` that begins after this returns sees
    /// them. Nothing is published if `change` panics.
    pub fn update<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        let _turn = self.writer.lock();
        let mut table = Table::clone(&self.current.load());
        let result = change(&mut table);
        self.current.store(Arc::new(table));
        result
    }

    /// The same, for changes that can fail.
    ///
    /// # Errors
    /// What `change` returns; nothing is published then.
    pub fn try_update<R, E>(
        &self,
        change: impl FnOnce(&mut Table) -> Result<R, E>,
    ) -> Result<R, E> {
        let _turn = self.writer.lock();
        let mut table = Table::clone(&self.current.load());
        let result = change(&mut table)?;
        self.current.store(Arc::new(table));
        Ok(result)
    }
}

impl fmt::Debug for LiveTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveTable").field(&**self.load()).finish()
    }
}
