//! Upstreams that speak something else.

use super::super::case::{Case, Outcome, Step};
use super::{invalid, passes};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = heads();
    cases.extend(chunks());
    cases
}

fn heads() -> Vec<Case> {
    let bad = |name, text: &str| Case::new(name, invalid()).closing(text);
    let line = |name, line: &str| {
        let text = format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nok");
        Case::new(name, invalid()).closing(text)
    };
    let field = |name, field: &str| {
        let text = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\nok");
        Case::new(name, invalid()).closing(text)
    };
    let status = |name, status: u16| {
        Case::new(name, passes(status, "ok", true)).sending(format!(
            "HTTP/1.1 {status} Odd\r\nContent-Length: 2\r\n\r\nok"
        ))
    };
    vec![
        bad("ssh", "SSH-2.0-OpenSSH_9.6\r\n"),
        bad("smtp", "220 mail.example.com ESMTP\r\n\r\n"),
        bad("html", "<html>\r\n\r\n"),
        bad("tls_alert", "\u{15}\u{3}\u{1}\0\u{2}\u{2}\n\r\n\r\n"),
        bad("http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        bad(
            "http2_version",
            "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        bad(
            "http09_version",
            "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        // RFC 9112, 4, and RFC 9110, 15: three digits, the first of them 1 to 5; more are known in the wild.
        line("status_099", "099 Low"),
        line("status_20", "20 Short"),
        line("status_2000", "2000 Long"),
        line("status_letters", "abc OK"),
        line("status_negative", "-20 OK"),
        status("status_299", 299),
        status("status_599", 599),
        status("status_600", 600),
        status("status_999", 999),
        // RFC 9112, 5 and 5.1; RFC 9110, 5.5.
        field("field_without_colon", "no colon"),
        field("field_without_name", ": a"),
        field("field_with_nul", "X-Odd: a\0b"),
        field("field_name_with_nul", "X-O\0dd: a"),
        field("field_name_with_space_inside", "X Odd: a"),
        // RFC 9112, 2.2: a lone CR is invalid, or a space.
        Case::new("field_with_bare_cr", invalid().or(passes(200, "ok", true))).closing(
            "HTTP/1.1 200 OK\r\nX-Odd: a\rb\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        ),
        // RFC 9112, 5.1: a proxy removes white space between name and colon.
        Case::new(
            "field_name_with_space_behind",
            passes(200, "ok", true).or(invalid()),
        )
        .closing("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length : 2\r\n\r\nok"),
        // RFC 9112, 2.2: white space before the first field is refused, or that line is ignored.
        Case::new("folded_first_line", invalid().or(passes(200, "ok", true))).closing(
            "HTTP/1.1 200 OK\r\n X-Odd: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        ),
    ]
}

/// RFC 9112, 7.1: the head may have gone out before the fault is seen.
fn chunks() -> Vec<Case> {
    let bad = |name, text: &str| {
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}");
        Case::new(name, Outcome::FailsOrCut).stepping(vec![Step::Send(text.into()), Step::AwaitEnd])
    };
    vec![
        bad("chunk_size_with_words", "2 erf\r\nok\r\n0\r\n\r\n"),
        bad("chunk_size_negative", "-1\r\nok\r\n0\r\n\r\n"),
        bad("chunk_size_plus", "+2\r\nok\r\n0\r\n\r\n"),
        bad("chunk_size_with_prefix", "0x2\r\nok\r\n0\r\n\r\n"),
        bad(
            "chunk_size_of_17_digits",
            "10000000000000002\r\nok\r\n0\r\n\r\n",
        ),
        bad("chunk_size_empty", "\r\nok\r\n0\r\n\r\n"),
        bad("chunk_size_letters", "zz\r\nok\r\n0\r\n\r\n"),
        bad("chunk_longer_than_its_size", "2\r\nokay\r\n0\r\n\r\n"),
        bad("chunk_shorter_than_its_size", "3\r\nok\r\n0\r\n\r\n"),
        bad("chunk_without_line_end", "2\r\nok0\r\n\r\n"),
        bad("chunk_size_ends_with_bare_cr", "2\rok\r\n0\r\n\r\n"),
        bad("chunk_behind_a_good_one", "2\r\nok\r\nzz\r\n"),
    ]
}
