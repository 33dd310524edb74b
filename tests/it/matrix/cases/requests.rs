//! Requests: their forms, their bodies, and what of their fields reaches the upstream.

use super::super::case::{Asked, Body, Case, HasFields, Outcome, Rule, Seen, field, no_field};
use super::super::pair::{Client, Pair};
use super::passes;
use crate::support::pattern;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = targets();
    cases.extend(authorities());
    cases.extend(methods());
    cases.extend(bodies());
    cases.extend(fields());
    cases
}

/// The request target that the upstream sees.
fn target(wanted: impl Into<String>) -> Rule<Asked> {
    let wanted = wanted.into();
    Rule::new(format!("the target {wanted:?}"), move |_, asked: &Asked| {
        asked.target == wanted
    })
}

/// The authority that the upstream sees.
fn authority(wanted: &'static str) -> Rule<Asked> {
    Rule::new(
        format!("the authority {wanted:?}"),
        move |_, asked: &Asked| asked.authority == [wanted],
    )
}

fn version() -> Rule<Asked> {
    Rule::new("the highest version", |pair, asked: &Asked| {
        asked.version
            == if pair.upstream.is_http2() {
                "HTTP/2"
            } else {
                "HTTP/1.1"
            }
    })
}

fn targets() -> Vec<Case> {
    let same = |name, text: &'static str| Case::ok(name).target(text).asks(target(text));
    vec![
        same("query", "/m/query?a=1&b=%zz//c/../d?e").asks(version()),
        same("query_empty", "/m/query_empty?"),
        same("query_of_slashes", "/m/query_of_slashes?//a//b"),
        same("double_slash", "/m/double_slash//a"),
        same("escaped_slash", "/m/escaped_slash/a%2Fb"),
        same("trailing_slash", "/m/trailing_slash/"),
        same("long_target", long_target()),
        // RFC 3986, 5.2.4.
        Case::ok("dot_segments")
            .target("/m/x/../dot_segments/./a/b/..")
            .asks(target("/m/dot_segments/a/")),
    ]
}

fn long_target() -> &'static str {
    const TEXT: &str = concat!("/m/long_target?", include_str!("long_query.txt"));
    TEXT.trim_ascii_end()
}

/// RFC 9112, 3.2.2: a proxy replaces Host by the authority of a target in absolute form.
fn authorities() -> Vec<Case> {
    let absolute = |name: &'static str, host| {
        Case::ok(name)
            .target(format!("http://app.example/m/{name}"))
            .host(host)
            .asks(target(format!("/m/{name}")))
            .asks(authority("app.example"))
    };
    vec![
        Case::ok("host").asks(authority("app.example")),
        Case::ok("host_with_port")
            .host(Some("app.example:8080"))
            .asks(authority("app.example:8080")),
        absolute("absolute_form", Some("app.example")),
        absolute("absolute_form_other_case", Some("APP.Example")),
        absolute("absolute_form_default_port", Some("app.example:80")),
        absolute("absolute_form_other_host", Some("other.example")),
        absolute("absolute_form_without_host", None),
        Case::ok("absolute_form_query")
            .target("HTTP://app.example/m/absolute_form_query?a=%zz")
            .asks(target("/m/absolute_form_query?a=%zz"))
            .asks(authority("app.example")),
        // RFC 9113, 8.3.1: the scheme of a request is that of its connection, whatever the client says.
        Case::ok("scheme_of_another_https").scheme("https"),
        Case::ok("scheme_of_another_http").scheme("http"),
        // RFC 9112, 3.2: a target without an authority has an empty Host; RFC 9113, 8.3.1: and no
        // `:authority`.
        Case::ok("empty_host")
            .host(Some(""))
            .only(|pair| !pair.client.is_http2())
            .asks(Rule::new("an empty host, or none", |_, asked: &Asked| {
                asked.authority.iter().all(String::is_empty)
            })),
        // RFC 9112, 3.2 and 3.2.2: HTTP/1.0 has no Host to give; RFC 9113, 8.3.1: then no :authority.
        Case::ok("without_host").host(None).asks(Rule::new(
            "no authority, and HTTP/1.0 where that is the upstream's",
            |pair, asked: &Asked| {
                let version = if pair.upstream.is_http2() {
                    "HTTP/2"
                } else {
                    "HTTP/1.0"
                };
                asked.authority.is_empty() && asked.version == version
            },
        )),
    ]
}

fn methods() -> Vec<Case> {
    let method = |name, method: &'static str| {
        Case::ok(name).method(method).asks(Rule::new(
            format!("the method {method}"),
            move |_, asked: &Asked| asked.method == method && asked.is_whole,
        ))
    };
    vec![
        method("options", "OPTIONS"),
        method("patch", "PATCH").body(Body::Length(b"{}".to_vec())),
        method("delete", "DELETE"),
        method("delete_with_body", "DELETE").body(Body::Length(b"body".to_vec())),
        method("get_with_body", "GET").body(Body::Length(b"body".to_vec())),
        // RFC 9110, 16.1: methods are open to extension.
        method("unknown_method", "BREW"),
        method("propfind", "PROPFIND"),
        // RFC 9110, 9.1: methods are case-sensitive.
        method("lower_case_method", "get"),
    ]
}

