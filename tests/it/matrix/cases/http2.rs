//! What upstreams of HTTP/2 alone can say, well and badly (RFC 9113, 8.1).

use super::super::case::{Act, Case, Outcome, Rule, Seen};
use super::passes;
use crate::support::pattern;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = bodies();
    cases.extend(lengths());
    cases.extend(statuses());
    cases
}

fn head(status: u16, lengths: &[&str], ends: bool) -> Act {
    let fields = lengths
        .iter()
        .map(|length| ("content-length", (*length).to_owned()));
    Act::Head {
        status,
        fields: fields.collect(),
        ends,
    }
}

fn data(text: &str, ends: bool) -> Act {
    Act::Data(text.into(), ends)
}

/// RFC 9113, 8.1.1: a length is not needed.
fn bodies() -> Vec<Case> {
    let streamed = |name, body: &str, acts| Case::new(name, passes(200, body, false)).acting(acts);
    let large = pattern(300 * 1024);
    let outcome = Outcome::Passes {
        status: 200,
        body: large.clone(),
        is_sized: false,
    };
    vec![
        streamed(
            "http2_without_length",
            "ok",
            vec![head(200, &[], false), data("ok", true)],
        ),
        streamed(
            "http2_in_pieces",
            "okok",
            vec![
                head(200, &[], false),
                data("ok", false),
                data("ok", false),
                data("", true),
            ],
        ),
        streamed(
            "http2_empty_data",
            "",
            vec![head(200, &[], false), data("", true)],
        ),
        streamed(
            "http2_data_of_nothing_between",
            "ok",
            vec![
                head(200, &[], false),
                data("", false),
                data("ok", false),
                data("", true),
            ],
        ),
        Case::new("http2_large", outcome)
            .acting(vec![head(200, &[], false), Act::Data(large, true)]),
    ]
}

/// RFC 9113, 8.1.1: a body that is not as long as it says is malformed.
fn lengths() -> Vec<Case> {
    let bad = |name, acts| Case::new(name, Outcome::FailsOrCut).acting(acts);
    vec![
        bad(
            "http2_less_than_length",
            vec![head(200, &["5"], false), data("ok", true)],
        ),
        bad(
            "http2_more_than_length",
            vec![head(200, &["1"], false), data("ok", true)],
        ),
        bad("http2_length_without_body", vec![head(200, &["5"], true)]),
        bad(
            "http2_lengths_differing",
            vec![head(200, &["2", "3"], false), data("ok", true)],
        ),
        bad(
            "http2_length_that_is_none",
            vec![head(200, &["0x2"], false), data("ok", true)],
        ),
        // RFC 9110, 8.6: it may be refused, or become one.
        Case::new(
            "http2_length_twice",
            passes(200, "ok", true).or(Outcome::FailsOrCut),
        )
        .acting(vec![head(200, &["2", "2"], false), data("ok", true)]),
        // RFC 9110, 8.6: a 204 has no Content-Length, and the client must not see one.
        Case::new(
            "http2_no_content_with_length",
            passes(204, "", false).or(Outcome::FailsOrCut),
        )
        .acting(vec![head(204, &["0"], true)]),
        // RFC 9110, 6.4.1 and 9.3.2: the head is the whole response, whatever comes behind it.
        Case::new("http2_head_with_data", passes(200, "", false))
            .method("HEAD")
            .acting(vec![head(200, &["2"], false), data("ok", true)]),
        Case::new("http2_head_with_data_of_no_length", passes(200, "", false))
            .method("HEAD")
            .acting(vec![head(200, &[], false), data("ok", true)]),
        Case::new("http2_head_with_data_of_nothing", passes(200, "", false))
            .method("HEAD")
            .acting(vec![head(200, &["2"], false), data("", true)]),
        Case::new("http2_no_content_with_data", passes(204, "", false))
            .acting(vec![head(204, &[], false), data("ok", true)]),
        // RFC 9110, 15.4.5: the length is that of another response.
        Case::new("http2_not_modified_with_length", passes(304, "", false)).acting(vec![head(
            304,
            &["5"],
            true,
        )]),
    ]
}

fn statuses() -> Vec<Case> {
    let no_101 = Rule::new("no 101", |_, seen: &Seen| seen.status != 101);
    vec![
        // RFC 9113, 8.6: HTTP/2 has no 101.
        Case::new("http2_switching", Outcome::FailsOrCut)
            .acting(vec![head(101, &[], true)])
            .sees(no_101),
        // RFC 9113, 8.1: an interim response does not end the stream.
        Case::new("http2_interim_that_ends", Outcome::FailsOrCut).acting(vec![head(
            103,
            &[],
            true,
        )]),
    ]
}
