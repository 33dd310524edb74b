//! The only writer of the routes: changes in the order in which they come, many in one commit.
//!
//! A change is tried on a copy of the state, kept by the store, then published, and only then answered.
//! What comes while a commit is under way shares the next one. A thread of its own does so, since a
//! commit waits for the disk and a request must not; before the server runs (and before a daemon
//! forks, which threads do not survive) a change is made on the caller's thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use log::error;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::State;
use super::batch::Answer;
use super::change::{Change, ChangeError};
use super::clock::Clock;
use super::limits::Limits;
use super::shared::{Core, Shared};
use super::store::{Store, StoreError};
use super::timers::Timers;

/// The most changes that share a commit.
const MOST_AT_ONCE: usize = 4096;

/// How often draining instances are looked at.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// How often the store is told the time while there are leases, in milliseconds: what is left of a
/// lease after a crash is right to this.
const CLOCK_TICK: u64 = 10_000;

/// How far apart commits to a disk begin at least. A change that comes alone does not wait; of many,
/// those that come meanwhile share a commit, whose price hardly depends on how many they are.
const COMMIT_PACE: Duration = Duration::from_millis(4);

/// With nothing to wait for.
const LONG: Duration = Duration::from_hours(1);

/// A job for the writer's thread.
pub(super) enum Job {
    Change(Change, oneshot::Sender<Answer>),
    /// There may be a new end to wait for.
    Wake,
}

/// The writer, as the registry holds it. Its thread ends when this is dropped.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
}

impl Writer {
    pub(super) fn new(
        state: State,
        leases: Timers,
        clock: Clock,
        store: Box<dyn Store>,
        limits: Limits,
    ) -> Self {
        let shared = Shared::new(state, leases, clock, store, limits);
        Self {
            shared: Arc::new(shared),
            jobs: Mutex::new(None),
        }
    }

    /// Starts the thread, if it does not run.
    pub(super) fn start(&self) -> Option<Sender<Job>> {
        let mut jobs = self.jobs.lock();
        if jobs.is_none() {
            let (sender, receiver) = channel();
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("registry".to_owned());
            match thread.spawn(move || shared.run(&receiver)) {
                Ok(_thread) => *jobs = Some(sender),
                Err(error) => error!("the registry's thread cannot be started: {error}"),
            }
        }
        jobs.clone()
    }

    /// Makes a change on the writer's thread.
    pub(super) async fn change(&self, change: Change) -> Answer {
        let Some(jobs) = self.start() else {
            return self.change_here(change, true);
        };
        let (answer, answered) = oneshot::channel();
        let closed = || Err(ChangeError::Store(StoreError::Closed));
        if jobs.send(Job::Change(change, answer)).is_err() {
            return closed();
        }
        answered.await.unwrap_or_else(|_gone| closed())
    }

    /// Makes a change on this thread, and waits for the disk; kept only with `keep`.
    pub(super) fn change_here(&self, change: Change, keep: bool) -> Answer {
        let mut core = self.shared.core.lock();
        let mut answers = self.shared.process(&mut core, &[change], keep, false);
        let has_ends = !core.leases.is_empty() || !core.drains.is_empty();
        drop(core);
        if has_ends {
            self.wake();
        }
        answers
            .pop()
            .unwrap_or(Err(ChangeError::Store(StoreError::Closed)))
    }

    /// Has the thread look at the ends of leases and drains.
    fn wake(&self) {
        if let Some(jobs) = self.start()
            && jobs.send(Job::Wake).is_err()
        {
            error!("the registry's thread has ended; leases and drains do not end");
        }
    }

    /// Holds the writer up for as long as the guard lives.
    #[cfg(test)]
    pub(super) fn hold(&self) -> parking_lot::MutexGuard<'_, Core> {
        self.shared.core.lock()
    }

    /// Gives the store up: what was answered is kept, and nothing is changed from now on.
    pub(super) fn close(&self) {
        let mut core = self.shared.core.lock();
        self.shared.persist_clock(&mut core);
        core.store = None;
    }
}

impl Shared {
    fn run(&self, jobs: &Receiver<Job>) {
        let mut next_commit = Instant::now();
        loop {
            let wait = self.until_next(&self.core.lock());
            let first = match jobs.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            thread::sleep(next_commit.saturating_duration_since(Instant::now()));
            let batch = first.into_iter().chain(jobs.try_iter().take(MOST_AT_ONCE));
            let changes = batch.filter_map(|job| match job {
                Job::Change(change, answer) => Some((change, answer)),
                Job::Wake => None,
            });
            let (changes, answers): (Vec<_>, Vec<_>) = changes.unzip();
            let mut core = self.core.lock();
            if core.is_durable && !changes.is_empty() {
                next_commit = Instant::now() + COMMIT_PACE;
            }
            self.answer(&mut core, &changes, answers);
            self.end_leases(&mut core);
            self.end_drains(&mut core);
            if !core.leases.is_empty() && self.clock.now() >= core.told + CLOCK_TICK {
                self.persist_clock(&mut core);
            }
        }
    }

    /// Makes changes, and answers those who have asked for them.
    fn answer(&self, core: &mut Core, changes: &[Change], answers: Vec<oneshot::Sender<Answer>>) {
        if changes.is_empty() {
            return;
        }
        let outcomes = self.process(core, changes, true, false);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            if answer.send(outcome).is_err() {
                log::debug!("whoever asked for a change has gone before its answer");
            }
        }
    }

    /// How long nothing has to be done unless a job comes.
    fn until_next(&self, core: &Core) -> Duration {
        let now = self.clock.now();
        let tick = (!core.leases.is_empty() && core.is_durable).then_some(core.told + CLOCK_TICK);
        let ends = [core.leases.next(), core.drains.next(), tick];
        let until = ends
            .into_iter()
            .flatten()
            .min()
            .map_or(LONG, |next| Duration::from_millis(next.saturating_sub(now)));
        if core.drains.is_empty() {
            until
        } else {
            until.min(DRAIN_POLL)
        }
    }
}
