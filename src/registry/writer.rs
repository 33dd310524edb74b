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

use log::{error, warn};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::attempt::{Attempt, Move, Step};
use super::change::{Change, ChangeError, Edit, Edits, Outcome};
use super::clock::Clock;
use super::effects::{self, Effects};
use super::limits::{Account, Limits, Meters, Usage};
use super::store::{Meta, Store, StoreError, Write};
use super::timers::Timers;
use super::{Actor, Events, State, records};
use crate::route::{Live, RouteKey};

/// The most changes that share a commit.
const MOST_AT_ONCE: usize = 4096;

/// The most leases that end in one change.
const MOST_EXPIRED: usize = 4096;

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

/// Cuts what is in flight on the instance with this serial number, and says how much it was.
pub(crate) type Cut = Box<dyn Fn(u64) -> usize + Send + Sync>;

type Answer = Result<Outcome, ChangeError>;

/// Changes that were tried, and what has to be done once they are kept.
struct Batch {
    state: State,
    /// The steps of those that can be made, each with its place among the changes.
    made: Vec<(usize, Vec<Step>)>,
    answers: Vec<Answer>,
    /// What they add and take.
    usage: Usage,
}

/// What the writer's thread is told.
pub(super) enum Job {
    Change(Change, oneshot::Sender<Answer>),
    /// There may be a new end to wait for.
    Wake,
}

/// What the writer shares with everybody.
pub(super) struct Shared {
    pub(super) live: Live<State>,
    pub(super) events: Events,
    pub(super) clock: Clock,
    core: Mutex<Core>,
    pub(super) cut: Mutex<Option<Cut>>,
    limits: Limits,
    pub(super) meters: Meters,
}

