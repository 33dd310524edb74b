//! The open load: requests arrive at a fixed rate, whether the answers come or not. A request's time
//! counts from its arrival, so one that had to wait for a slot counts with its wait: that is what
//! corrects for coordinated omission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Slot;
use super::stream::PATIENCE;
use crate::Result;

/// What was measured: how long each request took, in microseconds, sorted.
pub(crate) struct Open {
    pub(crate) micros: Vec<u32>,
    pub(crate) errors: Vec<String>,
}

struct State {
    begin: Instant,
    /// Between two arrivals.
    step: Duration,
    /// How many arrive in all, and of how many from the start the time is not kept.
    arrivals: u64,
    warm: u64,
    /// A permit for each arrival that no slot has taken, in the order in which slots came.
    waiting: Semaphore,
    taken: AtomicU64,
    micros: Mutex<Vec<u32>>,
    errors: Mutex<Vec<String>>,
}

/// Loads at `rate` requests a second for `warm` and then for `time`, which alone counts.
pub(crate) async fn run<S: Slot>(
    slots: Vec<S>,
    rate: f64,
    warm: Duration,
    time: Duration,
) -> Result<Open> {
    let arrivals = (rate * (warm + time).as_secs_f64()).ceil() as u64;
    let state = Arc::new(State {
        begin: Instant::now(),
        step: Duration::from_secs_f64(1.0 / rate),
        arrivals,
        warm: (rate * warm.as_secs_f64()) as u64,
        waiting: Semaphore::new(0),
        taken: AtomicU64::new(0),
        micros: Mutex::new(Vec::with_capacity(arrivals as usize)),
        errors: Mutex::default(),
    });
    let tasks: Vec<_> = slots
        .into_iter()
        .map(|slot| tokio::spawn(work(slot, Arc::clone(&state))))
        .collect();
    let mut arrived = 0;
    while arrived < arrivals {
        // This thread does not sleep: see [`super::awake`]. What was due while it was busy arrives now.
        tokio::task::yield_now().await;
        let due = (state.begin.elapsed().as_secs_f64() * rate) as u64;
        let due = due.min(arrivals);
        if due > arrived {
            state.waiting.add_permits((due - arrived) as usize);
            arrived = due;
        }
    }
    // One more for each slot, which ends it.
    state.waiting.add_permits(tasks.len());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for mut task in tasks {
        if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
            task.abort();
            state.errors.lock().push("no answer in 20 s".to_owned());
        }
    }
    let mut micros = std::mem::take(&mut *state.micros.lock());
    micros.sort_unstable();
    let errors = std::mem::take(&mut *state.errors.lock());
    Ok(Open { micros, errors })
}

async fn work<S: Slot>(mut slot: S, state: Arc<State>) {
    loop {
        match state.waiting.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_closed) => return,
        }
        let number = state.taken.fetch_add(1, Ordering::Relaxed);
        if number >= state.arrivals {
            return;
        }
        if let Err(error) = slot.ask().await {
            state.errors.lock().push(error.to_string());
            return;
        }
        if number >= state.warm {
            let due = state.begin + state.step.mul_f64((number + 1) as f64);
            let took = due.elapsed().as_micros();
            let took = u32::try_from(took).unwrap_or(u32::MAX);
            state.micros.lock().push(took);
        }
    }
}
