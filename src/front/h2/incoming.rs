//! A request as h2 brings it.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use http::request::Parts;

use super::body::RequestBody;
use super::client::Client;
use super::malformed::{self, Malformed};
use super::reply::Reply;

/// A request that a stream has brought, and the way to answer it.
#[derive(Debug)]
pub(in super::super) struct Incoming {
    /// The head. Its URI has scheme and authority only if the client has sent `:authority`.
    pub(crate) head: Parts,
    /// The body, which may be empty.
    pub(crate) body: RequestBody,
    /// The answer; a request whose reply is dropped is reset.
    pub(crate) reply: Reply,
}

impl Incoming {
    /// Takes a stream, unless its request is malformed: then it is ended as it deserves.
    pub(super) fn take(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        client: &Arc<Client>,
    ) -> Result<Self, Malformed> {
        let (head, body) = request.into_parts();
        if let Err(malformed) = malformed::check(&head) {
            malformed.end(respond);
            return Err(malformed);
        }
        Ok(Self {
            head,
            body: RequestBody::new(body),
            reply: Reply::new(respond, Arc::clone(client)),
        })
    }
}
