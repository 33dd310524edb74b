//! Server-sent events (WHATWG HTML, 9.2), as they come.

use std::time::Duration;

use bytes::BytesMut;
use http::header::{ACCEPT, HeaderName};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::call::Call;
use super::connection::Client;
use super::error::ClientError;

/// The longest line.
const LONGEST: usize = 1 << 20;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Event {
    pub(in super::super) id: Option<String>,
    pub(in super::super) name: String,
    pub(in super::super) data: String,
}

/// A stream of events.
pub(in super::super) struct Events {
    body: Incoming,
    parser: Parser,
    /// How long the stream may be without a byte.
    silence: Duration,
    endpoint: String,
}

/// Takes bytes and gives events.
#[derive(Default)]
struct Parser {
    buffer: BytesMut,
    event: Event,
    has_data: bool,
}

impl Client {
    /// Opens the stream of events, after the one with the id `after` if it is given; with renewals of leases,
    /// if they are asked for.
    pub(in super::super) async fn events(
        &mut self,
        after: Option<&str>,
        has_renewals: bool,
        silence: Duration,
    ) -> Result<Events, ClientError> {
        let path = if has_renewals {
            "/v1/events?renewals=true"
        } else {
            "/v1/events"
        };
        let mut call = Call::get(path).field(ACCEPT, "text/event-stream")?;
        if let Some(id) = after {
            call = call.field(LAST_EVENT_ID, id)?;
        }
        Ok(Events {
            body: self.stream(call).await?,
            parser: Parser::default(),
            silence,
            endpoint: self.address(),
        })
    }
}

impl Events {
    /// The next event; `None` when the stream has ended.
    pub(in super::super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.parser.next().map_err(|what| self.odd(what))? {
                return Ok(Some(event));
            }
            let frame = timeout(self.silence, self.body.frame()).await;
            let frame = frame.map_err(|_elapsed| ClientError::TooSlow {
                endpoint: self.endpoint.clone(),
                after: self.silence,
            })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.parser.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(source)) => {
                    return Err(ClientError::Broken {
                        endpoint: self.endpoint.clone(),
                        source,
                    });
                }
            }
        }
    }

    fn odd(&self, what: &str) -> ClientError {
        ClientError::Odd {
            endpoint: self.endpoint.clone(),
            what: what.to_owned(),
        }
    }
}

impl Parser {
    /// The next event that has come as a whole.
    fn next(&mut self) -> Result<Option<Event>, &'static str> {
        while let Some(end) = memchr::memchr(b'\n', &self.buffer) {
            let line = self.buffer.split_to(end + 1);
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                // What is without data is no event, says the standard.
                if std::mem::take(&mut self.has_data) {
                    return Ok(Some(event));
                }
                continue;
            }
            self.line(line);
            if self.event.data.len() > LONGEST {
                return Err("sent an event that is too long");
            }
        }
        if self.buffer.len() > LONGEST {
            return Err("sent a line that is too long");
        }
        Ok(None)
    }

    fn line(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection alive; anything else is for others.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&str]) -> Vec<(Option<String>, String, String)> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.buffer.extend_from_slice(piece.as_bytes());
            while let Some(event) = parser.next().unwrap() {
                events.push((event.id, event.name, event.data));
            }
        }
        events
    }

    #[test]
    fn events_come_in_any_pieces() {
        let text =
            ": hello\n\nid: 1-7\nevent: route_created\ndata: {\"a\":\ndata: 1}\n\nevent: none\n\n";
        let expected = vec![(
            Some("1-7".to_owned()),
            "route_created".to_owned(),
            "{\"a\":\n1}".to_owned(),
        )];
        assert_eq!(parse(&[text]), expected);
        assert_eq!(parse(&[&text.replace('\n', "\r\n")]), expected);
        let pieces: Vec<&str> = text.split_inclusive(|_: char| true).collect();
        assert_eq!(parse(&pieces), expected);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        parser.buffer.extend_from_slice(&vec![b'x'; LONGEST + 1]);
        assert!(parser.next().is_err());
    }
}
