//! Which engine the proxies of the tests run with, and what the other one cannot do.

use dynamic_reverse_proxy::server::{Engine, Options};

/// A test that cannot be expected of `engine: pingora`.
pub(crate) struct Exception {
    /// As `--list` names it.
    pub(crate) test: &'static str,
    pub(crate) reason: &'static str,
}

/// The tests that `engine: pingora` does not pass, each with its reason. Those of the matrix stand,
/// cell by cell, in `matrix/exceptions.rs`.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        test: "cutting::a_request_that_waits_for_its_connection_is_cut",
        reason: "Pingora does not look up while it connects: the client's connection is dropped after two seconds, without a reply.",
    },
    Exception {
        test: "cutting::nothing_else_is_touched",
        reason: "Each instance of a route has its own idle connections; routes do not share them.",
    },
    Exception {
        test: "grpc_connections::a_connection_on_which_an_app_is_silent_takes_no_other_call",
        reason: "Pingora uses a connection of HTTP/2 again on which an app did not answer in time.",
    },
    Exception {
        test: "grpc_connections::small_messages_wait_for_a_client_that_pauses",
        reason: "Pingora's HTTP/2 client ends a connection that brings more small messages than are taken; the call gets its status.",
    },
    Exception {
        test: "http2_streams::an_answer_has_one_date_and_that_of_its_origin",
        reason: "Pingora writes its own Date over that of the app.",
    },
    Exception {
        test: "proxying_pool::routes_to_one_app_share_its_connections",
        reason: "Each instance of a route has its own idle connections; routes do not share them.",
    },
    Exception {
        test: "response_heads::a_head_in_many_pieces_costs_no_more_than_a_body",
        reason: "Pingora parses the head of a response anew for each piece of it.",
    },
    Exception {
        test: "upstream_http2::a_connection_that_allows_no_more_streams_takes_no_other_request",
        reason: "Pingora uses an idle connection of HTTP/2 again whose app allows no more streams.",
    },
    Exception {
        test: "websocket_bytes::a_client_that_reads_nothing_keeps_its_origin_waiting",
        reason: "While Pingora waits for one side of a WebSocket to take something, it reads nothing from that side.",
    },
    Exception {
        test: "websocket_bytes::an_origin_that_reads_nothing_keeps_its_client_waiting",
        reason: "While Pingora waits for one side of a WebSocket to take something, it reads nothing from that side.",
    },
];

/// The engine that the environment variable `ENGINE` asks for; none says nothing, so that the default
/// is tested.
pub(crate) fn chosen() -> Option<&'static str> {
    match std::env::var("ENGINE").ok()?.as_str() {
        "" => None,
        "direct" => Some("direct"),
        "pingora" => Some("pingora"),
        other => panic!("ENGINE is direct or pingora, not {other:?}"),
    }
}

/// Has a proxy within the test run with it.
pub(crate) fn choose(options: &mut Options) {
    if chosen() == Some("pingora") {
        options.engine = Engine::Pingora;
    }
}
