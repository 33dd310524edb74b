//! Responses that come before the request's end (RFC 9110, 7.5; RFC 9112, 9.6).

use super::super::case::{Act, Body, Case, Step};
use super::passes;
use crate::support::pattern;

const SIZE: usize = 4 << 20;

pub(crate) fn cases() -> Vec<Case> {
    let sized = || Body::Length(pattern(SIZE));
    let chunked = || Body::Unknown(pattern(SIZE));
    let some = || Step::ReadSome(100_000);
    vec![
        upload("early_401_drop", 401, sized(), None, Some(Step::Drop)),
        upload("early_413_drop", 413, chunked(), None, Some(Step::Drop)),
        upload("early_401_close", 401, chunked(), None, Some(Step::Close)),
        upload("early_413_close", 413, sized(), None, Some(Step::Close)),
        upload(
            "midway_401_drop",
            401,
            sized(),
            Some(some()),
            Some(Step::Drop),
        ),
        upload(
            "midway_413_drop",
            413,
            chunked(),
            Some(some()),
            Some(Step::Drop),
        ),
        upload(
            "midway_413_close",
            413,
            sized(),
            Some(some()),
            Some(Step::Close),
        ),
        upload("early_and_reading", 200, sized(), None, None),
        upload("early_and_reading_chunks", 200, chunked(), None, None),
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
