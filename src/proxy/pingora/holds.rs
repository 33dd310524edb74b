//! What the front keeps for an exchange that goes through Pingora: which instance it is on, and for how long it
//! may be silent.

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::Exchange;
use crate::front::{Drained, Hold};
use crate::proxy::peer::{self, Kind};
use crate::route::Instance;

/// From here on the exchange goes to this instance, and ends with it.
pub(in crate::proxy) fn serve(session: &Session, instance: &Instance) -> Result<()> {
    let Some(hold) = Hold::of(session.as_downstream()) else {
        return Ok(());
    };
    hold.leash().serve(instance.serial);
    if instance.is_over() {
        // Before that call nobody could have cut it.
        let drained = std::io::Error::from(Drained);
        let error = Error::because(ErrorType::ConnectError, "the drain is over", drained);
        return Err(error.into_up());
    }
    Ok(())
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
        peer::be_patient(session, &exchange.timeouts, Kind::Upload);
    }
    if let Some(hold) = Hold::of(session.as_downstream()) {
        hold.patience().begin_answer();
        if is_websocket && is_switch {
            hold.begin_websocket();
        }
    }
    exchange.has_begun = true;
}
