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
    /// Why it is refused, if it is malformed and its end can be told all the same.
    pub(super) malformed: Option<Malformed>,
}

impl Incoming {
    /// Takes a stream, unless the end of its request cannot be told: then it is reset.
    pub(super) fn take(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        client: &Arc<Client>,
    ) -> Result<Self, Malformed> {
        let (head, body) = request.into_parts();
        let malformed = malformed::check(&head).err();
        if let Some(malformed) = malformed.filter(|malformed| malformed.is_of_framing()) {
            malformed.reset(respond);
            return Err(malformed);
        }
        Ok(Self {
            head,
            body: RequestBody::new(body),
            reply: Reply::new(respond, Arc::clone(client)),
            malformed,
        })
    }
}
