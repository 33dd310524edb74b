//! Chunk extensions, trailers and heads without an end. 96 KiB are sent, then nothing: more than the
//! limit of 64 KiB, so that the exchange has to end before a timeout does it.

use std::time::Duration;

use super::super::case::{Asked, Body, Case, Outcome, Rule, Step};

const MUCH: usize = 96 * 1024;

/// How long a head of 200 KiB may take, with an unoptimised build on a busy machine.
const SOON: Duration = Duration::from_secs(2);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = of_upstreams();
    cases.extend(of_clients());
    cases
}

fn of_upstreams() -> Vec<Case> {
    let endless = |name, text: String| {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}");
        Case::new(name, Outcome::FailsOrCut)
            .stepping(vec![Step::Send(text.into()), Step::AwaitEnd])
            .asks(Rule::new(
                "the upstream's connection to be closed",
                |_, asked: &Asked| asked.has_ended == Some(true),
            ))
    };
    let folded = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Long: a\r\n{}Content-Length: 2\r\n\r\nok",
        " ab\r\n".repeat(40_000)
    );
    let pieces = folded.as_bytes().chunks(500);
    let mut pieces: Vec<_> = pieces.map(|piece| Step::Send(piece.to_vec())).collect();
    pieces.push(Step::Close);
    vec![
        endless(
            "endless_chunk_extension",
            format!("2;a={}", "a".repeat(MUCH)),
        ),
        endless(
            "endless_chunk_extensions",
            "1;a=b\r\nx\r\n".repeat(100) + "2;a=" + &"b".repeat(MUCH),
        ),
        endless("endless_zeros", "0".repeat(MUCH)),
        endless(
            "endless_trailer",
            format!("0\r\nX-Sum: {}", "a".repeat(MUCH)),
        ),
        endless(
            "endless_trailers",
            format!("0\r\n{}", "X-Sum: a\r\n".repeat(MUCH / 10)),
        ),
        // It may be refused, but its cost has to be linear, however it arrives.
        Case::new("head_of_many_folds", Outcome::Answered)
            .closing(folded.clone())
            .within(SOON)
            .alone(),
        Case::new("head_of_many_folds_in_pieces", Outcome::Answered)
            .stepping(pieces)
            .within(SOON)
            .alone(),
        Case::new("head_of_many_fields", Outcome::Fails).closing(format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok",
            "X-A: b\r\n".repeat(40_000)
        )),
        Case::new("head_without_end", Outcome::Fails)
            .stepping(vec![
                Step::Send(format!("HTTP/1.1 200 OK\r\nX-A: {}", "b".repeat(4 << 20)).into()),
                Step::AwaitEnd,
            ])
            .slow(),
    ]
}

fn of_clients() -> Vec<Case> {
    let endless = |name, text: String| {
        Case::new(name, Outcome::BadRequest)
            .method("POST")
            .body(Body::RawChunks(text.into()))
            .answering(200, &[], "ok")
            .slow()
    };
    vec![
        endless(
            "endless_chunk_extension_of_client",
            format!("2;a={}", "a".repeat(MUCH)),
        ),
        endless("endless_zeros_of_client", "0".repeat(MUCH)),
        endless(
            "endless_trailer_of_client",
            format!("0\r\nX-Sum: {}", "a".repeat(MUCH)),
        ),
        endless(
            "endless_trailers_of_client",
            format!("0\r\n{}", "X-Sum: a\r\n".repeat(MUCH / 10)),
        ),
        // RFC 9112, 7.1.
        endless(
            "chunk_size_with_words_of_client",
            "2 erf\r\nok\r\n0\r\n\r\n".into(),
        ),
        endless(
            "chunk_size_with_prefix_of_client",
            "0x2\r\nok\r\n0\r\n\r\n".into(),
        ),
        endless(
            "chunk_size_negative_of_client",
            "-2\r\nok\r\n0\r\n\r\n".into(),
        ),
        endless(
            "chunk_size_of_17_digits_of_client",
            "10000000000000002\r\nok\r\n0\r\n\r\n".into(),
        ),
        endless(
            "chunk_longer_than_its_size_of_client",
            "2\r\nokay\r\n0\r\n\r\n".into(),
        ),
    ]
}
