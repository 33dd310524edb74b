//! Upstreams that speak something else.

use super::super::case::{Case, Outcome, Step};
use super::{invalid, passes};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = others();
    cases.extend(statuses());
    cases.extend(fields());
    cases.extend(chunks());
    cases
}

/// What does not begin as a response does (RFC 9112, 4).
fn others() -> Vec<Case> {
    let bad = |name, text: &str| Case::new(name, invalid()).closing(text);
    let head = " 200 OK\r\nContent-Length: 0\r\n\r\n";
    vec![
        bad("ssh", "SSH-2.0-OpenSSH_9.6\r\n"),
        bad("smtp", "220 mail.example.com ESMTP\r\n\r\n"),
        bad("html", "<html>\r\n\r\n"),
        bad("tls_alert", "\u{15}\u{3}\u{1}\0\u{2}\u{2}\n\r\n\r\n"),
        bad("http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        bad("http2_version", &format!("HTTP/2{head}")),
        bad("http09_version", &format!("HTTP/0.9{head}")),
        bad("garbage_to_head", "junk\r\n\r\n").method("HEAD"),
    ]
}

/// RFC 9112, 4, and RFC 9110, 15: a status is three digits, the first of them 1 to 5. Those up to 999
/// are in use, and pass.
fn statuses() -> Vec<Case> {
    let text = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\n\r\nok");
    let bad = |name, line| Case::new(name, invalid()).closing(text(line));
    let status = |name, status: u16| {
        let case = Case::new(name, passes(status, "ok", true));
        case.sending(text(&format!("{status} Odd")))
    };
    vec![
        bad("status_099", "099 Low"),
        bad("status_20", "20 Short"),
        bad("status_2000", "2000 Long"),
        bad("status_letters", "abc OK"),
        bad("status_negative", "-20 OK"),
        status("status_299", 299),
        status("status_599", 599),
        status("status_600", 600),
        status("status_999", 999),
    ]
}

/// RFC 9112, 5, and RFC 9110, 5.1 and 5.5.
fn fields() -> Vec<Case> {
    let case = |name, outcome, field: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{field}\r\nConnection: close\r\n");
        Case::new(name, outcome).closing(head + "Content-Length: 2\r\n\r\nok")
    };
    let bad = |name, field| case(name, invalid(), field);
    let either = |name, field| case(name, invalid().or(passes(200, "ok", true)), field);
    vec![
        bad("field_without_colon", "no colon"),
        bad("field_without_name", ": a"),
        bad("field_with_nul", "X-Odd: a\0b"),
        bad("field_name_with_nul", "X-O\0dd: a"),
        bad("field_name_with_space_inside", "X Odd: a"),
        // RFC 9112, 2.2: a lone CR is invalid, or becomes a space.
        either("field_with_bare_cr", "X-Odd: a\rb"),
        // RFC 9112, 5.1: a proxy removes white space between name and colon.
        either("field_name_with_space_behind", "X-Odd : a"),
        // RFC 9112, 2.2: a line before the first field that begins with white space is ignored, or
        // the response refused.
        either("folded_first_line", " X-Odd: a"),
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
