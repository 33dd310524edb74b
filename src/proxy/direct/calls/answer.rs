//! The answer to a call: its target's, or the proxy's own.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::super::failure::Failure;
use crate::answer::Refusal;
use crate::answer::grpc::MEDIA_TYPE;
use crate::front::Reply;
use crate::proxy::grpc;
use crate::proxy::policy::Policy;
use crate::proxy::visit::Visit;

/// Where an answer is from, for whoever looks for a fault.
const SERVED_BY: &str = "x-served-by";

/// The client's side of an answer.
pub(super) struct Answer<'x> {
    pub(super) policy: &'x Policy,
    pub(super) reply: Reply,
    /// Where the call is.
    pub(super) visit: Option<Visit>,
    pub(super) id: HeaderValue,
    /// Whether the client's side is encrypted.
    pub(super) is_encrypted: bool,
    progress: Progress,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// It has begun, and has a status of a call at its end.
    Call,
    /// It has begun, and is none to a call.
    Other,
}

/// The client has reset the stream, or the connection is gone.
pub(super) fn gone(error: h2::Error) -> Failure {
    Failure::of_client(std::io::Error::other(error))
}

impl<'x> Answer<'x> {
    pub(super) fn new(
        policy: &'x Policy,
        reply: Reply,
        visit: Visit,
        id: HeaderValue,
        is_encrypted: bool,
    ) -> Self {
        Self {
            policy,
            reply,
            visit: Some(visit),
            id,
            is_encrypted,
            progress: Progress::Waiting,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.progress != Progress::Waiting
    }

    /// A piece of the call's body has come.
    pub(super) fn received(&self, bytes: usize) {
        if let Some(visit) = &self.visit {
            visit.received(bytes);
        }
    }

    /// A piece of the answer's body goes to the client.
    pub(super) fn sent(&self, bytes: usize) {
        if let Some(visit) = &self.visit {
            visit.sent(bytes);
        }
    }

    /// Passes the head of the target's answer on, which may be all of it.
    pub(super) fn begin(&mut self, mut head: Response<()>, is_all: bool) -> Result<(), Failure> {
        self.note(head.status());
        let fields = head.headers_mut();
        self.progress = if grpc::is_of_call(fields) {
            Progress::Call
        } else {
            Progress::Other
        };
        fields.remove(TRAILER);
        if let Some(served_by) = self.served_by() {
            fields.insert(SERVED_BY, served_by);
        }
        self.promise(fields);
        fields.insert(self.policy.id_field, self.id.clone());
        self.reply.begin(head, is_all).map_err(gone)
    }

    /// Answers in the target's place: a head and nothing else.
    pub(super) fn refuse(&mut self, refusal: &Refusal, reset: Option<u32>) -> Result<(), Failure> {
        self.note(refusal.status);
        let mut head = Response::new(());
        let fields = head.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        fields.extend(status(refusal, reset));
        fields.insert(self.policy.id_field, self.id.clone());
        self.reply.begin(head, true).map_err(gone)
    }

    /// Ends the target's answer in its place.
    pub(super) fn end(&mut self, refusal: &Refusal, reset: Option<u32>) -> Result<(), Failure> {
        match self.progress {
            Progress::Call => {
                let trailers = status(refusal, reset).collect();
                self.reply.end_with(trailers).map_err(gone)
            }
            // A reply that is dropped before its end resets the stream.
            Progress::Waiting | Progress::Other => Ok(()),
        }
    }

    /// Answers with what somebody else has to say.
    pub(super) async fn say(&mut self, answer: Response<Bytes>) -> Result<(), Failure> {
        self.note(answer.status());
        let (head, body) = answer.into_parts();
        let mut head = Response::from_parts(head, ());
        let fields = head.headers_mut();
        fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        self.promise(fields);
        fields.insert(self.policy.id_field, self.id.clone());
        self.reply.begin(head, body.is_empty()).map_err(gone)?;
        self.reply.write(body, true).await.map_err(gone)
    }

    fn note(&mut self, status: StatusCode) {
        if let Some(visit) = &mut self.visit {
            visit.answered(status);
        }
    }

    /// Tells browsers what is said of later requests.
    fn promise(&self, fields: &mut HeaderMap) {
        let route = self.visit.as_ref().map(|visit| &**visit.route());
        let apps = fields.get(STRICT_TRANSPORT_SECURITY);
        match self.policy.promise(route, apps, || self.is_encrypted) {
            Some(value) => fields.insert(STRICT_TRANSPORT_SECURITY, value),
            None => fields.remove(STRICT_TRANSPORT_SECURITY),
        };
    }

    /// Where the answer is from, for whoever looks for a fault.
    fn served_by(&self) -> Option<HeaderValue> {
        let visit = self.visit.as_ref().filter(|_| self.policy.options.debug)?;
        let prefix = &visit.route().prefix;
        let text = format!("http://{}{prefix}", visit.instance().target);
        HeaderValue::try_from(text).ok()
    }
}

/// The status of a call that has failed, as fields or trailers.
fn status(
    refusal: &Refusal,
    reset: Option<u32>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let fields = grpc::status(refusal, reset).fields(&refusal.message);
    let named = |(name, value)| (HeaderName::from_static(name), value);
    fields.into_iter().map(named)
}
