//! Upstreams that leave in the middle of something.

use h2::Reason;

use super::super::case::{Act, Asked, Body, Case, Outcome, Rule, Step};
use super::super::pair::Upstream;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = before_the_head();
    cases.extend(behind_the_head());
    cases.extend(resets());
    cases.extend(http2());
    cases
}

fn closed() -> Outcome {
    Outcome::Own(500, "UPSTREAM_CLOSED")
}

fn before_the_head() -> Vec<Case> {
    let cut = |name, text: &str| Case::new(name, closed()).closing(text);
    vec![
        cut("cut_before_any_byte", ""),
        cut("cut_in_the_version", "HTT"),
        cut("cut_in_the_status_line", "HTTP/1.1 20"),
        cut("cut_in_the_fields", "HTTP/1.1 200 OK\r\nContent-Le"),
        cut(
            "cut_before_the_heads_end",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        ),
        cut("cut_of_a_head", "").method("HEAD"),
        post(cut("cut_of_a_post", "")),
        post(cut("cut_of_a_post_in_the_head", "HTTP/1.1 200 OK\r\n")),
    ]
}

/// RFC 9110, 9.2.2: a request that is not idempotent is not retried automatically.
fn post(case: Case) -> Case {
    let whole = Rule::new("a whole body", |_, asked: &Asked| asked.body == b"once");
    let case = case.method("POST").body(Body::Length(b"once".to_vec()));
    case.asks(whole).once()
}

/// RFC 9112, 8: what came is incomplete, and the client has to be able to see that.
fn behind_the_head() -> Vec<Case> {
    let cut = |name, text: &str| {
        Case::new(name, Outcome::Cut).closing(format!("HTTP/1.1 200 OK\r\n{text}"))
    };
    let chunked =
        |name, text: &str| cut(name, &format!("Transfer-Encoding: chunked\r\n\r\n{text}"));
    vec![
        cut("cut_behind_the_head", "Content-Length: 5\r\n\r\n"),
        cut("cut_in_the_body", "Content-Length: 5\r\n\r\nok"),
        cut(
            "cut_in_a_long_body",
            &format!("Content-Length: 300000\r\n\r\n{}", "x".repeat(200_000)),
        ),
        chunked("cut_before_the_first_chunk", ""),
        chunked("cut_in_a_chunk_size", "2\r\nok\r\n1"),
        chunked("cut_behind_a_chunk_size", "2\r\nok\r\n10\r\n"),
        chunked("cut_in_a_chunk", "10\r\nok"),
        chunked("cut_behind_a_chunks_data", "2\r\nok"),
        chunked("cut_between_chunks", "2\r\nok\r\n"),
        chunked("cut_in_the_last_chunk", "2\r\nok\r\n0\r\n"),
        chunked("cut_in_the_trailers", "2\r\nok\r\n0\r\nX-Sum: 1\r\n"),
    ]
}

fn resets() -> Vec<Case> {
    let reset = |name, outcome, bytes: &str| {
        let steps = vec![Step::Send(bytes.into()), Step::Reset];
        // Unix sockets have no RST.
        Case::new(name, outcome)
            .stepping(steps)
            .only(|pair| pair.upstream != Upstream::Unix)
    };
    let head = "HTTP/1.1 200 OK\r\n";
    vec![
        reset("reset_before_any_byte", closed(), ""),
        reset("reset_in_the_head", closed(), head),
        reset(
            "reset_in_the_body",
            Outcome::Cut,
            &format!("{head}Content-Length: 5\r\n\r\nok"),
        ),
        reset(
            "reset_between_chunks",
            Outcome::Cut,
            &format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
        ),
        // TLS: the length decides, with or without close_notify (RFC 9112, 9.8).
        Case::new("truncated_in_the_body", Outcome::Cut)
            .stepping(vec![
                Step::Send(format!("{head}Content-Length: 5\r\n\r\nok").into()),
                Step::Truncate,
            ])
            .only(|pair| pair.upstream == Upstream::Https),
    ]
}

fn http2() -> Vec<Case> {
    let case = |name, outcome, acts: Vec<Act>| {
        let acts = [vec![Act::ReadBody], acts].concat();
        Case::new(name, outcome).acting(acts)
    };
    let before = |name, act| case(name, Outcome::Fails, vec![act]);
    // The proxy may learn of the end before it has read the head; then it can still reply with 5xx.
    let behind = |name, act| {
        let head = Act::Head {
            status: 200,
            fields: Vec::new(),
            ends: false,
        };
        let data = Act::Data(b"ok".to_vec(), false);
        case(name, Outcome::FailsOrCut, vec![head, data, act])
    };
    let goaway = Act::GoAway(Reason::INTERNAL_ERROR);
    let timeout = || Outcome::Own(504, "TIMEOUT");
    vec![
        before(
            "http2_reset_before_the_head",
            Act::Reset(Reason::INTERNAL_ERROR),
        ),
        post(before(
            "http2_reset_of_a_post",
            Act::Reset(Reason::INTERNAL_ERROR),
        )),
        post(before("http2_close_of_a_post", Act::Close)).alone(),
        before("http2_refused_stream", Act::Reset(Reason::REFUSED_STREAM)),
        before("http2_goaway_before_the_head", goaway.clone()).alone(),
        before("http2_close_before_the_head", Act::Close).alone(),
        behind(
            "http2_reset_behind_the_head",
            Act::Reset(Reason::INTERNAL_ERROR),
        ),
        // A stream that ends without END_STREAM is incomplete, whatever the reason (RFC 9113, 8.1).
        behind(
            "http2_no_error_behind_the_head",
            Act::Reset(Reason::NO_ERROR),
        ),
        behind("http2_goaway_behind_the_head", goaway).alone(),
        behind("http2_close_behind_the_head", Act::Close).alone(),
        // RFC 9113, 8.1: an interim response has to be followed by a final one.
        case(
            "http2_interim_alone",
            Outcome::Fails,
            vec![Act::Interim(103), Act::Reset(Reason::CANCEL)],
        ),
        case("http2_silence", timeout(), vec![Act::Silence]).slow(),
        Case::new("silence", timeout())
            .stepping(vec![Step::AwaitEnd])
            .slow(),
    ]
}
