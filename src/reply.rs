//! The proxy's own replies, in place of an upstream response: a status, a code for programs and a sentence
//! for people, as JSON or as HTML.
//!
//! One [`Refusal`] serves the front (raw bytes on a socket), the proxy (a Pingora session) and
//! the control API (an axum response), so that a client meets one format; clients of gRPC, which read
//! neither, meet [`grpc`].

pub(crate) mod grpc;

use std::borrow::Cow;
use std::fmt::Display;

use bytes::Bytes;
use http::StatusCode;

/// A request that the proxy answers itself, with a reason.
///
/// The sentence is for the client: it never names an internal address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The reason for programs, in capitals: `NOT_FOUND`, `FORBIDDEN`, ...
    pub code: &'static str,
    /// The reason for people, with what to do about it.
    pub message: Cow<'static, str>,
    /// The value of the `Allow` field, where the status asks for one (RFC 9110, 15.5.6).
    pub allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with its status, code and message; the message becomes a sentence.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: sentence(message.into()),
            allow: None,
        }
    }

    /// A refusal for a limit: the message ends with the key of the configuration that sets it, so that the reply
    /// and the line in the log both say what to change.
    pub(crate) fn of_limit(
        status: StatusCode,
        code: &'static str,
        message: impl Display,
        key: &str,
    ) -> Self {
        Self::new(status, code, format!("{message} ({key})"))
    }

    /// Adds an `Allow` field to the refusal.
    #[must_use]
    pub(crate) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The body in the format that `accept`, the request's `Accept` field, prefers.
    #[must_use]
    pub(crate) fn body(&self, accept: Option<&[u8]>) -> Body {
        match Format::preferred(accept.unwrap_or_default()) {
            Format::Json => self.json(),
            Format::Html => self.html(),
        }
    }

    /// The body as JSON: `{"error":"NOT_FOUND","message":"..."}`.
    #[must_use]
    pub(crate) fn json(&self) -> Body {
        let text = serde_json::json!({ "error": self.code, "message": self.message });
        Body {
            content_type: "application/json",
            bytes: Bytes::from(text.to_string()),
        }
    }

    /// The body as a problem document (RFC 9457), for clients of the control API.
    #[must_use]
    pub(crate) fn problem(&self) -> Body {
        let text = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.message,
        });
        Body {
            content_type: "application/problem+json",
            bytes: Bytes::from(text.to_string()),
        }
    }

    /// The body as HTML.
    #[must_use]
    pub(crate) fn html(&self) -> Body {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let text = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>{status} {reason}</title></head>\n<body><h1>{status} {reason}</h1>\
             <p>{message}</p><p><code>{code}</code></p></body></html>\n",
            status = self.status.as_u16(),
            message = escape_html(&self.message),
            code = self.code,
        );
        Body {
            content_type: "text/html; charset=utf-8",
            bytes: Bytes::from(text),
        }
    }
}

/// Begins with a capital, unless the first word is a name (`prefix:`), and ends with a stop.
fn sentence(mut text: Cow<'static, str>) -> Cow<'static, str> {
    let is_name = text
        .split(' ')
        .next()
        .is_some_and(|word| word.ends_with(':'));
    if !is_name
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && let Some(first) = text.to_mut().get_mut(..1)
    {
        first.make_ascii_uppercase();
    }
    if !text.ends_with(['.', '?', '!']) {
        text.to_mut().push('.');
    }
    text
}

/// A refusal's body and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub bytes: Bytes,
}

/// Whether a client that sends this `Accept` field prefers HTML to JSON.
pub(crate) fn prefers_html(accept: &[u8]) -> bool {
    Format::preferred(accept) == Format::Html
}

/// The two formats, of which JSON is the one for whoever does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Html,
}

impl Format {
    /// HTML if the field names it and does not like JSON more (RFC 9110, 12.5.1).
    fn preferred(accept: &[u8]) -> Self {
        let accept = String::from_utf8_lossy(accept);
        let html = quality(&accept, &["text/html", "application/xhtml+xml"]);
        let json = quality(&accept, &["application/json"]);
        if html > 0.0 && html >= json {
            Self::Html
        } else {
            Self::Json
        }
    }
}

/// The highest weight that `accept` gives to one of these media types by name; 0 for none.
fn quality(accept: &str, types: &[&str]) -> f32 {
    accept
        .split(',')
        .filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next()?;
            types
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
                .then(|| {
                    parts
                        .find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")))
                        .map_or(1.0, |weight| weight.parse().unwrap_or(0.0))
                })
        })
        .fold(0.0, f32::max)
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_follows_the_accept_field() {
        let cases: [(&str, Format); 8] = [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("application/json", Format::Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Format::Html,
            ),
            ("text/html;q=0.4, application/json", Format::Json),
            ("TEXT/HTML", Format::Html),
            ("text/html;q=0", Format::Json),
            ("text/html;q=nonsense", Format::Json),
        ];
        for (accept, expected) in cases {
            assert_eq!(
                Format::preferred(accept.as_bytes()),
                expected,
                "Accept: {accept}"
            );
        }
    }

    #[test]
    fn messages_are_sentences() {
        let cases = [
            ("missing: port", "missing: port."),
            ("the path climbs", "The path climbs."),
            ("did you mean `port`?", "Did you mean `port`?"),
            ("Done.", "Done."),
            ("", "."),
        ];
        for (text, expected) in cases {
            assert_eq!(sentence(text.into()), expected);
        }
    }

    #[test]
    fn html_escapes_the_message() {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "BAD_PATH", "no <b> & \"c\"");
        let body = refusal.body(Some(b"text/html"));
        let text = std::str::from_utf8(&body.bytes).unwrap();
        assert!(text.contains("No &lt;b&gt; &amp; &quot;c&quot;"), "{text}");
    }
}
