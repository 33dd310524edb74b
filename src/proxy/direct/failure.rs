//! Why an exchange broke off.

use std::io;

use log::{debug, error, info, warn};

use super::answer::AnswerError;
use crate::answer::Refusal;
use crate::front::{BadChunk, Drained};
use crate::proxy::error::{self as faults, Fault};
use crate::registry::ProxyError;

/// Why an exchange broke off: whose fault it is, and the reason for the log.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) reason: Reason,
    /// Whether the connection to the target died, rather than that it said something wrong.
    pub(super) is_death: bool,
}

/// The reason for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Reason {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Invalid(#[from] AnswerError),
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("{0}")]
    Said(&'static str),
}

impl Failure {
    /// The target has done what it should not have.
    pub(super) fn of_origin(error: ProxyError, reason: &'static str) -> Self {
        Self {
            fault: Fault::Origin(error),
            reason: Reason::Said(reason),
            is_death: false,
        }
    }

    /// The target's answer is none.
    pub(super) fn invalid(error: AnswerError) -> Self {
        Self {
            fault: Fault::Origin(ProxyError::InvalidResponse),
            reason: Reason::Invalid(error),
            is_death: false,
        }
    }

    /// The target cannot be connected to.
    pub(super) fn unreachable(error: io::Error) -> Self {
        Self {
            fault: Fault::Origin(ProxyError::Unreachable),
            reason: Reason::Io(error),
            is_death: false,
        }
    }

    /// The connection to the target broke.
    pub(super) fn death(reason: Reason) -> Self {
        Self {
            fault: Fault::Origin(ProxyError::Broken),
            reason,
            is_death: true,
        }
    }

    /// The instance, or the proxy, is taken down.
    pub(super) fn drained() -> Self {
        Self {
            fault: Fault::Origin(ProxyError::Drained),
            reason: Reason::Io(Drained.into()),
            is_death: false,
        }
    }

    /// The client has left.
    pub(super) fn gone(reason: &'static str) -> Self {
        Self {
            fault: Fault::ClientGone,
            reason: Reason::Said(reason),
            is_death: false,
        }
    }

    /// The client has sent what is refused.
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self {
            fault: Fault::Client(refusal),
            reason: Reason::Said("the request is refused"),
            is_death: false,
        }
    }

    /// The request's body is not the chunks that its head has announced.
    pub(super) fn bad_chunk() -> Self {
        Self::refused(faults::bad_chunk())
    }

    /// Writes it into the log, behind what says which request it is about.
    pub(super) fn log(&self, summary: &str) {
        let reason = &self.reason;
        match &self.fault {
            Fault::ClientGone => debug!("{summary}: the client has gone: {reason}"),
            Fault::Origin(ProxyError::NotFound | ProxyError::Drained) => {
                info!("{summary}: {reason}");
            }
            Fault::Origin(error) => warn!("{summary}: {error}: {reason}"),
            Fault::Client(refusal) => info!("{summary}: {} {reason}", refusal.message),
            Fault::Proxy => error!("{summary}: {reason}"),
        }
    }

    /// What a read from a client or a write to it has met.
    pub(super) fn of_client(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<Drained>() => return Self::drained(),
            Some(inner) if inner.is::<BadChunk>() => return Self::bad_chunk(),
            _ => {}
        }
        Self {
            fault: Fault::ClientGone,
            reason: Reason::Io(error),
            is_death: false,
        }
    }
}
