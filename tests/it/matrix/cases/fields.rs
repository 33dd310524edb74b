//! Fields of responses.

use super::super::case::{Act, Case, Rule, Seen, field, no_field};
use super::passes;

const DATE: &str = "Tue, 15 Nov 1994 08:12:31 GMT";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = kept();
    cases.extend(of_one_connection());
    cases.extend(odd());
    cases
}

fn kept() -> Vec<Case> {
    vec![
        // RFC 9110, 6.6.1.
        Case::ok("date_stays")
            .answering(200, &[("date", DATE)], "ok")
            .sees(field("date", &[DATE])),
        Case::ok("request_id_stays")
            .answering(200, &[("x-request-id", "the-app")], "ok")
            .sees(field("x-request-id", &["the-app"])),
        // RFC 6265, 3: never folded into one.
        Case::ok("set_cookie_twice")
            .answering(
                200,
                &[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")],
                "ok",
            )
            .sees(field("set-cookie", &["a=1; Path=/", "b=2"])),
        Case::ok("fields_in_order")
            .answering(200, &[("x-a", "1"), ("x-b", "2"), ("x-a", "3")], "ok")
            .sees(field("x-a", &["1", "3"])),
        Case::ok("empty_value")
            .answering(200, &[("x-empty", "")], "ok")
            .sees(field("x-empty", &[""])),
        Case::ok("latin1_value")
            .answering(200, &[("x-name", "caf\u{e9} \u{80}\u{ff}")], "ok")
            .sees(field("x-name", &["caf\u{e9} \u{80}\u{ff}"])),
        Case::ok("long_value")
            .answering(200, &[("x-long", &"v".repeat(8192))], "ok")
            .sees(Rule::new("8 KiB of x-long", |_, seen: &Seen| {
                seen.fields.all("x-long") == ["v".repeat(8192)]
            })),
        Case::ok("server_stays")
            .answering(200, &[("server", "app/1.0")], "ok")
            .sees(field("server", &["app/1.0"])),
        Case::new("status_without_reason", passes(200, "ok", true))
            .sending("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        // RFC 9112, 4: the reason phrase may be empty; some upstreams leave the space out as well.
        Case::new("status_without_space", passes(200, "ok", true))
            .sending("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
    ]
}

/// RFC 9110, 7.6.1.
fn of_one_connection() -> Vec<Case> {
    let fields = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nTE: gzip\r\n";
    vec![
        Case::new("connection_fields", passes(200, "ok", true))
            .sending(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
            .sees(no_field("x-hop"))
            .sees(no_field("te"))
            .sees(connection_is_the_proxys()),
        Case::new("upgrade_offered", passes(200, "ok", true))
            .sending(
                "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
            )
            .sees(no_field("upgrade"))
            .sees(connection_is_the_proxys()),
        Case::new("connection_close_of_upstream", passes(200, "ok", true))
            .closing("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .sees(connection_is_the_proxys()),
        // Content-Length is not for a single connection, so that nominating it changes nothing.
        Case::new("connection_nominates_content_length", passes(200, "ok", true))
            .sending("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nok"),
    ]
}

/// `Connection` says nothing but whether the client's connection goes on.
fn connection_is_the_proxys() -> Rule<Seen> {
    Rule::new("Connection of the proxy's own", |_, seen: &Seen| {
        let values = seen.fields.all("connection");
        values
            .iter()
            .all(|value| ["close", "keep-alive"].contains(&value.to_ascii_lowercase().as_str()))
    })
}

/// A value as one of these.
fn one_of(name: &'static str, values: &'static [&'static str]) -> Rule<Seen> {
    Rule::new(
        format!("{name} is one of {values:?}"),
        move |_, seen: &Seen| {
            let seen = seen.fields.all(name).join("|");
            values.contains(&seen.as_str())
        },
    )
}

fn odd() -> Vec<Case> {
    let sized = |name, fields: &str| {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok");
        Case::new(name, passes(200, "ok", true)).sending(text)
    };
    vec![
        // RFC 9112, 5.2: each fold becomes one or more spaces, with every engine as many.
        sized("folded_value", "X-Folded: a\r\n b \r\n\t \tc").sees(field("x-folded", &["a b c"])),
        sized("folded_first_value", "X-Folded:\r\n a").sees(field("x-folded", &["a"])),
        // RFC 9110, 5.5: such a byte may be kept, or become a space.
        sized("control_byte_in_value", "X-Odd: a\u{1}b").sees(one_of("x-odd", &["a b", "a\u{1}b"])),
        sized("delete_in_value", "X-Odd: a\u{7f}b").sees(one_of("x-odd", &["a b", "a\u{7f}b"])),
        sized("tab_in_value", "X-Odd: a\tb").sees(one_of("x-odd", &["a b", "a\tb"])),
        sized("no_space_before_value", "X-Odd:a").sees(field("x-odd", &["a"])),
        sized("spaces_around_value", "X-Odd: \t a \t ").sees(field("x-odd", &["a"])),
        sized("underscore_in_name", "x_odd: a").sees(field("x_odd", &["a"])),
        sized("odd_name", "x!#$%&'*+.^`|~: a").sees(field("x!#$%&'*+.^`|~", &["a"])),
        Case::ok("many_fields")
            .answering(200, &[("x-many", "1"); 90], "ok")
            .sees(Rule::new("90 fields", |_, seen: &Seen| {
                seen.fields.all("x-many").len() == 90
            })),
        Case::ok("http2_trailers_announced")
            .answering(200, &[("trailer", "x-sum")], "ok")
            .acting(vec![
                Act::Head {
                    status: 200,
                    fields: vec![
                        ("content-length", "2".to_owned()),
                        ("trailer", "x-sum".to_owned()),
                    ],
                    ends: false,
                },
                Act::Data(b"ok".to_vec(), true),
            ]),
    ]
}
