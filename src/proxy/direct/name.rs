//! What a request is called, in the log and in events.

use bytes::Bytes;
use http::{Method, Response};

use crate::answer::Refusal;
use crate::proxy::policy::Policy;
use crate::proxy::visit::Visit;
use crate::registry::ProxyError;

/// A request's method, and its host and path as they are matched; as they came, if they cannot be.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) method: Method,
    pub(super) host: String,
    pub(super) path: String,
}

impl Name {
    /// The request in a log line; the target is internal and stands only in the log.
    pub(super) fn summary(&self, visit: Option<&Visit>) -> String {
        let target = visit.map(|visit| format!(" -> {}", visit.instance().target));
        format!(
            "{} {}{}{}",
            self.method,
            self.host,
            self.path.escape_debug(),
            target.unwrap_or_default(),
        )
    }

    /// Emits the event, and makes the answer.
    pub(super) fn tell(
        self,
        policy: &Policy,
        visit: Option<&Visit>,
        error: ProxyError,
    ) -> (Refusal, Option<Response<Bytes>>) {
        let route = visit.map(Visit::route);
        policy.fail(route, self.method, (self.host, self.path), error)
    }
}
