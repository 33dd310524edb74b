//! The interface of this module's parsers for the fuzz targets (`fuzz/`): plain facts about bytes.

use std::task::{Context, Waker};

use http::HeaderMap;

use super::rules::failure::Failure;
use super::rules::request::UpstreamRequest;
use super::rules::response::{Asked, ResponseHead};
use super::upstream::response_reader::ResponseReader;
use super::upstream::{Question, ResponseSink};
use crate::front::fuzzing::OwnedField;
use crate::front::{Framing, Request};

/// The field of a request's id.
const ID_FIELD: &str = "x-request-id";

/// The head that an upstream of HTTP/1 is sent for a request.
#[must_use]
pub fn forwarded(request: &Request, is_trusted: bool) -> Vec<u8> {
    let upstream = UpstreamRequest {
        request,
        is_trusted,
        is_encrypted: false,
        id_field: ID_FIELD,
        id: b"7",
    };
    upstream.write_http1()
}

/// The kind of response that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// By `HEAD`: a response without its body.
    Head,
    /// Another protocol.
    Upgrade,
    /// Anything else.
    Body,
}

/// A record of all that the reader of a response has reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub struct Heard {
    /// The statuses of interim responses, and the fields that are for the client.
    pub interim: Vec<(u16, Vec<OwnedField>)>,
    pub status: Option<u16>,
    pub reason: String,
    /// The fields that are for the client.
    pub fields: Vec<OwnedField>,
    pub framing: Option<Framing>,
    pub body: Vec<u8>,
    /// How often its end was told.
    pub ends: usize,
    pub is_complete: bool,
    pub is_switched: bool,
    /// Whether it lasts until the connection ends.
    pub ends_with_connection: bool,
    /// Whether the connection can be used again.
    pub keeps: bool,
    pub is_refused: bool,
    /// How many pieces had come with the head.
    pub head_pieces: Option<usize>,
    /// How many pieces had come when it was complete.
    pub complete_pieces: Option<usize>,
}

struct Notes(Heard);

fn owned(head: &ResponseHead<'_>) -> Vec<OwnedField> {
    let own = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    head.for_client().map(own).collect()
}

impl ResponseSink for Notes {
    fn inform(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.0.interim.push((head.status.as_u16(), owned(head)));
        Ok(())
    }

    fn begin(&mut self, head: &ResponseHead<'_>) -> Result<(), Failure> {
        self.0.status = Some(head.status.as_u16());
        head.reason.clone_into(&mut self.0.reason);
        self.0.fields = owned(head);
        self.0.framing = Some(head.framing);
        Ok(())
    }

    fn data(&mut self, _context: &mut Context<'_>, data: &[u8]) -> Result<(), Failure> {
        self.0.body.extend_from_slice(data);
        Ok(())
    }

    fn end(&mut self, _trailers: Option<HeaderMap>) -> Result<(), Failure> {
        self.0.ends += 1;
        Ok(())
    }
}

/// Hears the response of an upstream of HTTP/1 that comes in these pieces.
pub fn response<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, asked: Ask) -> Heard {
    let asked = match asked {
        Ask::Head => Asked::Head,
        Ask::Upgrade => Asked::Upgrade,
        Ask::Body => Asked::Body,
    };
    let mut reader = ResponseReader::new(Question {
        asked,
        id_field: ID_FIELD,
    });
    let mut notes = Notes(Heard::default());
    let mut context = Context::from_waker(Waker::noop());
    for (count, piece) in (1..).zip(pieces) {
        let heard = reader.hear(&mut context, piece, &mut notes);
        if notes.0.status.is_some() {
            notes.0.head_pieces.get_or_insert(count);
        }
        if reader.is_complete() {
            notes.0.complete_pieces.get_or_insert(count);
        }
        if heard.is_err() {
            notes.0.is_refused = true;
            break;
        }
    }
    Heard {
        is_complete: reader.is_complete(),
        is_switched: reader.is_switched(),
        ends_with_connection: reader.ends_with_connection(),
        keeps: reader.keeps(),
        ..notes.0
    }
}
