//! The state that the writer works on: the live state, which everybody reads, and the part that only the
//! writer touches.

use log::{error, warn};
use parking_lot::Mutex;

use super::State;
use super::clock::Clock;
use super::events::Events;
use super::limits::{Limits, Meters, Usage};
use super::store::{Meta, Store, StoreError, Write};
use super::timers::Timers;
use crate::route::Live;

/// Cuts what is in flight on the instance with this serial number, and says how much it was.
pub(crate) type Cut = Box<dyn Fn(u64) -> usize + Send + Sync>;

/// The state that the writer shares with everybody.
pub(super) struct Shared {
    pub(super) live: Live<State>,
    pub(super) events: Events,
    pub(super) clock: Clock,
    pub(super) core: Mutex<Core>,
    pub(super) cut: Mutex<Option<Cut>>,
    pub(super) limits: Limits,
    pub(super) meters: Meters,
}

/// The state that only the writer touches.
pub(super) struct Core {
    pub(super) store: Option<Box<dyn Store>>,
    pub(super) leases: Timers,
    pub(super) drains: Timers,
    /// The usage of the table.
    pub(super) usage: Usage,
    /// When the store was told the time.
    pub(super) told: u64,
    pub(super) is_durable: bool,
    is_failing: bool,
}

impl Shared {
    /// The live state, and what the writer keeps beside it.
    pub(super) fn new(
        state: State,
        leases: Timers,
        clock: Clock,
        store: Box<dyn Store>,
        limits: Limits,
    ) -> Self {
        let (usage, meters) = (Usage::of(state.routes.iter()), Meters::default());
        meters.show(&usage);
        let core = Core {
            is_durable: store.name() != "memory",
            store: Some(store),
            leases,
            drains: Timers::default(),
            usage,
            told: clock.now(),
            is_failing: false,
        };
        Self {
            live: Live::new(state),
            events: Events::default(),
            clock,
            core: Mutex::new(core),
            cut: Mutex::new(None),
            limits,
            meters,
        }
    }

    pub(super) fn publish(&self, state: State) {
        self.live.update(|current| *current = state);
    }

    /// Writes the time to the store.
    pub(super) fn persist_clock(&self, core: &mut Core) {
        let now = self.clock.now();
        if !core.is_durable || core.store.is_none() {
            // Nobody to tell; not again at once.
            core.told = now;
            return;
        }
        let state = self.live.snapshot();
        if core.keep(&[], &state, now).is_err() {
            // Said already; not again at once.
            core.told = now;
        }
    }
}

impl Core {
    /// Has the store keep the writes.
    pub(super) fn keep(
        &mut self,
        writes: &[Write],
        state: &State,
        now: u64,
    ) -> Result<(), StoreError> {
        let meta = Meta {
            generation: state.generation().0,
            clock: now,
        };
        let Some(store) = &mut self.store else {
            return Err(StoreError::Closed);
        };
        let kept = store.commit(writes, meta);
        match &kept {
            Ok(()) => {
                self.told = now;
                if std::mem::take(&mut self.is_failing) {
                    warn!("the store works again");
                }
            }
            Err(error) => {
                self.is_failing = true;
                error!("the store fails: {error}");
            }
        }
        kept
    }
}
