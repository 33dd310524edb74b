//! How long the sides of an exchange may keep it waiting.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::failure::Failure;
use crate::answer::Refusal;
use crate::front::Deadline;
use crate::proxy::options::Timeouts;
use crate::registry::ProxyError;

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The client, for more of the request's body.
    Body,
    /// The target, to take what is sent to it.
    Sending,
    /// The target, to begin its answer.
    FirstByte,
    /// The target, for more of its answer.
    Answer,
    /// The client, to take what is sent to it.
    Client,
    /// Either side of a WebSocket, for a byte.
    Silence,
}

/// The waits that are on, each with its beginning.
#[derive(Debug, Default)]
pub(super) struct Waits([Option<Instant>; 6]);

impl Waiting {
    const ALL: [Self; 6] = [
        Self::Body,
        Self::Sending,
        Self::FirstByte,
        Self::Answer,
        Self::Client,
        Self::Silence,
    ];

    fn limit(self, timeouts: &Timeouts) -> Option<Duration> {
        match self {
            Self::Body => timeouts.client_body,
            Self::Sending | Self::Client => timeouts.send,
            Self::FirstByte => timeouts.first_byte,
            Self::Answer => timeouts.between_bytes,
            Self::Silence => timeouts.websocket_idle,
        }
    }

    fn failure(self) -> Failure {
        match self {
            Self::Body => Failure::refused(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "BODY_TIMEOUT",
                "The body of the request did not come in time.",
            )),
            Self::Sending => {
                Failure::of_origin(ProxyError::Timeout, "it takes no more of the request")
            }
            Self::FirstByte => Failure::of_origin(ProxyError::Timeout, "no answer in time"),
            Self::Answer => Failure::of_origin(ProxyError::Timeout, "the answer does not go on"),
            Self::Client => Failure::gone("the client takes no more of the answer"),
            Self::Silence => Failure::of_origin(ProxyError::Timeout, "both sides are silent"),
        }
    }
}

/// How far the sides of an exchange are.
#[allow(clippy::struct_excessive_bools)] // Each is a thing of its own.
pub(super) struct Standing {
    /// More of the request's body is to come from the client.
    pub(super) is_body_due: bool,
    /// Something waits for the target.
    pub(super) is_sending: bool,
    /// The target has the whole request.
    pub(super) is_sent: bool,
    /// Its answer has begun.
    pub(super) is_answered: bool,
    /// Something waits for the client.
    pub(super) is_taking: bool,
}

impl Waits {
    /// Notes who is waited for now. The target's time begins with the end of the request, whatever came
    /// before.
    pub(super) fn note(&mut self, standing: &Standing) {
        let mut now = Now::default();
        let is_target_due = standing.is_sent && !standing.is_taking;
        let on = [
            (Waiting::Body, standing.is_body_due && !standing.is_sending),
            (Waiting::Sending, standing.is_sending),
            (Waiting::FirstByte, is_target_due && !standing.is_answered),
            (Waiting::Answer, is_target_due && standing.is_answered),
            (Waiting::Client, standing.is_taking),
        ];
        for (waiting, is_on) in on {
            self.set(waiting, is_on, &mut now);
        }
    }

    /// Whether something is waited for; a wait that goes on keeps its beginning.
    pub(super) fn set(&mut self, waiting: Waiting, is_on: bool, now: &mut Now) {
        if let Some(since) = self.0.get_mut(waiting as usize) {
            *since = is_on.then(|| since.unwrap_or_else(|| now.get()));
        }
    }

    /// What was waited for has come, in part: the wait begins anew.
    pub(super) fn restart(&mut self, waiting: Waiting) {
        if let Some(since) = self.0.get_mut(waiting as usize) {
            *since = None;
        }
    }

    /// Ready once a wait has been too long.
    pub(super) fn poll(
        &self,
        timeouts: &Timeouts,
        timer: &mut Deadline,
        context: &mut Context<'_>,
    ) -> Poll<Failure> {
        let ends = Waiting::ALL.into_iter().zip(&self.0);
        let ends = ends.filter_map(|(waiting, since)| {
            let end = since.as_ref()?.checked_add(waiting.limit(timeouts)?)?;
            Some((end, waiting))
        });
        let Some((end, waiting)) = ends.min_by_key(|(end, _)| *end) else {
            return Poll::Pending;
        };
        ready!(timer.poll(end, context));
        Poll::Ready(waiting.failure())
    }
}

/// The time of one poll, asked for at most once.
#[derive(Debug, Default)]
pub(super) struct Now(Option<Instant>);

impl Now {
    fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}
