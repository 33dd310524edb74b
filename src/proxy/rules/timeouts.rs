//! How long either side may keep an exchange waiting.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Failure, Limit, STUCK, body_timeout};
use crate::front::{Now, ReusableTimer};
use crate::proxy::options::Timeouts;
use crate::registry::ProxyError;

/// The phase of an exchange: whom it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Phase {
    /// The client, for more of the request's body.
    Body,
    /// The upstream, to take what is sent to it.
    Sending,
    /// The upstream, to begin its final response.
    FirstByte,
    /// The upstream, for more of its response.
    Response,
    /// The client, to take what is sent to it.
    Client,
    /// Either side of a WebSocket, for a byte.
    Silence,
}

/// The phases that are on, each with its beginning.
#[derive(Debug, Default)]
pub(in crate::proxy) struct PhaseTimers([Option<Instant>; 6]);

impl Phase {
    const ALL: [Self; 6] = [
        Self::Body,
        Self::Sending,
        Self::FirstByte,
        Self::Response,
        Self::Client,
        Self::Silence,
    ];

    fn limit(self, timeouts: &Timeouts) -> Option<Duration> {
        match self {
            Self::Body => timeouts.client_body,
            Self::Sending | Self::Client => timeouts.send,
            Self::FirstByte => timeouts.first_byte,
            Self::Response => timeouts.between_bytes,
            Self::Silence => timeouts.websocket_idle,
        }
    }

    /// The failure when it takes longer than its key allows.
    fn failure(self) -> Failure {
        let upstream = |reason| Failure::upstream(ProxyError::Timeout, reason);
        match self {
            Self::Body => Failure::refused(
                body_timeout("timeouts.client_body"),
                "no more of the request's body comes (timeouts.client_body)",
            ),
            Self::Sending => Failure::unsent(),
            Self::FirstByte => Failure::late(Limit::FIRST_BYTE, "it did not begin its response"),
            Self::Response => Failure::late(Limit::BETWEEN_BYTES, "its response paused"),
            Self::Client => Failure::stuck(STUCK),
            Self::Silence => upstream("both sides are silent (timeouts.websocket_idle)"),
        }
    }
}

/// How far the sides of an exchange are.
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub(in crate::proxy) struct Progress {
    /// More of the request's body is to come from the client.
    pub(in crate::proxy) is_body_due: bool,
    /// Something waits for the upstream.
    pub(in crate::proxy) is_sending: bool,
    /// The upstream has the whole request.
    pub(in crate::proxy) is_sent: bool,
    /// Its final response has begun.
    pub(in crate::proxy) has_begun: bool,
    /// Something waits for the client.
    pub(in crate::proxy) is_taking: bool,
}

impl PhaseTimers {
    /// Notes who is waited for now. The upstream's time begins with the end of the request, whatever came
    /// before. Interim responses give it no more time to begin the final one.
    pub(in crate::proxy) fn note(&mut self, progress: &Progress, now: &mut Now) {
        let is_due = progress.is_sent && progress.has_begun && !progress.is_taking;
        let on = [
            (Phase::Body, progress.is_body_due && !progress.is_sending),
            (Phase::Sending, progress.is_sending),
            (Phase::FirstByte, progress.is_sent && !progress.has_begun),
            (Phase::Response, is_due),
            (Phase::Client, progress.is_taking),
        ];
        for (phase, is_on) in on {
            self.set(phase, is_on, now);
        }
    }

    /// Sets whether something is waited for; a phase that goes on keeps its beginning.
    pub(in crate::proxy) fn set(&mut self, phase: Phase, is_on: bool, now: &mut Now) {
        if let Some(since) = self.0.get_mut(phase as usize) {
            *since = is_on.then(|| since.unwrap_or_else(|| now.get()));
        }
    }

    /// A part of what was waited for has come: the phase begins anew.
    pub(in crate::proxy) fn restart(&mut self, phase: Phase) {
        if let Some(since) = self.0.get_mut(phase as usize) {
            *since = None;
        }
    }

    /// Ready once a phase has taken too long.
    pub(in crate::proxy) fn poll(
        &self,
        timeouts: &Timeouts,
        timer: &mut ReusableTimer,
        context: &mut Context<'_>,
    ) -> Poll<Failure> {
        let ends = Phase::ALL.into_iter().zip(&self.0);
        let ends = ends.filter_map(|(phase, since)| {
            let end = since.as_ref()?.checked_add(phase.limit(timeouts)?)?;
            Some((end, phase))
        });
        let Some((end, phase)) = ends.min_by_key(|(end, _)| *end) else {
            return Poll::Pending;
        };
        ready!(timer.poll(end, context));
        Poll::Ready(phase.failure())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Progress {
        Progress {
            is_body_due: false,
            is_sending: false,
            is_sent: true,
            has_begun: false,
            is_taking: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn interim_responses_do_not_lengthen_the_time_for_the_first_byte() {
        let timeouts = Timeouts {
            first_byte: Some(Duration::from_secs(2)),
            ..Timeouts::default()
        };
        let (mut timers, mut timer) = (PhaseTimers::default(), ReusableTimer::default());
        let begin = Instant::now();
        loop {
            // An interim response comes, and the client takes it.
            timers.restart(Phase::Response);
            for is_taking in [true, false] {
                let progress = Progress {
                    is_taking,
                    ..waiting()
                };
                timers.note(&progress, &mut Now::default());
            }
            let late = std::future::poll_fn(|context| timers.poll(&timeouts, &mut timer, context));
            let step = Duration::from_millis(300);
            if tokio::time::timeout(step, late).await.is_ok() {
                break;
            }
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_gives_the_response_its_time_again() {
        let timeouts = Timeouts {
            between_bytes: Some(Duration::from_secs(2)),
            ..Timeouts::default()
        };
        let (mut timers, mut timer) = (PhaseTimers::default(), ReusableTimer::default());
        for _ in 0..5 {
            timers.restart(Phase::Response);
            let progress = Progress {
                has_begun: true,
                ..waiting()
            };
            timers.note(&progress, &mut Now::default());
            let late = std::future::poll_fn(|context| timers.poll(&timeouts, &mut timer, context));
            assert!(
                tokio::time::timeout(Duration::from_secs(1), late)
                    .await
                    .is_err()
            );
        }
    }
}
