//! Why a call fails, in words that say what to do.

use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use thiserror::Error;

use crate::cli::clean::clean;

/// Why a call of the control API fails.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address of the API is wrong.
    #[error("{place}: {why}")]
    Address {
        /// Who says it.
        place: &'static str,
        /// The problem.
        why: String,
    },
    /// The token cannot be used.
    #[error("the token in {place}: {why}")]
    Token {
        /// The file or the variable.
        place: String,
        /// The problem.
        why: String,
    },
    /// Something that was written cannot be sent.
    #[error("this cannot be sent: {0}")]
    Request(String),
    /// The runtime does not start.
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] io::Error),
    /// Nobody takes the connection.
    #[error(
        "cannot reach the proxy's control API at {endpoint}: {source}; \
         is it running? --api says where it is"
    )]
    Connect {
        /// Where.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// The proxy keeps silent.
    #[error(
        "the control API at {endpoint} has kept silent for {after:?}; \
         --timeout says how long it may"
    )]
    TooSlow {
        /// Where.
        endpoint: String,
        /// For how long.
        after: Duration,
    },
    /// The connection breaks.
    #[error("the connection to the control API at {endpoint} broke: {source}")]
    Broken {
        /// Where.
        endpoint: String,
        /// How.
        source: hyper::Error,
    },
    /// The other side does something that a control API does not do.
    #[error("the control API at {endpoint} {what}")]
    Odd {
        /// Where.
        endpoint: String,
        /// Its effect.
        what: String,
    },
    /// The answer is not the API's.
    #[error("this is not the answer of a control API ({0}); does --api name the control listener?")]
    NotTheApi(String),
    /// The proxy refuses.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

/// An answer of the API that is not a success: a problem (RFC 9457), or the answer of `/register`.
#[derive(Debug, Error)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// The reason for programs.
    pub code: Option<String>,
    /// The sentence that says what to do.
    pub detail: Option<String>,
    /// The field of the body (RFC 6901) or the parameter of the query that is at fault.
    pub place: Option<String>,
    had_token: bool,
}

impl ClientError {
    /// The process's exit code: 1 if the proxy cannot be reached, 2 for what was written, and what
    /// [`Refusal::exit_code`] says.
    pub(in super::super) fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } | Self::Token { .. } | Self::Request(_) => 2,
            Self::Refused(refusal) => refusal.exit_code(),
            _ => 1,
        }
    }

    /// The status of a refusal.
    pub(in super::super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub(in super::super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.status.is_server_error(),
            Self::Connect { .. }
            | Self::TooSlow { .. }
            | Self::Broken { .. }
            | Self::Odd { .. } => true,
            _ => false,
        }
    }
}

impl Refusal {
    pub(super) fn read(status: StatusCode, body: &[u8], had_token: bool) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_else(|error| {
            log::debug!("the answer is not JSON: {error}");
            Value::Null
        });
        let text = |names: [&str; 2]| {
            names
                .into_iter()
                .find_map(|name| body.get(name))
                .and_then(Value::as_str)
                .map(clean)
        };
        Self {
            status,
            code: text(["code", "error"]),
            detail: text(["detail", "message"]),
            place: text(["pointer", "parameter"]),
            had_token,
        }
    }

    pub(in super::super) fn exit_code(&self) -> u8 {
        match self.status.as_u16() {
            400 | 413 | 414 | 415 | 422 => 2,
            404 => 3,
            412 => 4,
            401 | 403 => 5,
            _ => 1,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, &self.detail) {
            (Some(code), Some(detail)) => write!(f, "{code}: {detail}")?,
            (Some(one), None) | (None, Some(one)) => f.write_str(one)?,
            (None, None) => write!(
                f,
                "the answer is {}; does --api name the control listener?",
                self.status
            )?,
        }
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        if self.status == StatusCode::UNAUTHORIZED && !self.had_token {
            f.write_str("; --token-file or DYNAMIC_REVERSE_PROXY_TOKEN gives a token")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> (String, u8) {
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = Refusal::read(status, body.as_bytes(), true);
        (refusal.to_string(), refusal.exit_code())
    }

    #[test]
    fn problems_are_shown_with_their_place() {
        let body = r#"{"type":"about:blank","status":400,"code":"INVALID_PREFIX",
            "detail":"Write a slash.","pointer":"/changes/3/prefix"}"#;
        let expected = "INVALID_PREFIX: Write a slash. (/changes/3/prefix)";
        assert_eq!(refusal(400, body), (expected.to_owned(), 2));
        let body = r#"{"error":"FORBIDDEN","message":"No."}"#;
        assert_eq!(refusal(403, body), ("FORBIDDEN: No.".to_owned(), 5));
    }

    #[test]
    fn every_status_has_its_exit_code() {
        for (status, code) in [
            (400, 2),
            (401, 5),
            (403, 5),
            (404, 3),
            (412, 4),
            (503, 1),
            (507, 1),
        ] {
            assert_eq!(refusal(status, "no JSON").1, code, "{status}");
        }
        assert!(refusal(501, "<html>").0.contains("--api"));
    }
}
