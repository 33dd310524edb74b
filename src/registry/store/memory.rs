//! The store that keeps nothing: routes live as long as the process.

use super::{Meta, Store, StoreError, Stored, Write};

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Store for Memory {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored {
            epoch: fastrand::u32(..),
            ..Stored::default()
        })
    }

    fn commit(&mut self, _writes: &[Write], _meta: Meta) -> Result<(), StoreError> {
        Ok(())
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}
