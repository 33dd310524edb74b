//! Why there is no certificate, and for whom that holds.

use std::time::SystemTime;

use instant_acme::{Error, Problem};

use super::client::{ClientError, RetryAfter};

/// What a failure says about other orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The host is at fault: others may succeed.
    Host,
    /// The authority, or the way there: others would fail as well.
    Authority,
    /// The authority does not know the account.
    Account,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Failure {
    pub(super) scope: Scope,
    pub(super) reason: String,
    /// When the authority wants to be asked again.
    pub(super) retry_after: Option<SystemTime>,
}

/// What the types of ACME's errors begin with (RFC 8555, 6.7).
const PREFIX: &str = "urn:ietf:params:acme:error:";

impl Failure {
    pub(super) fn host(reason: impl Into<String>) -> Self {
        Self::of(Scope::Host, reason)
    }

    pub(super) fn authority(reason: impl Into<String>) -> Self {
        Self::of(Scope::Authority, reason)
    }

    fn of(scope: Scope, reason: impl Into<String>) -> Self {
        Self {
            scope,
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// What the library says.
    pub(super) fn of_library(error: &Error, retry_after: &RetryAfter) -> Self {
        match error {
            Error::Api(problem) => {
                let kind = kind(problem);
                let scope = match kind {
                    "accountDoesNotExist" => Scope::Account,
                    "serverInternal" | "badNonce" => Scope::Authority,
                    _ => Scope::Host,
                };
                let is_busy = scope == Scope::Authority
                    || kind == "rateLimited"
                    || matches!(problem.status, Some(429 | 503));
                Self {
                    retry_after: retry_after.take().filter(|_| is_busy),
                    ..Self::of(scope, shown(problem))
                }
            }
            Error::Timeout(_) => Self::host("the authority has not decided in time"),
            Error::KeyRejected | Error::Crypto => {
                Self::authority("the account's key cannot be used")
            }
            error => Self {
                retry_after: retry_after.take(),
                ..Self::authority(error.to_string())
            },
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::authority(error.to_string())
    }
}

/// The last word of a problem's type.
pub(super) fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(PREFIX).unwrap_or(kind)
}

/// A problem on one line: what comes from the network may hold anything.
pub(super) fn shown(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        text.push_str("; ");
        text.push_str(&sub.to_string());
    }
    if text.is_empty() {
        "the authority gives no reason".clone_into(&mut text);
    }
    let kind = kind(problem);
    if !kind.is_empty() {
        text.push_str(" (");
        text.push_str(kind);
        text.push(')');
    }
    one_line(&text)
}

/// The longest reason; what is longer is cut.
const LONGEST: usize = 500;

fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_problem_is_one_line_that_names_its_kind() {
        let refused = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"no\nway","status":400}"#,
        );
        assert_eq!(shown(&refused), "no way (rejectedIdentifier)");
        assert_eq!(shown(&problem("{}")), "the authority gives no reason");
    }

    #[test]
    fn who_is_at_fault_is_told_by_the_kind() {
        let scope = |kind: &str| {
            let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}"}}"#);
            let error = Error::Api(problem(&text));
            Failure::of_library(&error, &RetryAfter::default()).scope
        };
        assert_eq!(scope("rejectedIdentifier"), Scope::Host);
        assert_eq!(scope("rateLimited"), Scope::Host);
        assert_eq!(scope("serverInternal"), Scope::Authority);
        assert_eq!(scope("accountDoesNotExist"), Scope::Account);
        let error = Error::Str("anything");
        let failure = Failure::of_library(&error, &RetryAfter::default());
        assert_eq!(failure.scope, Scope::Authority);
    }
}
