//! The record of an exchange, and the one place where every exchange ends.

use std::fmt;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use log::{debug, info, log_enabled};

use super::in_flight::InFlight;
use crate::front::{Request, RequestId};
use crate::health;

/// Information about an exchange. When it is dropped, the exchange has ended: however that came, it is told
/// here, once.
pub(super) struct Record {
    pub(super) subject: Subject,
    pub(super) id: RequestId,
    /// The route and the instance, while the request is there.
    pub(super) in_flight: Option<InFlight>,
    /// Whether the client's side is encrypted.
    pub(super) is_encrypted: bool,
    /// Whether it is a call of gRPC, and the response, if it has begun, is one to a call.
    pub(super) is_grpc: bool,
    /// How many connections have been tried.
    pub(super) tries: usize,
    /// Why it has ended.
    pub(super) end: End,
    status: Option<StatusCode>,
    received: u64,
    sent: u64,
    phases: Option<Box<Phases>>,
}

/// The request of an exchange, or the summary that remains of it.
pub(super) enum Subject {
    /// The request, while it may still be asked for.
    Request(Box<Request>),
    /// Its names, once it has been switched to another protocol.
    Summary(Box<RequestSummary>),
}

/// How a request is called in the log and in events.
#[derive(Clone, Debug)]
pub(super) struct RequestSummary {
    pub(super) method: Method,
    /// The host as it is matched; empty if the request names none.
    pub(super) host: String,
    /// The path as it is matched; as it came, if it cannot be.
    pub(super) path: String,
}

/// Why an exchange has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its task was dropped before it came to an end.
    Dropped,
    /// The response is complete.
    Complete,
    /// The client has left.
    ClientGone,
    /// The proxy has answered itself, for this reason.
    Reply(&'static str),
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped => formatter.write_str("ended from outside"),
            Self::Complete => formatter.write_str("complete"),
            Self::ClientGone => formatter.write_str("left by the client"),
            Self::Reply(code) => write!(formatter, "replied {code}"),
        }
    }
}

/// When the parts of an exchange began; kept only while somebody reads it.
#[derive(Clone, Copy, Debug)]
struct Phases {
    began: Instant,
    first_byte: Option<Duration>,
}

impl Record {
    pub(super) fn new(request: Box<Request>, id: RequestId, is_encrypted: bool) -> Self {
        Self {
            is_grpc: request.is_grpc(),
            subject: Subject::Request(request),
            id,
            in_flight: None,
            is_encrypted,
            tries: 0,
            end: End::Dropped,
            status: None,
            received: 0,
            sent: 0,
            phases: log_enabled!(log::Level::Debug).then(|| {
                Box::new(Phases {
                    began: Instant::now(),
                    first_byte: None,
                })
            }),
        }
    }

    /// The request, unless it has been switched to another protocol.
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.subject {
            Subject::Request(request) => Some(request),
            Subject::Summary(_) => None,
        }
    }

    /// Forgets the request: its connection speaks another protocol from here on.
    pub(super) fn forget_request(&mut self) {
        self.subject = Subject::Summary(Box::new(self.summary()));
    }

    pub(super) fn summary(&self) -> RequestSummary {
        match &self.subject {
            Subject::Request(request) => RequestSummary {
                method: request.method().clone(),
                host: request.host().to_owned(),
                path: request.path().to_owned(),
            },
            Subject::Summary(summary) => RequestSummary::clone(summary),
        }
    }

    /// How many bytes of bodies, or of another protocol, have come from either side.
    pub(super) fn moved(&self) -> u64 {
        self.received + self.sent
    }

    /// The client is answered with this status.
    pub(super) fn respond(&mut self, status: StatusCode) {
        self.status = Some(status);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.respond(status);
        }
        if let Some(phases) = &mut self.phases {
            phases.first_byte = Some(phases.began.elapsed());
        }
    }

    /// So many bytes of the request's body have come.
    pub(super) fn receive(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if let Some(in_flight) = &self.in_flight
            && bytes > 0
        {
            in_flight.received(bytes);
        }
    }

    /// How many bytes of the request's body have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// So many bytes of the response's body go to the client.
    pub(super) fn send(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if let Some(in_flight) = &self.in_flight
            && bytes > 0
        {
            in_flight.sent(bytes);
        }
    }
}

/// The request in a log line: its id, what it asks for, and where it goes. The target is internal and
/// stands only in the log.
impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestSummary { method, host, path } = self.summary();
        write!(formatter, "{method} {host}{}", path.escape_debug())?;
        if let Some(in_flight) = &self.in_flight {
            write!(formatter, " -> {}", in_flight.instance().target)?;
        }
        write!(formatter, " [{}]", self.id)
    }
}

/// The end of every exchange.
impl Drop for Record {
    fn drop(&mut self) {
        if self.end == End::Reply(health::CODE) {
            // Probes come every few seconds, and nobody wants to read of them.
            return;
        }
        if self.end == End::Dropped {
            info!("{self}: ended from outside: its connection, or the proxy, has ended");
        }
        let Some(phases) = &self.phases else {
            return;
        };
        let status = self
            .status
            .map_or_else(|| "no status".to_owned(), |status| status.to_string());
        let first_byte = phases.first_byte.map_or_else(
            || "no response".to_owned(),
            |first_byte| format!("response after {first_byte:?}"),
        );
        debug!(
            "{self}: {status}, {} after {:?} ({first_byte}); connections tried: {}; bytes received: {}, \
             sent: {}",
            self.end,
            phases.began.elapsed(),
            self.tries,
            self.received,
            self.sent,
        );
    }
}
