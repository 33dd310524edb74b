//! The decision about a request: the stages, in the order in which they apply.

use futures_util::future::BoxFuture;

use super::admission::{Admission, OwnReply, Verdict};
use super::policy::Policy;
use super::stages::{
    body_limit, challenge, health, https_listener, registration, route, tls_policy, well_formed,
};

/// The stages. A new one is a file in `stages` and a line here.
static STAGES: [Stage; 8] = [
    Stage::once(registration::check),
    Stage::once(challenge::check),
    Stage::once(well_formed::check),
    Stage::once(health::check),
    Stage::once(https_listener::check),
    Stage::once(body_limit::check),
    Stage::for_each_try(route::check),
    Stage::for_each_try(tls_policy::check),
];

/// One step of the decision.
struct Stage {
    run: Run,
    /// Whether it runs again when the request is sent again, since the table may have changed. What counts
    /// or authenticates runs once.
    for_each_try: bool,
}

/// How a stage is run.
#[derive(Clone, Copy)]
enum Run {
    /// It answers at once.
    AtOnce(fn(&Policy, &mut Admission<'_>) -> Verdict),
    /// It may wait, for somebody else's answer.
    #[cfg_attr(not(test), expect(dead_code, reason = "no stage waits yet"))]
    MayWait(for<'a> fn(&'a Policy, &'a mut Admission<'_>) -> BoxFuture<'a, Verdict>),
}

impl Stage {
    const fn once(run: fn(&Policy, &mut Admission<'_>) -> Verdict) -> Self {
        Self {
            run: Run::AtOnce(run),
            for_each_try: false,
        }
    }

    const fn for_each_try(run: fn(&Policy, &mut Admission<'_>) -> Verdict) -> Self {
        Self {
            for_each_try: true,
            ..Self::once(run)
        }
    }
}

/// The treatment of a request.
pub(super) enum Outcome {
    Control,
    Reply(Box<OwnReply>),
    /// It goes to the instance that was found.
    Forward,
}

impl Policy {
    /// Decides what becomes of a request.
    pub(super) async fn decide(&self, admission: &mut Admission<'_>) -> Outcome {
        run(&STAGES, self, admission, false).await
    }

    /// Decides again, when the request is to be sent again: its route may be another by now, and ask for
    /// more.
    pub(super) async fn decide_again(&self, admission: &mut Admission<'_>) -> Outcome {
        run(&STAGES, self, admission, true).await
    }
}

async fn run(
    stages: &[Stage],
    policy: &Policy,
    admission: &mut Admission<'_>,
    is_again: bool,
) -> Outcome {
    for stage in stages
        .iter()
        .filter(|stage| stage.for_each_try || !is_again)
    {
        let verdict = match stage.run {
            Run::AtOnce(run) => run(policy, admission),
            Run::MayWait(run) => run(policy, admission).await,
        };
        match verdict {
            Verdict::Pass => {}
            Verdict::Control => return Outcome::Control,
            Verdict::Reply(reply) => return Outcome::Reply(reply),
        }
    }
    Outcome::Forward
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::front::test_request;
    use crate::proxy::GatewayOptions;
    use crate::registry::{Registry, Rules};

    static COUNTED: AtomicUsize = AtomicUsize::new(0);

    fn count(_: &Policy, _: &mut Admission<'_>) -> Verdict {
        COUNTED.fetch_add(1, Ordering::SeqCst);
        Verdict::Pass
    }

    fn wait<'a>(_: &'a Policy, admission: &'a mut Admission<'_>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            admission.is_trusted = true;
            Verdict::Pass
        })
    }

    #[tokio::test]
    async fn what_counts_runs_once_and_a_stage_may_wait() {
        let registry = Arc::new(Registry::new(Rules::default()));
        let policy = Policy::new(registry, GatewayOptions::default(), Vec::new(), None);
        let stages = [
            Stage::once(count),
            Stage {
                run: Run::MayWait(wait),
                for_each_try: true,
            },
        ];
        let request = test_request("GET", "/", &[("Host", "a")]);
        for is_again in [false, true, true] {
            let mut admission = Admission::new(&policy, &request);
            let outcome = run(&stages, &policy, &mut admission, is_again).await;
            assert!(matches!(outcome, Outcome::Forward) && admission.is_trusted);
        }
        assert_eq!(COUNTED.load(Ordering::SeqCst), 1);
    }
}
