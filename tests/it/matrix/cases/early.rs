//! Responses that come before the request's end (RFC 9110, 7.5; RFC 9112, 9.6).

use super::super::case::{Act, Body, Case, Step};
use super::passes;
use crate::support::pattern;

/// How long most uploads are.
const SIZE: usize = 1 << 20;

/// How long an upload is that the buffers of all connections together do not hold.
const LARGE: usize = 4 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let sized = |size| Body::Length(pattern(size));
    let chunked = |size| Body::Unknown(pattern(size));
    let early = |name, status, body, end| upload(name, status, body, None, Some(end));
    let midway = |name, status, body, end| {
        let some = Step::ReadSome(100_000);
        upload(name, status, body, Some(some), Some(end))
    };
    vec![
        early("early_401_drop", 401, sized(SIZE), Step::Drop),
        early("early_413_drop", 413, chunked(SIZE), Step::Drop),
        early("early_401_close", 401, chunked(SIZE), Step::Close),
        early("early_413_close", 413, sized(SIZE), Step::Close),
        midway("midway_401_drop", 401, sized(LARGE), Step::Drop),
        midway("midway_413_drop", 413, chunked(LARGE), Step::Drop),
        midway("midway_413_close", 413, sized(LARGE), Step::Close),
        upload("early_and_reading", 200, sized(SIZE), None, None),
        upload("early_and_reading_chunks", 200, chunked(SIZE), None, None),
    ]
}

/// An upload that is answered on its head alone, or after some of it; then the connection ends, or the
/// body is read.
fn upload(
    name: &'static str,
    status: u16,
    body: Body,
    before: Option<Step>,
    end: Option<Step>,
) -> Case {
    let is_end = end.is_some();
    let connection = if is_end { "Connection: close\r\n" } else { "" };
    let text = format!("HTTP/1.1 {status} Early\r\n{connection}Content-Length: 5\r\n\r\nearly");
    let response = [Step::Send(text.into()), end.unwrap_or(Step::ReadBody)];
    let is_midway = before.is_some();
    let steps = before.into_iter().chain(response).collect();
    let case = Case::new(name, passes(status, "early", true));
    let case = case.method("PUT").body(body).early(steps).slow();
    let case = case.times(if is_end { 20 } else { 3 });
    if is_midway {
        return case;
    }
    case.acting(acts(status, is_end))
}

/// An early response over HTTP/2: the upstream then resets the stream, or reads the request to its end.
fn acts(status: u16, is_end: bool) -> Vec<Act> {
    let head = Act::Head {
        status,
        fields: vec![("content-length", "5".to_owned())],
        ends: false,
    };
    let mut acts = vec![head, Act::Data(b"early".to_vec(), true)];
    if !is_end {
        acts.push(Act::ReadBody);
    }
    acts
}
