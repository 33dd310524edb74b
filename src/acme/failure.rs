//! Why there is no certificate, and for whom that holds.

use std::time::SystemTime;

use instant_acme::{Error, Problem};

use super::client::{ClientError, RetryAfter};

/// The reach of a failure: which other orders would fail as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The host is at fault: others may succeed.
    Host,
    /// The authority, or the way there: others would fail as well.
    Authority,
    /// The authority does not know the account.
    Account,
    /// The authority takes no more orders for now: of this host, or of anybody.
    Limit,
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

/// The prefix of ACME's error types (RFC 8555, 6.7).
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
            reason: one_line(&reason.into(), LONGEST),
            retry_after: None,
        }
    }

    /// This failure with another scope and other words.
    pub(super) fn with(self, scope: Scope, reason: &str) -> Self {
        Self {
            retry_after: self.retry_after,
            ..Self::of(scope, reason)
        }
    }

    /// This failure, not to be tried again before a moment.
    pub(super) fn not_before(self, moment: Option<SystemTime>) -> Self {
        Self {
            retry_after: moment,
            ..self
        }
    }

    /// Converts the ACME library's error for a new order; a rate limit becomes [`Scope::Limit`].
    pub(super) fn of_new_order(error: &Error, retry_after: &RetryAfter) -> Self {
        let failure = Self::of_library(error, retry_after);
        match error {
            Error::Api(problem) if kind(problem) == "rateLimited" => Self {
                scope: Scope::Limit,
                ..failure
            },
            _ => failure,
        }
    }

    /// Converts an error of the ACME library to a failure.
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
    one_line(&text, LONGEST_PROBLEM)
}

/// The most letters of a reason; what is longer is cut.
pub(super) const LONGEST: usize = 1000;

/// The most letters of what the authority says, so that there is room for what is said about it.
const LONGEST_PROBLEM: usize = 500;

/// A text that neither ends a line of the log nor fills it: what is no letter is a space, and after so
/// many letters it is cut.
pub(super) fn one_line(text: &str, longest: usize) -> String {
    // Besides control characters what ends a line, or turns it round, in a viewer.
    let is_odd = |c: char| {
        let is_break = matches!(c, '\u{2028}' | '\u{2029}');
        let is_turn = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || is_break || is_turn
    };
    let plain = |c: char| if is_odd(c) { ' ' } else { c };
    let mut letters = text.chars().map(plain);
    let mut line: String = letters.by_ref().take(longest).collect();
    if letters.next().is_some() {
        line.push_str("...");
    }
    line
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

    #[test]
    fn too_many_orders_are_the_authoritys_affair_only_where_it_takes_orders() {
        let text = r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429}"#;
        let error = Error::Api(problem(text));
        let retry_after = RetryAfter::default();
        let scope = |failure: Failure| failure.scope;
        assert_eq!(
            scope(Failure::of_library(&error, &retry_after)),
            Scope::Host
        );
        assert_eq!(
            scope(Failure::of_new_order(&error, &retry_after)),
            Scope::Limit
        );
        let error = Error::Api(problem("{}"));
        assert_eq!(
            scope(Failure::of_new_order(&error, &retry_after)),
            Scope::Host
        );
    }

    #[test]
    fn every_reason_is_one_line_that_has_an_end() {
        let forged =
            "unknown `x\n[2026-01-01T00:00:00Z INFO] all is well\u{2028}\u{202e}`".repeat(100);
        for failure in [
            Failure::host(forged.clone()),
            Failure::authority(forged.clone()),
            Failure::of_library(&Error::Other(forged.clone().into()), &RetryAfter::default()),
            Failure::host("a").with(Scope::Authority, &forged),
        ] {
            assert_eq!(failure.reason.chars().count(), LONGEST + 3);
            assert!(failure.reason.ends_with("..."));
            assert!(!failure.reason.contains(['\n', '\u{2028}', '\u{202e}']));
        }
        assert_eq!(one_line("as it is", 8), "as it is");
    }
}
