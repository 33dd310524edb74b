//! The answers to challenges of HTTP-01 (RFC 8555, 8.3).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The answers that are open, by token. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<ArcSwap<HashMap<Box<str>, Arc<str>>>>);

impl Answers {
    /// The answer to a token, if it is of a challenge that is open. Nobody waits.
    #[must_use]
    pub fn get(&self, token: &str) -> Option<Arc<str>> {
        self.0.load().get(token).map(Arc::clone)
    }

    /// Gives an answer until what comes back is dropped.
    pub(super) fn open(&self, token: &str, answer: &str) -> Open {
        let (key, answer): (Box<str>, Arc<str>) = (token.into(), answer.into());
        self.0.rcu(|answers| {
            let mut answers = HashMap::clone(answers);
            answers.insert(key.clone(), Arc::clone(&answer));
            answers
        });
        Open {
            answers: self.clone(),
            token: key,
        }
    }
}

/// An answer that is given.
#[derive(Debug)]
pub(super) struct Open {
    answers: Answers,
    token: Box<str>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.answers.0.rcu(|answers| {
            let mut answers = HashMap::clone(answers);
            answers.remove(&self.token);
            answers
        });
    }
}
