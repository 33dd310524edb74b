//! Responses before the response (RFC 9110, 15.2).

use super::super::case::{Act, Asked, Body, Case, Outcome, Rule, Seen, Step};
use super::super::pair::Pair;
use super::passes;

const HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Between two sides of HTTP/1.1 all of them pass, in order (RFC 9110, 15.2).
fn interim(statuses: &'static [u16]) -> Rule<Seen> {
    Rule::new(
        format!("interim responses {statuses:?}"),
        move |pair, seen: &Seen| !pair.is_http11() || seen.interim == statuses,
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let ok = |name| Case::new(name, passes(200, "ok", true));
    let head = Act::Head {
        status: 200,
        fields: vec![("content-length", "2".to_owned())],
        ends: false,
    };
    let data = Act::Data(b"ok".to_vec(), true);
    let send = |bytes: &[u8]| Step::Send(bytes.to_vec());
    let mut waiting = ok("expect_continue")
        .method("PUT")
        .with("Expect", "100-continue")
        .body(Body::Length(b"body".to_vec()))
        .early(vec![
            send(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Step::ReadBody,
            send(OK),
        ])
        .acting(vec![
            Act::Interim(100),
            Act::ReadBody,
            head.clone(),
            data.clone(),
        ])
        .sees(interim(&[100]))
        .asks(Rule::new("the body", |_, asked: &Asked| {
            asked.body == b"body"
        }));
    // Interim responses of HTTP/2 upstreams are not expected yet.
    waiting.request.waits = true;
    waiting.is_for = |pair| !pair.upstream.is_http2();
    let mut refused = Case::new("expect_refused", passes(417, "", true))
        .method("PUT")
        .with("Expect", "100-continue")
        .body(Body::Length(b"body".to_vec()))
        .early(vec![
            send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            Step::Close,
        ])
        .only(Pair::is_http11);
    refused.request.waits = true;
    vec![
        ok("early_hints")
            .stepping(vec![send(HINTS), send(OK)])
            .acting(vec![Act::Interim(103), head.clone(), data.clone()])
            .sees(interim(&[103])),
        ok("early_hints_in_one_piece")
            .sending([HINTS, OK].concat())
            .sees(interim(&[103])),
        ok("interim_of_all_kinds")
            .sending(
                [
                    b"HTTP/1.1 102 Processing\r\n\r\n",
                    HINTS,
                    b"HTTP/1.1 199 Mine\r\n\r\n",
                    OK,
                ]
                .concat(),
            )
            .sees(interim(&[102, 103, 199])),
        ok("continue_unasked").sending([b"HTTP/1.1 100 Continue\r\n\r\n", OK].concat()),
        waiting,
        ok("expect_continue_http2")
            .method("PUT")
            .with("Expect", "100-continue")
            .body(Body::Length(b"body".to_vec()))
            .acting(vec![Act::Interim(100), Act::ReadBody, head, data]),
        refused,
        // Interim responses, however many, do not extend the wait for the final response.
        Case::new("interim_and_silence", Outcome::Fails)
            .stepping(vec![Step::Send(HINTS.repeat(200)), Step::AwaitEnd])
            .slow(),
        Case::new("interim_without_end", Outcome::Fails)
            .stepping(vec![Step::Drip(HINTS)])
            .slow(),
        Case::new("interim_and_end", Outcome::Fails).closing(HINTS),
    ]
}
