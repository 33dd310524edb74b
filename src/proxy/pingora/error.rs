//! From Pingora's errors to the failures of the data path.

use std::io;

use http::StatusCode;
use nix::errno::Errno;
use pingora_core::{BError, Error, ErrorSource, ErrorType};

use super::Exchange;
use crate::front::{BadChunk, ClientLimit, Drained, TooSlow, UpstreamSilent};
use crate::proxy::peer::Kind;
use crate::proxy::rules::failure::{
    self, Failure, Fault, Limit, NoHttp2, Reason, bad_chunk, body_timeout,
};
use crate::proxy::rules::retry::Loss;
use crate::registry::ProxyError;
use crate::reply::Refusal;

impl Failure {
    /// Reads Pingora's error; `was_idle` is whether the try went over a connection that had been idle.
    pub(in crate::proxy) fn of_pingora(error: &Error, was_idle: bool) -> Self {
        match slow_client(error) {
            Some(ClientLimit::UploadRate) => return Self::slow_upload(),
            Some(_) => return Self::slow_download(),
            None => {}
        }
        let system = error.root_cause().downcast_ref::<io::Error>();
        if let Some(code) = system.and_then(io::Error::raw_os_error)
            && code == Errno::EMFILE as i32
        {
            return Self::unreachable(io::Error::from_raw_os_error(code));
        }
        Self {
            fault: Fault::of(error),
            reason: Reason::Pingora(in_words(error)),
            loss: loss(error, was_idle),
            reset: reset_by_upstream(error),
            limit: limit(error),
        }
    }
}

/// The limit below which a client was cut.
pub(in crate::proxy) fn slow_client(error: &Error) -> Option<ClientLimit> {
    of_front(error).map(|TooSlow(limit)| *limit)
}

/// The message of the error when only interim responses have come in time.
pub(in crate::proxy) const ONLY_INTERIM: &str = "only interim responses";

/// The limit that has passed, if the error says so by itself.
fn limit(error: &Error) -> Option<Limit> {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Some(Limit::CONNECT),
        ErrorType::ReadTimedout if error.to_string().contains(ONLY_INTERIM) => {
            Some(Limit::FIRST_BYTE)
        }
        ErrorType::ReadTimedout
            if *error.esource() == ErrorSource::Downstream
                && !is_of_front::<UpstreamSilent>(error) =>
        {
            Some(Limit::CLIENT_BODY)
        }
        _ => None,
    }
}

/// The failure with the limit that has passed, by how far the exchange is: Pingora has one error for the
/// first byte and for every later one.
pub(in crate::proxy) fn with_limit(
    failure: Failure,
    error: &Error,
    exchange: &Exchange,
) -> Failure {
    let is_silent = is_of_front::<UpstreamSilent>(error)
        || (*error.esource() == ErrorSource::Upstream && *error.etype() == ErrorType::ReadTimedout);
    if failure.limit.is_some() || !is_silent {
        return failure;
    }
    let limit = match (exchange.has_begun, exchange.kind) {
        (false, _) => Limit::FIRST_BYTE,
        (true, Kind::Upgrade) => return failure,
        (true, Kind::Plain | Kind::Upload) => Limit::BETWEEN_BYTES,
    };
    Failure {
        limit: Some(limit),
        reason: Reason::Pingora(error.to_string()),
        ..failure
    }
}

/// Pingora's words, and the key of the limit that has passed.
fn in_words(error: &Error) -> String {
    use ErrorType as E;
    let is_upstream = *error.esource() == ErrorSource::Upstream;
    let key = match error.etype() {
        _ if is_of_front::<UpstreamSilent>(error) => {
            "timeouts.first_byte, timeouts.between_bytes or timeouts.websocket_idle"
        }
        E::WriteTimedout => "timeouts.send",
        _ if is_upstream && is_kernels_timeout(error) => "timeouts.send",
        _ if limit(error).is_some() => return error.to_string(),
        E::ReadTimedout if is_upstream => "timeouts.first_byte or timeouts.between_bytes",
        _ => return error.to_string(),
    };
    format!("{error} ({key})")
}

/// The body of a request is longer than the limit.
#[derive(Debug, thiserror::Error)]
#[error("the body is too long (limits.body)")]
struct BodyTooLarge(u64);

