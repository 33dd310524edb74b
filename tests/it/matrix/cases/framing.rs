//! How responses say where they end.

use super::super::case::{Act, Asked, Case, Outcome, Rule, Step, field, no_field};
use super::super::pair::Upstream;
use super::{invalid, passes};
use crate::support::pattern;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(codings());
    cases.extend(close_delimited());
    cases.extend(heads());
    cases.extend(without_body());
    cases.extend(large());
    cases.extend(statuses());
    cases
}

fn ok(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

fn lengths() -> Vec<Case> {
    let sized = |name| Case::new(name, passes(200, "ok", true));
    vec![
        Case::ok("content_length"),
        Case::new("content_length_0", passes(200, "", true)).answering(200, &[], ""),
        // RFC 9110, 8.6: a list of one and the same number is that number.
        sized("content_length_list").sending(ok("Content-Length: 2, 2\r\n") + "ok"),
        sized("content_length_twice")
            .sending(ok("Content-Length: 2\r\nContent-Length: 2\r\n") + "ok"),
        sized("content_length_with_zeros").sending(ok("Content-Length: 002\r\n") + "ok"),
        // RFC 9112, 6.3: anything else is an error that cannot be recovered from.
        bad(
            "content_length_differing",
            "Content-Length: 2\r\nContent-Length: 3\r\n",
        ),
        bad("content_length_list_differing", "Content-Length: 2, 3\r\n"),
        bad("content_length_negative", "Content-Length: -2\r\n"),
        bad("content_length_plus", "Content-Length: +2\r\n"),
        bad("content_length_hexadecimal", "Content-Length: 0x2\r\n"),
        bad("content_length_empty", "Content-Length:\r\n"),
        bad(
            "content_length_huge",
            "Content-Length: 99999999999999999999999\r\n",
        ),
    ]
}

/// A response whose framing is an error, from an upstream that closes.
fn bad(name: &'static str, fields: &str) -> Case {
    Case::new(name, invalid()).closing(ok(fields) + "ok")
}

/// A chunked response after which the upstream connection has to be closed.
fn once(name: &'static str, bytes: String) -> Case {
    Case::new(name, passes(200, "ok", false))
        .stepping(vec![Step::Send(bytes.into()), Step::AwaitEnd])
        .sees(no_field("content-length"))
        .asks(Rule::new(
            "the upstream's connection to be closed",
            |_, asked: &Asked| asked.has_ended == Some(true),
        ))
}

fn codings() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    let streamed = |name| Case::new(name, passes(200, "ok", false));
    vec![
        streamed("chunked").sending(ok(chunked) + chunks),
        streamed("chunked_in_pieces").stepping(vec![
            Step::Send((ok(chunked) + "1").into()),
            Step::Send(b"\r\no\r".to_vec()),
            Step::Send(b"\n00001\r\nk\r\n0\r\n".to_vec()),
            Step::Send(b"\r\n".to_vec()),
        ]),
        Case::new("chunked_empty", passes(200, "", false)).sending(ok(chunked) + "0\r\n\r\n"),
        // RFC 9112, 7.1.1: a recipient ignores extensions that it does not know.
        streamed("chunk_extension").sending(ok(chunked) + "2;a=\"b\";c\r\nok\r\n0;d\r\n\r\n"),
        streamed("chunked_trailer").sending(ok(chunked) + "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
        streamed("chunked_upper_case").sending(ok("transfer-encoding: CHUNKED\r\n") + chunks),
        // RFC 9112, 6.3: the coding overrides the length, which must not be forwarded, and the connection
        // is not used again.
        once(
            "content_length_and_chunked",
            ok(&format!("Content-Length: 9\r\n{chunked}")) + chunks,
        ),
        once(
            "chunked_and_content_length",
            ok(&format!("{chunked}Content-Length: 9\r\n")) + chunks,
        ),
        // RFC 9112, 6.1: a coding in a message of HTTP/1.0 is a fault of its framing; it is read by the
        // coding, and the connection closed behind it.
        Case::new(
            "chunked_from_http10",
            passes(200, "ok", false).or(invalid()),
        )
        .closing(format!("HTTP/1.0 200 OK\r\n{chunked}\r\n{chunks}")),
        // RFC 2616, 3.6: no coding at all; RFC 9112 has no such coding any more.
        Case::new("identity_with_length", passes(200, "ok", true))
            .sending(ok("Transfer-Encoding: identity\r\nContent-Length: 2\r\n") + "ok")
            .sees(no_field("transfer-encoding")),
        // RFC 9112, 6.1 and 7: codings that were not asked for, and chunked more than once.
        bad("gzip_chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        bad("chunked_chunked", "Transfer-Encoding: chunked, chunked\r\n"),
        bad(
            "chunked_twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        bad("chunked_gzip", "Transfer-Encoding: chunked, gzip\r\n"),
        bad("unknown_coding", "Transfer-Encoding: cow\r\n"),
        bad(
            "unknown_coding_with_length",
            "Transfer-Encoding: cow\r\nContent-Length: 2\r\n",
        ),
    ]
}

fn close_delimited() -> Vec<Case> {
    let streamed = |name| Case::new(name, passes(200, "ok", false));
    let body: Vec<u8> = (ok("") + "ok").into();
    vec![
        streamed("close_delimited").closing(body.clone()),
        streamed("close_delimited_http10").closing("HTTP/1.0 200 OK\r\n\r\nok"),
        Case::new("close_delimited_empty", passes(200, "", false)).closing(ok("")),
        // RFC 9112, 9.8: without close_notify, the response is incomplete.
        Case::new("close_delimited_truncated", Outcome::Cut)
            .stepping(vec![Step::Send(body.clone()), Step::Truncate])
            .only(|pair| pair.upstream == Upstream::Https),
        // RFC 9112, 8: a connection that is reset leaves the response incomplete.
        Case::new("close_delimited_reset", Outcome::Cut)
            .stepping(vec![Step::Send(body), Step::Reset])
            .only(|pair| pair.upstream == Upstream::Http1),
        // A length makes the end certain, with or without close_notify (RFC 9112, 9.8).
        Case::new("content_length_truncated", passes(200, "ok", true)).stepping(vec![
            Step::Send((ok("Connection: close\r\nContent-Length: 2\r\n") + "ok").into()),
            Step::Truncate,
        ]),
        Case::new("content_length_http10", passes(200, "ok", true))
            .closing("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        Case::new("content_length_closing", passes(200, "ok", true))
            .closing(ok("Connection: close\r\nContent-Length: 2\r\n") + "ok"),
    ]
}

fn heads() -> Vec<Case> {
    vec![
        // RFC 9110, 8.6: the length that a GET would have had.
        Case::new("head_content_length", passes(200, "", false))
            .method("HEAD")
            .sending(ok("Content-Length: 5\r\n"))
            .acting(vec![Act::Head {
                status: 200,
                fields: vec![("content-length", "5".to_owned())],
                ends: true,
            }])
            .sees(field("content-length", &["5"])),
        Case::new("head_chunked", passes(200, "", false))
            .method("HEAD")
            .sending(ok("Transfer-Encoding: chunked\r\n")),
        Case::new("head_unframed", passes(200, "", false))
            .method("HEAD")
            .sending(ok(""))
            .acting(vec![Act::Head {
                status: 200,
                fields: Vec::new(),
                ends: true,
            }]),
    ]
}

fn without_body() -> Vec<Case> {
    let none = |name, status| Case::new(name, passes(status, "", status == 205));
    let bare = |status| {
        vec![Act::Head {
            status,
            fields: Vec::new(),
            ends: true,
        }]
    };
    vec![
        none("no_content", 204)
            .sending("HTTP/1.1 204 No Content\r\n\r\n")
            .acting(bare(204)),
        // RFC 9110, 8.6, and RFC 9112, 6.1: neither reaches a client; the rules for any response say so.
        none("no_content_content_length", 204)
            .sending("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        none("no_content_content_length_0", 204)
            .sending("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        none("no_content_chunked", 204)
            .sending("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        // The same for HEAD, whose response has no body by itself.
        none("no_content_head_content_length", 204)
            .method("HEAD")
            .sending("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        none("no_content_head_chunked", 204)
            .method("HEAD")
            .sending("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        none("not_modified", 304)
            .sending("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n")
            .acting(bare(304)),
        // RFC 9110, 8.6: it may have the length of the response to the same GET without a condition.
        none("not_modified_content_length", 304)
            .sending("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        none("not_modified_chunked", 304)
            .sending("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n")
            // RFC 9112, 6.1: it may stay or go, with every engine alike.
            .sees(no_field("transfer-encoding")),
        // RFC 9110, 15.3.6.
        none("reset_content", 205).answering(205, &[], ""),
    ]
}

fn large() -> Vec<Case> {
    let body = pattern(300 * 1024);
    let case = |name, is_sized| {
        let outcome = Outcome::Passes {
            status: 200,
            body: body.clone(),
            is_sized,
        };
        Case::new(name, outcome)
    };
    let head = |fields: String| Step::Send(ok(&fields).into());
    let mut chunks = vec![head("Transfer-Encoding: chunked\r\n".into())];
    for piece in body.chunks(7000) {
        let size = format!("{:x}\r\n", piece.len());
        chunks.push(Step::Send([size.as_bytes(), piece, b"\r\n"].concat()));
    }
    chunks.push(Step::Send(b"0\r\n\r\n".to_vec()));
    let length = head(format!("Content-Length: {}\r\n", body.len()));
    let rest = || Step::Send(body.clone());
    vec![
        case("large_content_length", true).stepping(vec![length, rest()]),
        case("large_chunked", false).stepping(chunks),
        case("large_close_delimited", false).stepping(vec![
            head(String::new()),
            rest(),
            Step::Close,
        ]),
    ]
}

/// The app's own statuses, which are no failures of the proxy's.
fn statuses() -> Vec<Case> {
    let named = |name, status, fields: &[(&'static str, &str)]| {
        Case::new(name, passes(status, "said by the app", true)).answering(
            status,
            fields,
            "said by the app",
        )
    };
    vec![
        named("created", 201, &[("location", "/m/there")]).sees(field("location", &["/m/there"])),
        named("moved", 301, &[("location", "http://a.example/?a")])
            .sees(field("location", &["http://a.example/?a"])),
        named(
            "unauthorized",
            401,
            &[("www-authenticate", "Basic realm=\"a\"")],
        )
        .sees(field("www-authenticate", &["Basic realm=\"a\""])),
        named("not_found_by_the_app", 404, &[]),
        named("unknown_client_error", 499, &[]),
        named("failure_of_the_app", 500, &[]),
        named("bad_gateway_of_the_app", 502, &[]),
        named("busy", 503, &[("retry-after", "5")]).sees(field("retry-after", &["5"])),
        named(
            "partial_content",
            206,
            &[("content-range", "bytes 0-14/99")],
        )
        .sees(field("content-range", &["bytes 0-14/99"])),
    ]
}
