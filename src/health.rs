//! Health: whether the process lives and whether it is ready for requests, and what probes are told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::sync::watch;

use crate::route::PathPrefix;

/// The reply to a probe, by its name in a record of an exchange.
pub(crate) const CODE: &str = "PROBE";

/// The part of its life that a proxy is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Its store is not loaded, or not all of its listeners accept connections yet.
    Starting,
    /// It takes requests.
    Ready,
    /// It has been told to stop. Requests are served for as long as its listeners are open.
    Stopping,
}

/// The health of a proxy. One that is mounted in a program of one's own is ready from the start, and until
/// the program says otherwise.
#[derive(Debug)]
pub struct Health {
    phase: watch::Sender<Phase>,
    /// How many parts have not started yet.
    pending: AtomicUsize,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Ready),
            pending: AtomicUsize::new(0),
        }
    }
}

impl Health {
    /// The phase that the proxy is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Says in which phase the proxy is: readiness probes see it from now on.
    pub fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// The proxy is starting until so many parts of it have called [`Health::part_started`].
    pub(crate) fn await_parts(&self, parts: usize) {
        self.pending.store(parts, Ordering::SeqCst);
        self.set(Phase::Starting);
    }

    /// One part of the proxy has started; with the last one it is ready, unless it is to stop already.
    pub(crate) fn part_started(&self) {
        if self.pending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.phase.send_if_modified(|phase| {
                let is_starting = *phase == Phase::Starting;
                if is_starting {
                    *phase = Phase::Ready;
                }
                is_starting
            });
        }
    }

    /// Waits until the proxy is ready; false if it is told to stop before.
    pub(crate) async fn ready(&self) -> bool {
        let mut phase = self.phase.subscribe();
        let started = phase.wait_for(|phase| *phase != Phase::Starting).await;
        started.is_ok_and(|phase| *phase == Phase::Ready)
    }
}

/// A kind of health probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Whether the process lives: that it answers says so.
    Liveness,
    /// Whether requests should be sent here.
    Readiness,
}

impl Probe {
    /// The status for programs that look at no body, and the word for those that do.
    fn verdict(self, phase: Phase) -> (StatusCode, &'static str) {
        match (self, phase) {
            (Self::Liveness, _) => (StatusCode::OK, "alive"),
            (Self::Readiness, Phase::Ready) => (StatusCode::OK, "ready"),
            (Self::Readiness, Phase::Starting) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            (Self::Readiness, Phase::Stopping) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        }
    }

    /// The response: `{"status":"ready"}`.
    pub(crate) fn response(self, health: &Health) -> Response<Bytes> {
        let (status, word) = self.verdict(health.phase());
        let mut response = Response::new(Bytes::from(format!("{{\"status\":\"{word}\"}}")));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The path of liveness probes on the listeners of the control API.
pub(crate) const LIVENESS: &str = "/healthz";

/// The path of readiness probes on the listeners of the control API.
pub(crate) const READINESS: &str = "/readyz";

/// Whether a request to the control API is a probe, for which nobody has to be known.
pub(crate) fn is_control_probe(method: &Method, path: &str) -> bool {
    [LIVENESS, READINESS].contains(&path) && asks(method)
}

/// Whether a request by this method can be a probe; any other is not one, whatever its path.
fn asks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Where probes are answered on the listeners of the traffic, whatever the request's host; nowhere by default.
/// A path is compared as it is written, with regard to case; only GET and HEAD of the very path are probes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HealthProbes {
    /// The health that they are told.
    pub health: Arc<Health>,
    /// The path of liveness probes, which are answered with 200 for as long as the process lives.
    pub liveness: Option<PathPrefix>,
    /// The path of readiness probes, which are answered with 503 unless the proxy is ready.
    pub readiness: Option<PathPrefix>,
}

impl HealthProbes {
    /// The paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathPrefix> {
        self.liveness.iter().chain(&self.readiness)
    }

    /// The probe that a request is, if it is one.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Probe> {
        let is = |own: &Option<PathPrefix>| own.as_ref().is_some_and(|own| own.as_str() == path);
        let probe = if is(&self.readiness) {
            Probe::Readiness
        } else if is(&self.liveness) {
            Probe::Liveness
        } else {
            return None;
        };
        asks(method).then_some(probe)
    }
}

/// Whether they are answered at the same paths, by the same proxy.
impl PartialEq for HealthProbes {
    fn eq(&self, other: &Self) -> bool {
        self.health.phase() == other.health.phase() && self.paths().eq(other.paths())
    }
}

impl Eq for HealthProbes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ready_with_the_last_part() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Ready);
        health.await_parts(2);
        health.part_started();
        assert_eq!(health.phase(), Phase::Starting);
        health.part_started();
        assert_eq!(health.phase(), Phase::Ready);
    }

    #[tokio::test]
    async fn what_is_to_stop_is_not_ready_again() {
        let health = Health::default();
        health.await_parts(1);
        health.set(Phase::Stopping);
        health.part_started();
        assert_eq!(health.phase(), Phase::Stopping);
        assert!(!health.ready().await);
    }

    #[test]
    fn only_the_very_path_is_a_probe() {
        let path = |path: &str| Some(PathPrefix::parse(path).unwrap());
        let probes = HealthProbes {
            liveness: path("/-/healthy"),
            readiness: path("/-/ready"),
            ..HealthProbes::default()
        };
        let cases = [
            ("GET", "/-/healthy", Some(Probe::Liveness)),
            ("HEAD", "/-/ready", Some(Probe::Readiness)),
            ("POST", "/-/ready", None),
            ("GET", "/-/ready/", None),
            ("GET", "/-/READY", None),
            ("GET", "/-/ready/x", None),
            ("GET", "/", None),
        ];
        for (method, path, expected) in cases {
            let method = method.parse().unwrap();
            assert_eq!(probes.find(&method, path), expected, "{method} {path}");
        }
        assert_eq!(HealthProbes::default().find(&Method::GET, "/"), None);
    }

    #[test]
    fn the_response_says_why() {
        let health = Health::default();
        for (phase, expected) in [
            (Phase::Starting, (503, "{\"status\":\"starting\"}")),
            (Phase::Ready, (200, "{\"status\":\"ready\"}")),
            (Phase::Stopping, (503, "{\"status\":\"stopping\"}")),
        ] {
            health.set(phase);
            let response = Probe::Readiness.response(&health);
            let status = response.status().as_u16();
            assert_eq!(
                (status, &response.body()[..]),
                (expected.0, expected.1.as_bytes())
            );
            assert_eq!(Probe::Liveness.response(&health).status(), 200);
        }
    }
}