/// The error of a request for which there is no upstream.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
pub(in crate::proxy) fn no_address() -> BError {
    Error::explain(ErrorType::ConnectNoRoute, "no address left").into_up()
}

/// The error of an upstream that is not to be connected to.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
pub(in crate::proxy) fn unreachable(error: io::Error) -> BError {
    Error::because(ErrorType::SocketError, "no connection", error).into_up()
}

/// The error of an upstream that does not speak HTTP/2, before anything is sent to it.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
pub(in crate::proxy) fn no_http2() -> BError {
    unreachable(io::Error::other(NoHttp2))
}

/// Whether an error is that of an upstream that does not speak HTTP/2.
pub(in crate::proxy) fn is_without_http2(error: &Error) -> bool {
    is_of_front::<NoHttp2>(error)
}

/// The error of a request whose body is longer than `most` bytes.
#[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxed.
pub(in crate::proxy) fn body_too_large(most: u64) -> BError {
    let cause = io::Error::other(BodyTooLarge(most));
    Error::because(ErrorType::ReadError, "the request's body", cause).into_down()
}

impl Fault {
    fn of(error: &Error) -> Self {
        if let Some(BodyTooLarge(most)) = of_front(error) {
            return Self::Client(failure::body_too_large(*most));
        }
        if is_of_front::<UpstreamSilent>(error) {
            return Self::Upstream(ProxyError::Timeout);
        }
        if is_of_front::<Drained>(error) {
            return Self::Upstream(ProxyError::Drained);
        }
        if is_of_front::<BadChunk>(error) {
            return Self::Client(bad_chunk());
        }
        match error.esource() {
            ErrorSource::Upstream if is_kernels_timeout(error) => {
                Self::Upstream(ProxyError::Timeout)
            }
            // What the upstream itself has ended is no malformed response.
            ErrorSource::Upstream if is_ended_by_upstream(error) => {
                Self::Upstream(ProxyError::Broken)
            }
            ErrorSource::Upstream => Self::Upstream(of_upstream(error.etype())),
            ErrorSource::Downstream => of_client(error.etype()),
            ErrorSource::Internal | ErrorSource::Unset => Self::Proxy,
        }
    }
}

/// How a try has ended without a response.
fn loss(error: &Error, was_idle: bool) -> Loss {
    let has_died = matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    );
    if *error.esource() != ErrorSource::Upstream {
        Loss::Other
    } else if is_untouched(error) {
        Loss::Untouched
    } else if was_idle && has_died && !is_within_head(error) {
        Loss::DiedIdle
    } else {
        Loss::Other
    }
}

/// Whether it was the front that ended the exchange; Pingora takes that for an error of the client's
/// connection, on which the wait happens.
fn is_of_front<E: std::error::Error + 'static>(error: &Error) -> bool {
    of_front::<E>(error).is_some()
}

fn of_front<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let error = error.root_cause().downcast_ref::<io::Error>()?;
    error.get_ref()?.downcast_ref()
}

/// Whether the upstream broke off within the head of its response; Pingora says so in words alone.
fn is_within_head(error: &Error) -> bool {
    error
        .context
        .as_ref()
        .and_then(|context| context.as_str().rsplit_once("bytes already read: "))
        .is_some_and(|(_, count)| count != "0")
}

/// Whether the kernel has given the connection up: the upstream takes nothing (`timeouts.send`).
fn is_kernels_timeout(error: &Error) -> bool {
    let error = error.root_cause().downcast_ref::<io::Error>();
    error.is_some_and(|error| {
        error.raw_os_error().is_some() && error.kind() == io::ErrorKind::TimedOut
    })
}

/// Whether the upstream has ended its stream, or its connection, by `RST_STREAM` or GOAWAY.
fn is_ended_by_upstream(error: &Error) -> bool {
    let error = error.root_cause().downcast_ref::<h2::Error>();
    error.is_some_and(h2::Error::is_remote)
}

/// The error code by which the upstream has reset its stream (RFC 9113, 7).
fn reset_by_upstream(error: &Error) -> Option<u32> {
    if *error.esource() != ErrorSource::Upstream {
        return None;
    }
    let error = error.root_cause().downcast_ref::<h2::Error>()?;
    let reason = error.reason()?;
    (error.is_reset() && error.is_remote()).then(|| reason.into())
}