/// A body, and its length where the protocol of the upstream can say it.
fn body(wanted: Vec<u8>, is_sized: bool) -> Rule<Asked> {
    Rule::new(
        format!("a whole body of {} bytes, sized {is_sized}", wanted.len()),
        move |pair, asked: &Asked| {
            let length = asked.fields.length();
            let is_framed = match (is_sized, pair.upstream.is_http2()) {
                (true, _) => length == Ok(Some(wanted.len())),
                (false, true) => length == Ok(None),
                (false, false) => asked.fields.all("transfer-encoding") == ["chunked"],
            };
            asked.body == wanted && asked.is_whole && is_framed
        },
    )
}

fn bodies() -> Vec<Case> {
    let echoed = |name, method, sent: Body| {
        let (bytes, is_sized) = match &sent {
            Body::Length(bytes) => (bytes.clone(), true),
            Body::Unknown(bytes) => (bytes.clone(), false),
            Body::None | Body::RawChunks(_) => (b"ok".to_vec(), false),
        };
        let outcome = Outcome::Passes {
            status: 200,
            body: bytes.clone(),
            is_sized: true,
        };
        let case = Case::new(name, outcome).method(method).body(sent);
        case.echoing().asks(body(bytes, is_sized))
    };
    let text = || b"some text".to_vec();
    vec![
        echoed("post", "POST", Body::Length(text())),
        echoed("post_of_unknown_length", "POST", Body::Unknown(text())),
        echoed(
            "post_of_unknown_length_empty",
            "POST",
            Body::Unknown(Vec::new()),
        ),
        echoed("post_empty", "POST", Body::Length(Vec::new())),
        echoed("put_large", "PUT", Body::Length(pattern(300 * 1024))),
        echoed(
            "put_large_of_unknown_length",
            "PUT",
            Body::Unknown(pattern(300 * 1024)),
        ),
        // RFC 9110, 8.6: a method that expects a body says that there is none.
        Case::ok("post_without_body").method("POST").asks(Rule::new(
            "Content-Length: 0 for a client of HTTP/2 and an upstream of HTTP/1.1",
            |pair, asked: &Asked| {
                let must = pair.client.is_http2() && !pair.upstream.is_http2();
                let length = asked.fields.length();
                length == Ok(Some(0)) || (!must && length == Ok(None))
            },
        )),
        Case::ok("get_without_body")
            .asks(no_field("content-length"))
            .asks(no_field("transfer-encoding")),
        // RFC 9112, 7.1.1 and 7.1.2.
        echoed(
            "chunk_extension_of_client",
            "POST",
            Body::RawChunks(b"2;a=\"b\"\r\nok\r\n0;c\r\n\r\n".to_vec()),
        ),
        echoed(
            "trailer_of_client",
            "POST",
            Body::RawChunks(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n".to_vec()),
        ),
    ]
}

/// Fields that the proxy sets or removes, in every spelling that some apps take for the same field.
const STRANGERS: [&str; 17] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X_Forwarded_For",
    "X-Forwarded_Proto",
    "X_Real_IP",
    "X-Real-IP",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Original-URL",
    "X-Rewrite-URL",
    "Forwarded",
    "X_Forwarded_Host",
    "X.Real.IP",
    "X.Forwarded-For",
    "X-Forwarded!Host",
];

fn fields() -> Vec<Case> {
    let mut cases = vec![strangers(), te(), cookies()];
    cases.extend(close());
    cases.extend(kept());
    cases.extend(named());
    cases.extend(nominated());
    cases
}

fn strangers() -> Case {
    let none = |asked: &Asked| {
        let mut values = asked.fields.0.iter().map(|(_, value)| value);
        values.all(|value| !value.contains("stranger"))
    };
    let rule = Rule::new("nothing of a stranger's", move |_, asked: &Asked| {
        none(asked)
    });
    let case = Case::ok("strangers_fields").asks(rule);
    let with = |case: Case, name: &&'static str| case.with(name, "for=stranger");
    STRANGERS.iter().fold(case, with)
}

/// Fields that only their names or values make special.
fn named() -> Vec<Case> {
    vec![
        Case::ok("underscored_framing")
            .with("Content_Length", "7")
            .with("Transfer_Encoding", "chunked")
            .asks(no_field("content_length"))
            .asks(no_field("transfer_encoding")),
        Case::ok("dotted_framing")
            .with("Content.Length", "7")
            .asks(no_field("content.length")),
        Case::ok("underscore_in_field")
            .with("my_field", "a")
            .asks(field("my_field", &["a"])),
        Case::ok("request_id_of_client")
            .with("X-Request-Id", "the-clients")
            .asks(field("x-request-id", &["the-clients"]))
            .sees(field("x-request-id", &["the-clients"])),
        Case::ok("field_twice")
            .with("X-A", "1")
            .with("X-A", "2")
            .asks(field("x-a", &["1", "2"])),
        Case::ok("latin1_field")
            .with("X-Name", "caf\u{e9}")
            .asks(field("x-name", &["caf\u{e9}"])),
        Case::ok("empty_field")
            .with("X-Empty", "")
            .asks(field("x-empty", &[""])),
    ]
}

