//! Switching protocols (RFC 9110, 7.8 and 15.2.2).

use super::super::case::{Asked, Body, Case, Outcome, Rule, Seen, Step, field, no_field};
use super::super::pair::{Client, Pair};
use super::{invalid, passes};

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A text of 5 bytes, as a client masks it (RFC 6455, 5.2).
const MESSAGE: &[u8] = b"\x81\x85\0\0\0\0hello";

fn no_101() -> Rule<Seen> {
    Rule::new("no 101", |_, seen: &Seen| {
        seen.status != 101 && !seen.interim.contains(&101)
    })
}

fn websocket(case: Case) -> Case {
    case.with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

pub(crate) fn cases() -> Vec<Case> {
    let outcome = Outcome::Passes {
        status: 101,
        body: MESSAGE.to_vec(),
        is_sized: false,
    };
    let mut tunnel = websocket(Case::new("websocket", outcome).with("Connection", "Upgrade"))
        .stepping(vec![Step::Send(SWITCHING.to_vec()), Step::Echo])
        .only(Pair::is_http11)
        .asks(field("upgrade", &["websocket"]));
    tunnel.request.tunnel = Some(MESSAGE);
    let mut cases = of_another_kind();
    cases.extend([
        tunnel,
        websocket(Case::ok("websocket_refused").with("Connection", "Upgrade"))
            .only(Pair::is_http11)
            .sees(no_101()),
        // HTTP/2 has no Upgrade (RFC 9113, 8.6), so that any response but 101 is right.
        websocket(Case::new("websocket_to_http2", Outcome::Answered).with("Connection", "Upgrade"))
            .answering(200, &[], "ok")
            .only(|pair| !pair.client.is_http2() && pair.upstream.is_http2())
            .sees(no_101()),
        // RFC 9110, 7.8: a server ignores Upgrade in HTTP/1.0.
        websocket(Case::ok("websocket_of_http10").with("Connection", "Upgrade"))
            .only(|pair| pair.client == Client::Http10)
            .asks(no_field("upgrade"))
            .sees(no_101()),
        // RFC 9110, 7.8: Upgrade counts only if Connection names it.
        websocket(Case::ok("upgrade_without_connection"))
            .only(|pair| !pair.client.is_http2())
            .asks(no_field("upgrade"))
            .asks(Rule::new("no upgrade in Connection", |_, asked: &Asked| {
                !asked.fields.lists("connection", "upgrade")
            })),
        websocket(Case::new("upgrade_without_connection_101", invalid()))
            .closing(SWITCHING)
            .only(|pair| !pair.client.is_http2())
            .sees(no_101()),
        Case::new("switching_unasked", invalid())
            .closing(SWITCHING)
            .sees(no_101()),
        Case::new("switching_unasked_and_ok", invalid())
            .closing([SWITCHING, OK].concat())
            .sees(no_101()),
    ]);
    cases
}

/// RFC 6455, 4.1: only a GET asks for a WebSocket, and it has no body. Any other request is one that asks
/// for nothing.
fn of_another_kind() -> Vec<Case> {
    let asking = |case: Case, method| {
        websocket(case.with("Connection", "Upgrade"))
            .method(method)
            .only(|pair| !pair.client.is_http2())
            .asks(no_field("upgrade"))
            .sees(no_101())
    };
    let head = Case::new("websocket_by_head", passes(200, "", false));
    vec![
        asking(Case::ok("websocket_by_delete"), "DELETE"),
        asking(Case::ok("websocket_by_put"), "PUT"),
        asking(Case::ok("websocket_by_options"), "OPTIONS"),
        asking(Case::ok("websocket_by_propfind"), "PROPFIND"),
        // RFC 9110, 9.1: methods are case-sensitive.
        asking(Case::ok("websocket_by_get_in_lower_case"), "get"),
        asking(
            head.sending("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
            "HEAD",
        ),
        asking(Case::ok("websocket_with_body"), "GET").body(Body::Length(b"body".to_vec())),
        asking(Case::new("websocket_by_delete_101", invalid()), "DELETE").closing(SWITCHING),
        asking(Case::new("websocket_by_head_101", invalid()), "HEAD").closing(SWITCHING),
        asking(Case::new("websocket_with_body_101", invalid()), "GET")
            .body(Body::Length(b"body".to_vec()))
            .closing(SWITCHING),
    ]
}