/// Whether the upstream has said that it has not looked at the request, which may then be sent again
/// whatever its method is (RFC 9113, 8.7): a stream that was refused, or is above the last one that
/// `GOAWAY` names.
fn is_untouched(error: &Error) -> bool {
    let Some(error) = error.root_cause().downcast_ref::<h2::Error>() else {
        return false;
    };
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let is_farewell = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (is_refused || is_farewell)
}

fn of_upstream(kind: &ErrorType) -> ProxyError {
    use ErrorType as E;
    match kind {
        E::ConnectTimedout
        | E::ConnectRefused
        | E::ConnectNoRoute
        | E::ConnectError
        | E::ConnectProxyFailure
        | E::TLSHandshakeFailure
        | E::TLSHandshakeTimedout
        | E::InvalidCert
        | E::HandshakeError
        | E::BindError
        | E::SocketError => ProxyError::Unreachable,
        E::ReadTimedout | E::WriteTimedout => ProxyError::Timeout,
        E::InvalidHTTPHeader | E::H1Error | E::H2Error | E::InvalidH2 => {
            ProxyError::InvalidResponse
        }
        _ => ProxyError::Broken,
    }
}

fn of_client(kind: &ErrorType) -> Fault {
    use ErrorType as E;
    match kind {
        E::ReadTimedout => Fault::Client(body_timeout("timeouts.client_body")),
        E::WriteTimedout => Fault::ClientStuck,
        // Pingora calls it H2Error when a client resets its stream, or ends its connection. What is malformed
        // over HTTP/2 never comes as far as to an exchange.
        E::ReadError | E::WriteError | E::ConnectionClosed | E::H2Error => Fault::ClientGone,
        _ => Fault::Client(Refusal::new(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "The request is not valid HTTP.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::rules::failure::refusal;
    use pingora_core::BError;

    fn fault(kind: ErrorType, source: ErrorSource) -> Fault {
        let mut error: BError = Error::new(kind);
        error.esource = source;
        Fault::of(&error)
    }

    #[test]
    fn every_failure_has_its_status() {
        use crate::proxy::ErrorStatuses;
        let statuses = ErrorStatuses::default();
        let cases = [
            (ErrorType::ConnectRefused, 500, "UNREACHABLE"),
            (ErrorType::ConnectTimedout, 500, "UNREACHABLE"),
            (ErrorType::ConnectNoRoute, 500, "UNREACHABLE"),
            (ErrorType::ConnectionClosed, 500, "UPSTREAM_CLOSED"),
            (ErrorType::ReadError, 500, "UPSTREAM_CLOSED"),
            (ErrorType::InvalidHTTPHeader, 500, "INVALID_RESPONSE"),
            (ErrorType::ReadTimedout, 504, "TIMEOUT"),
            (ErrorType::WriteTimedout, 504, "TIMEOUT"),
        ];
        for (kind, status, code) in cases {
            let Fault::Upstream(error) = fault(kind.clone(), ErrorSource::Upstream) else {
                panic!("{kind:?} is not the origin's");
            };
            let refusal = refusal(error, None, statuses);
            assert_eq!(
                (refusal.status.as_u16(), refusal.code),
                (status, code),
                "{kind:?}"
            );
        }
        let not_found = refusal(ProxyError::NotFound, None, statuses);
        assert_eq!(
            (not_found.status.as_u16(), not_found.code),
            (501, "NOT_FOUND")
        );
    }

    #[test]
    fn a_client_that_left_is_told_nothing() {
        for kind in [ErrorType::WriteError, ErrorType::H2Error] {
            assert_eq!(fault(kind, ErrorSource::Downstream), Fault::ClientGone);
        }
        assert_eq!(
            fault(ErrorType::InternalError, ErrorSource::Internal),
            Fault::Proxy
        );
    }

    #[test]
    fn a_silent_origin_is_not_the_clients_fault() {
        let silent = UpstreamSilent::new(std::time::Duration::from_secs(1));
        let cause = io::Error::new(io::ErrorKind::TimedOut, silent);
        let mut error = Error::because(ErrorType::ReadError, "while idle", cause);
        error.as_down();
        assert_eq!(Fault::of(&error), Fault::Upstream(ProxyError::Timeout));
        let mut error = Error::because(ErrorType::WriteError, "writing", io::Error::from(Drained));
        error.as_down();
        assert_eq!(Fault::of(&error), Fault::Upstream(ProxyError::Drained));
    }
}
