//! Cells that differ under `engine: pingora`, each with its reason.

use super::pair::{Client, Pair, Upstream};

/// A case that cannot be expected of the other engine.
pub(crate) struct Exception {
    pub(crate) case: &'static str,
    /// None for any.
    pub(crate) client: Option<Client>,
    /// None for any.
    pub(crate) upstream: Option<Upstream>,
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        case: "date_stays",
        client: None,
        upstream: None,
        reason: "Pingora writes its own Date over that of the app.",
    },
    Exception {
        case: "identity_with_length",
        client: None,
        upstream: None,
        reason: "Pingora drops a Content-Length that stands beside any transfer coding, so that the response is refused.",
    },
    Exception {
        case: "control_byte_in_value",
        client: None,
        upstream: None,
        reason: "Pingora refuses a response with a control byte in a field.",
    },
    Exception {
        case: "delete_in_value",
        client: None,
        upstream: None,
        reason: "Pingora refuses a response with a control byte in a field.",
    },
    Exception {
        case: "chunked_and_content_length",
        client: None,
        upstream: None,
        reason: "Pingora drops the length unseen and keeps the connection to the app.",
    },
    Exception {
        case: "content_length_and_chunked",
        client: None,
        upstream: None,
        reason: "Pingora drops the length unseen and keeps the connection to the app.",
    },
    Exception {
        case: "chunk_size_empty",
        client: None,
        upstream: None,
        reason: "Pingora takes a chunk without a size for the last one.",
    },
    Exception {
        case: "early_401_drop",
        client: None,
        upstream: None,
        reason: "An app that resets its connection while it is sent an upload may lose its response: Pingora reads it only after the write has failed.",
    },
    Exception {
        case: "midway_401_drop",
        client: None,
        upstream: None,
        reason: "An app that resets its connection while it is sent an upload may lose its response: Pingora reads it only after the write has failed.",
    },
    Exception {
        case: "midway_413_close",
        client: None,
        upstream: None,
        reason: "An app that closes its connection while it is sent an upload may lose its response: Pingora reads it only after the write has failed.",
    },
    Exception {
        case: "http2_head_with_data",
        client: Some(Client::Http11),
        upstream: None,
        reason: "Pingora closes the client's connection behind the response to a HEAD to which an app of HTTP/2 sends a body.",
    },
    Exception {
        case: "http2_head_with_data_of_no_length",
        client: Some(Client::Http11),
        upstream: None,
        reason: "Pingora closes the client's connection behind the response to a HEAD to which an app of HTTP/2 sends a body.",
    },
    Exception {
        case: "empty_host",
        client: None,
        upstream: Some(Upstream::H2c),
        reason: "Pingora sends no request of HTTP/2 without an authority: it is the name of the app.",
    },
    Exception {
        case: "empty_host",
        client: None,
        upstream: Some(Upstream::H2Tls),
        reason: "Pingora sends no request of HTTP/2 without an authority: it is the name of the app.",
    },
    Exception {
        case: "without_host",
        client: Some(Client::Http10),
        upstream: Some(Upstream::H2c),
        reason: "Pingora sends no request of HTTP/2 without an authority: it is the name of the app.",
    },
    Exception {
        case: "without_host",
        client: Some(Client::Http10),
        upstream: Some(Upstream::H2Tls),
        reason: "Pingora sends no request of HTTP/2 without an authority: it is the name of the app.",
    },
];

/// Why a cell is left out, if it is.
pub(crate) fn reason(case: &str, pair: Pair) -> Option<&'static str> {
    let mut fitting = EXCEPTIONS.iter().filter(|exception| {
        exception.case == case
            && exception.client.is_none_or(|client| client == pair.client)
            && exception
                .upstream
                .is_none_or(|upstream| upstream == pair.upstream)
    });
    fitting.next().map(|exception| exception.reason)
}
