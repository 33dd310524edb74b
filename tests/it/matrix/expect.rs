//! The table of expectations: what each side of a cell has to see, from the RFCs.

use super::case::{Asked, Case, End, Outcome, Seen};
use super::pair::{Client, Pair};
use super::rules;
use super::wire::{Fields, Framing};
use crate::support::engine;

/// How a cell differs from what has to be.
pub(crate) fn deviations(case: &Case, pair: Pair, seen: &Seen, asked: &[Asked]) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(fault) = &seen.fault {
        found.push(format!("expected a well-formed response, seen {fault}"));
    }
    found.extend(outcome(case, &case.outcome, pair, seen));
    if seen.status != 0 {
        let broken = rules::response(pair, seen).into_iter();
        let broken = broken.filter(|(_, holds)| !holds);
        let show = |rule| {
            format!(
                "expected {rule}, seen {} and then {:?}",
                short(seen),
                seen.next
            )
        };
        found.extend(broken.map(|(rule, _)| show(rule)));
    }
    for rule in &case.seen {
        if !(rule.holds)(pair, seen) {
            found.push(format!("expected {}, seen {}", rule.wanted, short(seen)));
        }
    }
    found.extend(of_upstream(case, pair, asked));
    found
}

/// How what the upstream saw differs from what has to be.
fn of_upstream(case: &Case, pair: Pair, asked: &[Asked]) -> Vec<String> {
    let mut found = Vec::new();
    if case.is_asked_once && asked.len() != 1 {
        found.push(format!(
            "expected one request, the upstream saw {}",
            asked.len()
        ));
    }
    for request in asked {
        let broken = rules::request(pair, request).into_iter();
        let broken = broken.filter(|(_, holds)| !holds);
        let show = |rule| format!("expected {rule}, the upstream saw {}", brief(request));
        found.extend(broken.map(|(rule, _)| show(rule)));
    }
    for rule in &case.asked {
        let seen = match asked.last() {
            None => "nothing".to_owned(),
            Some(request) if !(rule.holds)(pair, request) => brief(request),
            Some(_) => continue,
        };
        found.push(format!("expected {}, the upstream saw {seen}", rule.wanted));
    }
    found
}

/// A response, not too long.
fn short(seen: &Seen) -> String {
    let body = String::from_utf8_lossy(&seen.body);
    let body: String = body.chars().take(100).collect();
    let fields = listed(&seen.fields);
    format!(
        "{} {:?} {:?} interim {:?} [{fields}] {body:?} closed {}",
        seen.status, seen.end, seen.framing, seen.interim, seen.is_closed
    )
}

fn brief(asked: &Asked) -> String {
    format!(
        "{} {} {} for {:?} [{}] {:?}, {} bytes, whole {}, ended {:?}, fault {:?}",
        asked.method,
        asked.target,
        asked.version,
        asked.authority,
        listed(&asked.fields),
        asked.framing,
        asked.body.len(),
        asked.is_whole,
        asked.has_ended,
        asked.fault,
    )
}

fn listed(fields: &Fields) -> String {
    let mut lines: Vec<_> = fields
        .0
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.sort();
    for line in &mut lines {
        *line = line.chars().take(80).collect();
    }
    lines.join("; ")
}

fn outcome(case: &Case, wanted: &Outcome, pair: Pair, seen: &Seen) -> Option<String> {
    let is_server_error = (500..600).contains(&seen.status) && is_own(seen).is_some();
    // A stream may be reset before its head has been sent (RFC 9113, 8.1).
    let has_begun = seen.status != 0 || (pair.client.is_http2() && seen.end == End::Reset);
    let is_cut = has_begun && (seen.end != End::Whole || is_invisible(pair, seen));
    let (wanted, holds) = match wanted {
        Outcome::Either(one, other) => {
            let deviation = outcome(case, one, pair, seen)?;
            return Some(deviation + ", or else " + &outcome(case, other, pair, seen)?);
        }
        Outcome::Passes {
            status,
            body,
            is_sized,
        } => return passes(case, pair, seen, (*status, body, *is_sized)),
        Outcome::Own(status, code) => (
            format!("{status} {code} of the proxy's own"),
            seen.status == *status
                && seen.end == End::Whole
                && (case.request.method == "HEAD" || is_own(seen).as_deref() == Some(code)),
        ),
        Outcome::Fails => ("5xx of the proxy's own".to_owned(), is_server_error),
        Outcome::Cut => ("a visible cut".to_owned(), is_cut && !is_server_error),
        Outcome::FailsOrCut => ("5xx or a visible cut".to_owned(), is_cut || is_server_error),
        Outcome::BadRequest => (
            "400, or the end".to_owned(),
            seen.status == 400 || (seen.status == 0 && seen.is_closed),
        ),
        Outcome::Answered => (
            "a whole response but 101".to_owned(),
            seen.status >= 200 && seen.end == End::Whole,
        ),
    };
    (!holds).then(|| format!("expected {wanted}, seen {}", short(seen)))
}

/// Of a body that ends with its connection a client can see only by a reset that it was cut; Pingora only
/// closes.
fn is_invisible(pair: Pair, seen: &Seen) -> bool {
    engine::chosen() == Some("pingora")
        && pair.client == Client::Http10
        && seen.framing == Some(Framing::Close)
}

/// The code in one of the proxy's own replies.
fn is_own(seen: &Seen) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
    Some(json["error"].as_str()?.to_owned())
}

fn passes(
    case: &Case,
    pair: Pair,
    seen: &Seen,
    (status, body, is_sized): (u16, &[u8], bool),
) -> Option<String> {
    let framings = framings(case, pair, status, is_sized.then_some(body.len()));
    let holds = seen.status == status
        && seen.body == body
        && seen.end == End::Whole
        && seen
            .framing
            .is_some_and(|framing| framings.contains(&framing));
    let body = String::from_utf8_lossy(&body[..body.len().min(60)]);
    (!holds).then(|| {
        format!(
            "expected {status} {body:?}, whole, framed {framings:?}, seen {}",
            short(seen)
        )
    })
}

/// How a response may be framed.
fn framings(case: &Case, pair: Pair, status: u16, length: Option<usize>) -> Vec<Framing> {
    if pair.client.is_http2() {
        // RFC 9113, 8.1.
        return vec![Framing::Http2];
    }
    if case.request.method == "HEAD" || matches!(status, 101 | 204 | 304) {
        // RFC 9112, 6.3: whatever its fields say.
        return vec![Framing::None];
    }
    match (length, pair.client) {
        // RFC 9110, 8.6, and RFC 9112, 9.3: a length that is known keeps the connection usable.
        (Some(length), _) => vec![Framing::Length(length)],
        // RFC 9112, 6.1: never a transfer coding to a client of HTTP/1.0.
        (None, Client::Http10) => vec![Framing::Close],
        // RFC 9112, 6.1: so that its end shows.
        (None, _) => vec![Framing::Chunked],
    }
}
