//! What became of the visitors' requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::{Fault, Response};
use crate::stats::quantile;

/// Who answers: the app of this number, in its so-manieth life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) app: usize,
    pub(crate) life: u64,
}

impl Identity {
    /// The app's whole response.
    pub(crate) fn response(self) -> Vec<u8> {
        let body = format!("app {} life {}\n", self.app, self.life);
        format!(
            "HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Reads the body of such a response; none if it is nobody's.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let (app, life) = text.strip_prefix("app ")?.split_once(" life ")?;
        Some(Self {
            app: app.parse().ok()?,
            life: life.trim_end().parse().ok()?,
        })
    }
}

/// Where an app is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody is there: it has deregistered and stopped, or has not registered yet.
    Away,
    /// It was killed, and the proxy was not told.
    Dead,
    /// Its registration was answered, and nothing has happened to it since.
    Up { life: u64 },
    /// It is about to deregister, or has, and will stop after that.
    Leaving { life: u64 },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The app that the path belongs to has answered.
    Right,
    /// Another one has.
    Wrong,
    /// Another one has, which listens on the port where the app was until it was killed.
    Stale,
    /// It was up, or was leaving in good order, and somebody else said that it is not, or is broken.
    Failed,
    /// There was none.
    Lost(Fault),
    /// It was away, and the visitor was told so.
    Away,
}

/// Judges the response to a request for an app, which was in these stages before and after; `no_route` is
/// the status of the proxy's own response where it has no route.
pub(crate) fn judge(
    app: usize,
    [before, after]: [Stage; 2],
    result: &Result<Response, Fault>,
    no_route: u16,
) -> Verdict {
    let response = match result {
        Ok(response) => response,
        Err(fault) => return Verdict::Lost(*fault),
    };
    match Identity::read(&response.body) {
        Some(identity) if identity.app == app => return Verdict::Right,
        Some(_) if before == Stage::Dead => return Verdict::Stale,
        Some(_) => return Verdict::Wrong,
        None => {}
    }
    match (before, after) {
        (Stage::Up { life }, Stage::Up { life: same }) if life == same => Verdict::Failed,
        // It may have deregistered before the request came, and nothing else.
        (Stage::Up { life }, Stage::Leaving { life: same }) if life == same => {
            if response.status == no_route {
                Verdict::Away
            } else {
                Verdict::Failed
            }
        }
        _ => Verdict::Away,
    }
}

/// The sums of a round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Churn {
    pub(crate) round: usize,
    pub(crate) requests: u64,
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) stale: u64,
    pub(crate) failed: u64,
    pub(crate) away: u64,
    /// Requests whose connection ended without the response.
    pub(crate) cut: u64,
    /// Requests that no connection could be made for, and whose response did not come in time.
    pub(crate) refused: u64,
    pub(crate) late: u64,
    /// Connections that were found closed when the next request was to be sent, though no response had
    /// said so.
    pub(crate) closed: u64,
    /// How often an app has come, has left in good order and has died.
    pub(crate) starts: u64,
    pub(crate) stops: u64,
    pub(crate) deaths: u64,
    /// From the moment when an app listens to the first response that comes from it through the proxy, in
    /// microseconds, sorted.
    pub(crate) first: Vec<u32>,
}

impl Churn {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        self.requests += 1;
        let count = match verdict {
            Verdict::Right => &mut self.right,
            Verdict::Wrong => &mut self.wrong,
            Verdict::Stale => &mut self.stale,
            Verdict::Failed => &mut self.failed,
            Verdict::Lost(Fault::Cut) => &mut self.cut,
            Verdict::Lost(Fault::Refused) => &mut self.refused,
            Verdict::Lost(Fault::Late) => &mut self.late,
            Verdict::Away => &mut self.away,
        };
        *count += 1;
    }

    pub(crate) fn add_first(&mut self, time: Duration) {
        self.first
            .push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Of so many requests, in 10,000.
    pub(crate) fn part(&self, count: u64) -> f64 {
        count as f64 * 1e4 / self.requests.max(1) as f64
    }

    /// Responses of another app than the one that was asked for.
    pub(crate) fn others(&self) -> u64 {
        self.wrong + self.stale
    }

    /// Requests without a response.
    pub(crate) fn lost(&self) -> u64 {
        self.cut + self.refused + self.late
    }

    /// Connections that ended on a visitor who had not been told.
    pub(crate) fn connections(&self) -> u64 {
        self.lost() + self.closed
    }

    /// The time to the first response that this part of the starts does not exceed, in milliseconds.
    pub(crate) fn first(&self, part: f64) -> Option<f64> {
        quantile(&self.first, part).map(|micros| micros / 1e3)
    }
}
