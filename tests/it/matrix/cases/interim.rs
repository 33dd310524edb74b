//! Responses before the response (RFC 9110, 15.2).

use super::super::case::{Act, Asked, Body, Case, Outcome, Rule, Seen, Step};
use super::super::pair::Pair;
use super::passes;

const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const REFUSAL: &[u8] =
    b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Between two sides of HTTP/1.1 all of them pass, in order (RFC 9110, 15.2).
fn interim(statuses: &'static [u16]) -> Rule<Seen> {
    Rule::new(
        format!("interim responses {statuses:?}"),
        move |pair, seen: &Seen| !pair.is_http11() || seen.interim == statuses,
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = hints();
    cases.extend(expectations());
    cases.extend(without_end());
    cases
}

fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.to_vec())
}

/// A final response of HTTP/2.
fn ok_acts() -> [Act; 2] {
    let head = Act::Head {
        status: 200,
        fields: vec![("content-length", "2".to_owned())],
        ends: false,
    };
    [head, Act::Data(b"ok".to_vec(), true)]
}

fn hints() -> Vec<Case> {
    let ok = |name| Case::new(name, passes(200, "ok", true));
    let [head, data] = ok_acts();
    let (processing, unknown): (&[u8], &[u8]) = (
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 199 Mine\r\n\r\n",
    );
    vec![
        ok("early_hints")
            .stepping(vec![send(HINTS), send(OK)])
            .acting(vec![Act::Interim(103), head, data])
            .sees(interim(&[103])),
        ok("early_hints_in_one_piece")
            .sending([HINTS, OK].concat())
            .sees(interim(&[103])),
        ok("interim_of_all_kinds")
            .sending([processing, HINTS, unknown, OK].concat())
            .sees(interim(&[102, 103, 199])),
        ok("continue_unasked").sending([CONTINUE, OK].concat()),
    ]
}

/// Requests with `Expect: 100-continue` (RFC 9110, 10.1.1).
fn expectations() -> Vec<Case> {
    let put = |name, outcome| {
        let case = Case::new(name, outcome).method("PUT");
        let case = case.with("Expect", "100-continue");
        case.body(Body::Length(b"body".to_vec()))
    };
    let [head, data] = ok_acts();
    let body = Rule::new("the body", |_, asked: &Asked| asked.body == b"body");
    let mut waiting = put("expect_continue", passes(200, "ok", true))
        .early(vec![send(CONTINUE), Step::ReadBody, send(OK)])
        .sees(interim(&[100]))
        .asks(body);
    waiting.request.waits = true;
    let mut refused = put("expect_refused", passes(417, "", true))
        .early(vec![send(REFUSAL), Step::Close])
        .only(Pair::is_http11);
    refused.request.waits = true;
    // An upstream of HTTP/2 is not waited for: its interim responses are not expected to pass yet.
    let unheard = put("expect_continue_http2", passes(200, "ok", true));
    let unheard = unheard.acting(vec![Act::Interim(100), Act::ReadBody, head, data]);
    vec![waiting, refused, unheard]
}

/// Interim responses, however many, do not extend the wait for the final response.
fn without_end() -> Vec<Case> {
    let fails = |name| Case::new(name, Outcome::Fails);
    vec![
        fails("interim_and_silence")
            .stepping(vec![Step::Send(HINTS.repeat(200)), Step::AwaitEnd])
            .slow(),
        fails("interim_without_end")
            .stepping(vec![Step::Drip(HINTS)])
            .slow(),
        fails("interim_and_end").closing(HINTS),
    ]
}
