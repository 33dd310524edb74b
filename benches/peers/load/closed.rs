//! The closed load: each slot asks again as soon as it has its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::stream::PATIENCE;
use super::{Slot, awake};
use crate::Result;
use crate::measure::{self, Cpu};

/// What was measured.
pub(crate) struct Closed {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Cpu,
    pub(crate) errors: Vec<String>,
}

#[derive(Default)]
struct State {
    done: AtomicBool,
    count: AtomicU64,
    errors: Mutex<Vec<String>>,
}

/// Loads for `warm` and then for `time`, which alone counts, while the process's time is taken.
pub(crate) async fn run<S: Slot>(
    slots: Vec<S>,
    warm: Duration,
    time: Duration,
    pid: u32,
) -> Result<Closed> {
    let state = Arc::new(State::default());
    let tasks: Vec<_> = slots
        .into_iter()
        .map(|slot| tokio::spawn(work(slot, Arc::clone(&state))))
        .collect();
    let awake = awake();
    tokio::time::sleep(warm).await;
    let before = (Instant::now(), measure::cpu(pid)?, count(&state));
    tokio::time::sleep(time).await;
    let after = (Instant::now(), measure::cpu(pid)?, count(&state));
    state.done.store(true, Ordering::Relaxed);
    drop(awake);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for mut task in tasks {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
            state.errors.lock().push("no answer in 20 s".to_owned());
        }
    }
    let errors = std::mem::take(&mut *state.errors.lock());
    Ok(Closed {
        requests: after.2 - before.2,
        seconds: (after.0 - before.0).as_secs_f64(),
        cpu: after.1.since(before.1),
        errors,
    })
}

fn count(state: &State) -> u64 {
    state.count.load(Ordering::Relaxed)
}

async fn work<S: Slot>(mut slot: S, state: Arc<State>) {
    while !state.done.load(Ordering::Relaxed) {
        match slot.ask().await {
            Ok(()) => {
                state.count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                // The round does not count, so the slot need not go on.
                state.errors.lock().push(error.to_string());
                return;
            }
        }
    }
}
