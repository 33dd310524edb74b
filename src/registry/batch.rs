//! Changes that are made in one commit: tried one behind the other, kept by the store, published.

use super::State;
use super::attempt::Attempt;
use super::change::{Change, ChangeError, Outcome};
use super::effects::{self, Effects};
use super::limits::{Account, Usage};
use super::records;
use super::shared::{Core, Shared};
use super::step::Step;
use super::store::StoreError;

/// The result of a change, for whoever has asked for it.
pub(super) type Answer = Result<Outcome, ChangeError>;

/// Changes that were tried, and what has to be done once they are kept.
struct Batch {
    state: State,
    /// The steps of those that can be made, each with its place among the changes.
    made: Vec<(usize, Vec<Step>)>,
    answers: Vec<Answer>,
    /// The usage that they add, less the usage that they take away.
    usage: Usage,
}

impl Shared {
    /// Makes changes, each as a whole or not at all, in one commit. With `anyway` they are made though
    /// the store fails: what ends by itself would end after a restart as well.
    pub(super) fn process(
        &self,
        core: &mut Core,
        changes: &[Change],
        keep: bool,
        anyway: bool,
    ) -> Vec<Answer> {
        let batch = self.attempt(core, changes);
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
        for (index, steps) in batch.made {
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
        fail(&mut answers, &heavy, error);
        if heavy.is_empty() {
            fail(&mut answers, &light, error);
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
}

/// Answers changes that are not made, since the store fails.
fn fail(answers: &mut [Answer], made: &[(usize, Vec<Step>)], error: &StoreError) {
    for (index, steps) in made {
        effects::renew_unkept(steps);
        if let Some(answer) = answers.get_mut(*index) {
            *answer = Err(error.clone().into());
        }
    }
}
