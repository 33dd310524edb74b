//! The front's state for an exchange that goes through Pingora: its instance, and how long it may be silent.

use std::os::fd::RawFd;
use std::time::Duration;

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::Exchange;
use crate::front::{DownstreamHandle, Drained};
use crate::proxy::options::ExchangeLimits;
use crate::proxy::peer::{self, Kind};
use crate::proxy::rules::failure::Failure;
use crate::route::Instance;

/// From here on the exchange goes to this instance, and ends with it.
pub(in crate::proxy) fn serve(session: &Session, instance: &Instance) -> Result<()> {
    let Some(hold) = DownstreamHandle::of(session.as_downstream()) else {
        return Ok(());
    };
    hold.abort().bind(instance.serial);
    if instance.is_over() {
        // Before that call nobody could have cut it.
        let drained = std::io::Error::from(Drained);
        let error = Error::because(ErrorType::ConnectError, "the drain is over", drained);
        return Err(error.into_up());
    }
    Ok(())
}

/// Watches what is sent to an upstream: Pingora does not end an exchange when nothing of it is taken.
pub(in crate::proxy) fn watch_upload(session: &Session, limit: Duration, upstream: RawFd) {
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        hold.abort().upload().begin(limit, upstream);
    }
}

/// The body of the request is over, with a last piece of it or without. To an upstream of HTTP/1 Pingora hands it
/// through a queue, and need not ask for more then: its own timers see to the rest.
pub(in crate::proxy) fn note_body_end(session: &Session, exchange: &Exchange, is_bare: bool) {
    let in_flight = exchange
        .record
        .as_ref()
        .and_then(|record| record.in_flight.as_ref());
    let is_http2 = in_flight
        .is_some_and(|in_flight| peer::speaks_only_http2(in_flight.instance().target.protocol));
    if (is_bare || !is_http2)
        && let Some(hold) = DownstreamHandle::of(session.as_downstream())
    {
        hold.abort().upload().end();
    }
}

/// The failure that an error of Pingora's is, and the end of the upload that was watched.
pub(in crate::proxy) fn failure(session: &Session, error: &Error, was_idle: bool) -> Failure {
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        let upload = hold.abort().upload();
        upload.end();
        if upload.has_passed() {
            // The front has shut the connection down.
            return Failure::unsent();
        }
    }
    Failure::of_pingora(error, was_idle)
}

/// Sets the rates that the client has to keep. The messages of a call of gRPC come when they come.
pub(in crate::proxy) fn set_rates(session: &Session, exchange: &Exchange, limits: &ExchangeLimits) {
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        let is_call = exchange.record.as_ref().is_some_and(|call| call.is_grpc);
        let upload = limits.upload_rate.filter(|_| !is_call);
        if let Some(rates) = hold.rates() {
            rates.set(upload, limits.download_rate);
        }
    }
}

/// Notes for the limits that the final response begins.
pub(in crate::proxy) fn begin_response(
    session: &Session,
    exchange: &mut Exchange,
    is_switch: bool,
) {
    let is_websocket = exchange.kind == Kind::Upgrade;
    if is_websocket && !is_switch {
        // Refused: a response like any other.
        peer::set_upstream_timeouts(session, &exchange.timeouts, Kind::Upload);
    }
    if let Some(hold) = DownstreamHandle::of(session.as_downstream()) {
        hold.upstream_timeouts().begin_answer();
        if is_websocket && is_switch {
            hold.begin_websocket();
        }
    }
    exchange.has_begun = true;
}