/// RFC 9110, 7.6.1: what Connection names is for a single connection.
fn nominated() -> Vec<Case> {
    let refusable = |name, options| {
        Case::new(name, passes(200, "ok", true).or(Outcome::BadRequest))
            .answering(200, &[], "ok")
            .with("Connection", options)
            .only(|pair| !pair.client.is_http2())
    };
    vec![
        Case::ok("connection_fields_of_client")
            .with("Connection", "X-Hop, keep-alive")
            .with("X-Hop", "1")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Connection", "keep-alive")
            .only(|pair| !pair.client.is_http2())
            .asks(no_field("x-hop")),
        // A field for all recipients must not be nominated; what the proxy sets arrives all the same.
        refusable(
            "connection_nominates_ours",
            "X-Forwarded-For, Forwarded, X-Request-Id",
        ),
        refusable("connection_nominates_host", "Host"),
        // The id that arrives is a new one, and the same on both sides.
        Case::ok("connection_nominates_request_id")
            .with("Connection", "X-Request-Id")
            .with("X-Request-Id", "the-clients")
            .only(|pair| !pair.client.is_http2())
            .asks(an_id())
            .sees(an_id()),
    ]
}

/// An id that the proxy has made.
fn an_id<T: HasFields>() -> Rule<T> {
    Rule::new("a new id", |_, message: &T| {
        let ids = message.fields().all("x-request-id");
        matches!(*ids, [id] if id.len() == 32)
    })
}

/// RFC 9113, 8.2.3: the crumbs are joined to one field.
fn cookies() -> Case {
    let joined = |pair: Pair, asked: &Asked| {
        let cookies = asked.fields.all("cookie");
        let is_whole = cookies.join("; ") == "a=1; b=2";
        is_whole && (pair.upstream.is_http2() || cookies.len() == 1)
    };
    Case::ok("cookie_split")
        .with("cookie", "a=1")
        .with("cookie", "b=2")
        .only(|pair| pair.client.is_http2())
        .asks(Rule::new("one Cookie towards HTTP/1.1", joined))
}

/// RFC 9110, 10.1.4: TE is for one connection; RFC 9113, 8.2.2: in HTTP/2 it may say `trailers`.
fn te() -> Case {
    Case::ok("te_trailers")
        .with("TE", "trailers")
        .asks(Rule::new(
            "TE: trailers in HTTP/2 alone",
            |pair, asked: &Asked| {
                let values = asked.fields.all("te");
                match (pair.client.is_http2(), pair.upstream.is_http2()) {
                    (_, false) => values.is_empty(),
                    (true, true) => values == ["trailers"],
                    (false, true) => values.is_empty() || values == ["trailers"],
                }
            },
        ))
}

/// RFC 9112, 9.6: the connection ends behind the response. RFC 9110, 5.3: several lines are one list.
fn close() -> Vec<Case> {
    let closing = |name, lines: &[&'static str]| {
        let case = Case::ok(name);
        let with = |case: Case, line: &&'static str| case.with("Connection", line);
        let case = lines.iter().fold(case, with);
        let is_closed = |_: Pair, seen: &Seen| seen.is_closed;
        case.only(|pair| !pair.client.is_http2())
            .sees(Rule::new("the connection to be closed", is_closed))
            .sees(field("connection", &["close"]))
    };
    vec![
        closing("connection_close_of_client", &["close"]),
        closing("connection_close_in_second_line", &["keep-alive", "close"]),
        closing("connection_close_in_first_line", &["close", "keep-alive"]),
        closing("connection_close_behind_another", &["x-hop", "close"]),
        closing("connection_close_in_third_line", &["x-a", "x-b", "CLOSE"]),
        closing("connection_close_in_list", &["keep-alive, close"]),
        closing("connection_close_behind_nothing", &["", "close"]),
    ]
}

/// RFC 9112, 9.3: with a length, a client of HTTP/1.0 can keep its connection, if it is told so. The
/// rules for any response see whether it then is kept.
fn kept() -> Vec<Case> {
    let kept = |name, lines: &[&'static str]| {
        let with = |case: Case, line: &&'static str| case.with("Connection", line);
        lines
            .iter()
            .fold(Case::ok(name), with)
            .only(|pair| pair.client == Client::Http10)
            .sees(field("connection", &["keep-alive"]))
    };
    vec![
        kept("http10_keep_alive", &["keep-alive"]),
        kept("http10_keep_alive_in_list", &["x-hop, keep-alive"]),
        kept("http10_keep_alive_in_second_line", &["x-hop", "keep-alive"]),
    ]
}