/// What only the writer touches.
pub(super) struct Core {
    store: Option<Box<dyn Store>>,
    pub(super) leases: Timers,
    pub(super) drains: Timers,
    /// What the table holds.
    usage: Usage,
    /// When the store was told the time.
    told: u64,
    is_durable: bool,
    is_failing: bool,
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
        let now = clock.now();
        let (usage, meters) = (Usage::of(state.routes.iter()), Meters::default());
        meters.show(&usage);
        let core = Core {
            is_durable: store.name() != "memory",
            store: Some(store),
            leases,
            drains: Timers::default(),
            usage,
            told: now,
            is_failing: false,
        };
        let shared = Shared {
            live: Live::new(state),
            events: Events::default(),
            clock,
            core: Mutex::new(core),
            cut: Mutex::new(None),
            limits,
            meters,
        };
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
            self.look();
        }
        answers
            .pop()
            .unwrap_or(Err(ChangeError::Store(StoreError::Closed)))
    }

    fn look(&self) {
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
            let mut batch = Vec::new();
            match jobs.recv_timeout(wait) {
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            thread::sleep(next_commit.saturating_duration_since(Instant::now()));
            batch.extend(jobs.try_iter().take(MOST_AT_ONCE));
            let (changes, answers): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .filter_map(|job| match job {
                    Job::Change(change, answer) => Some((change, answer)),
                    Job::Wake => None,
                })
                .unzip();
            let mut core = self.core.lock();
            if !changes.is_empty() {
                if core.is_durable {
                    next_commit = Instant::now() + COMMIT_PACE;
                }
                let outcomes = self.process(&mut core, &changes, true, false);
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    if answer.send(outcome).is_err() {
                        log::debug!("whoever asked for a change has gone before its answer");
                    }
                }
            }
            self.end_leases(&mut core);
            self.end_drains(&mut core);
            if !core.leases.is_empty() && self.clock.now() >= core.told + CLOCK_TICK {
                self.persist_clock(&mut core);
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

    /// Makes changes, each as a whole or not at all, in one commit. With `anyway` they are made though
    /// the store fails: what ends by itself would end after a restart as well.
    fn process(
        &self,
        core: &mut Core,
        changes: &[Change],
        keep: bool,
        anyway: bool,
    ) -> Vec<Answer> {
        let mut batch = self.attempt(core, changes);
        if batch.made.is_empty() {
            return batch.answers;
        }
        if keep {
            let writes = records::writes(batch.made.iter().flat_map(|(_, steps)| steps));
            let kept = core.keep(&writes, &batch.state, self.clock.now());
            if let (Err(error), false) = (kept, anyway) {
                return self.unkept(core, changes, batch, &error);
            }
        }
        self.publish(batch.state);
        core.usage.add(&batch.usage);
        self.meters.show(&core.usage);
        for (index, steps) in batch.made.drain(..) {
            if let (Some(change), Some(Ok(outcome))) =
                (changes.get(index), batch.answers.get(index))
            {
                let effects = Effects::new(self, core, &change.actor, outcome.generation);
                effects.of(steps, outcome.counts);
            }
        }
        batch.answers
    }

    /// Tries changes, one behind the other, on a copy of the state.
    fn attempt(&self, core: &Core, changes: &[Change]) -> Batch {
        let now = self.clock.now();
        let mut batch = Batch {
            state: State::clone(&self.live.load()),
            made: Vec::new(),
            answers: Vec::with_capacity(changes.len()),
            usage: Usage::default(),
        };
        for change in changes {
            let mut attempt = Attempt::new(batch.state.clone(), &change.actor, now);
            let made = attempt.make(change).and_then(|outcome| {
                let moved = Usage::change(&attempt.steps, [&core.usage, &batch.usage]);
                self.account(core, &batch.usage, &moved)?;
                Ok((outcome, moved))
            });
            if let Ok((_, moved)) = &made
                && !change.dry_run
                && !attempt.steps.is_empty()
            {
                batch.state = attempt.state;
                batch.usage.add(moved);
                batch.made.push((batch.answers.len(), attempt.steps));
            }
            batch.answers.push(made.map(|(outcome, _)| outcome));
        }
        batch
    }

    /// Whether a change stays within the limits on the table.
    fn account(&self, core: &Core, pending: &Usage, moved: &Usage) -> Result<(), ChangeError> {
        let account = Account {
            limits: &self.limits,
            table: &core.usage,
            pending,
        };
        account.check(moved).map_err(|exceeded| {
            self.meters.refuse(exceeded.limit);
            ChangeError::Limit(exceeded)
        })
    }

    /// Answers changes that the store has not kept. On a full disk those that only take away are made
    /// all the same, without the others: the store has room for them.
    fn unkept(
        &self,
        core: &mut Core,
        changes: &[Change],
        batch: Batch,
        error: &StoreError,
    ) -> Vec<Answer> {
        let mut answers = batch.answers;
        let is_full = matches!(error, StoreError::Full { .. });
        let (light, heavy): (Vec<_>, Vec<_>) = batch
            .made
            .into_iter()
            .partition(|(_, steps)| is_full && steps.iter().all(Step::takes_away));
        let fail = |answers: &mut Vec<Answer>, made: &[(usize, Vec<Step>)]| {
            for (index, steps) in made {
                effects::renew_unkept(steps);
                if let Some(answer) = answers.get_mut(*index) {
                    *answer = Err(error.clone().into());
                }
            }
        };
        fail(&mut answers, &heavy);
        if heavy.is_empty() {
            fail(&mut answers, &light);
            return answers;
        }
        let again = light.iter().filter_map(|(index, _)| changes.get(*index));
        let again: Vec<Change> = again.cloned().collect();
        let outcomes = self.process(core, &again, true, false);
        for ((index, _), outcome) in light.iter().zip(outcomes) {
            if let Some(answer) = answers.get_mut(*index) {
                *answer = outcome;
            }
        }
        answers
    }

    fn publish(&self, state: State) {
        self.live.update(|current| *current = state);
    }

    /// Writes the time to the store.
    fn persist_clock(&self, core: &mut Core) {
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

    /// Ends the leases whose time has come and that were not renewed.
    fn end_leases(&self, core: &mut Core) {
        let now = self.clock.now();
        let due = core.leases.due(now, MOST_EXPIRED);
        let mut edits = Vec::new();
        for (serial, key) in due {
            let state = self.live.load();
            let lease = state.routes.get(&key).and_then(|route| {
                let instance = route.instances().find(|i| i.serial == serial)?;
                instance.lease.as_ref()
            });
            match lease {
                Some(lease) if lease.ends() > now => {
                    core.leases.set(serial, lease.ends(), key.clone());
                }
                Some(_) => edits.push(Edit::Expire(key, serial)),
                None => {}
            }
        }
        if edits.is_empty() {
            return;
        }
        let change = Change {
            edits: Edits::Each(edits),
            conditions: Vec::new(),
            dry_run: false,
            actor: Actor::local("lease"),
        };
        let is_open = core.store.is_some();
        for answer in self.process(core, &[change], is_open, true) {
            if let Err(error) = answer {
                error!("leases have ended, but their routes stay: {error}");
            }
        }
    }

    /// Ends the drains whose time has come, or that have nothing in flight any more.
    fn end_drains(&self, core: &mut Core) {
        if core.drains.is_empty() {
            return;
        }
        let now = self.clock.now();
        let state = State::clone(&self.live.load());
        let generation = state.generation();
        let actor = Actor::local("drain");
        let mut attempt = Attempt::new(state, &actor, now);
        let entries: Vec<(u64, RouteKey)> = core
            .drains
            .iter()
            .map(|(serial, key)| (serial, key.clone()))
            .collect();
        for (serial, key) in entries {
            let instance = attempt.state.draining.get(&key).and_then(|route| {
                let instance = route.instances().find(|i| i.serial == serial)?;
                Some(Arc::clone(instance))
            });
            let Some(instance) = instance else {
                core.drains.remove(serial);
                continue;
            };
            let is_over = instance.drain_ends().is_some_and(|ends| ends <= now);
            let is_idle = instance.in_flight() == 0;
            if is_over || is_idle {
                attempt.gone(&key, &instance, !is_idle);
            }
        }
        let (state, steps) = (attempt.state, attempt.steps);
        if !steps.is_empty() {
            self.publish(state);
            let counts = super::Counts::default();
            Effects::new(self, core, &actor, generation).of(steps, counts);
        }
    }
}

impl Core {
    /// Has the store keep the writes.
    fn keep(&mut self, writes: &[Write], state: &State, now: u64) -> Result<(), StoreError> {
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

impl Move {
    /// The key of the route that moves.
    pub(super) fn key(&self) -> Option<RouteKey> {
        let route = self.after.as_ref().or(self.before.as_ref())?;
        Some(route.key())
    }
}
