//! Responses that come before the request's end (RFC 9110, 7.5; RFC 9112, 9.6).

use super::super::case::{Act, Body, Case, Step};
use super::passes;
use crate::support::pattern;

const SIZE: usize = 1 << 20;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        upload(
            "early_401_drop",
            401,
            Body::Length(pattern(SIZE)),
            Some(Step::Drop),
        ),
        upload(
            "early_413_drop",
            413,
            Body::Unknown(pattern(SIZE)),
            Some(Step::Drop),
        ),
        upload(
            "early_401_close",
            401,
            Body::Unknown(pattern(SIZE)),
            Some(Step::Close),
        ),
        upload(
            "early_413_close",
            413,
            Body::Length(pattern(SIZE)),
            Some(Step::Close),
        ),
        upload("early_and_reading", 200, Body::Length(pattern(SIZE)), None),
        upload(
            "early_and_reading_chunks",
            200,
            Body::Unknown(pattern(SIZE)),
            None,
        ),
    ]
}

/// An upload that is answered on its head alone; then the connection ends, or the body is read.
fn upload(name: &'static str, status: u16, body: Body, end: Option<Step>) -> Case {
    let connection = if end.is_some() {
        "Connection: close\r\n"
    } else {
        ""
    };
    let text = format!("HTTP/1.1 {status} Early\r\n{connection}Content-Length: 5\r\n\r\nearly");
    let times = if end.is_some() { 20 } else { 3 };
    let head = Act::Head {
        status,
        fields: vec![("content-length", "5".to_owned())],
        ends: false,
    };
    let mut acts = vec![head, Act::Data(b"early".to_vec(), true)];
    if end.is_none() {
        acts.push(Act::ReadBody);
    }
    let steps = vec![Step::Send(text.into()), end.unwrap_or(Step::ReadBody)];
    let case = Case::new(name, passes(status, "early", true))
        .method("PUT")
        .body(body);
    case.early(steps).acting(acts).times(times).slow()
}
