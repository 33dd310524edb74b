//! A turn of a task, between a client and an upstream that always have more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use http::{HeaderMap, StatusCode};

use super::*;
use crate::front::{After, Connection, Connections, DownstreamError, Field, ResponseStart};
use crate::front::{RequestId, test_request};
use crate::proxy::GatewayOptions;
use crate::proxy::policy::Policy;
use crate::proxy::record::Record;
use crate::proxy::upstream::{Leftover, ResponseSink};
use crate::registry::{Registry, Rules};

/// An upstream that sends without end, and takes everything.
struct Endless {
    is_ended: bool,
}

impl Upstream for Endless {
    fn poll_send(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn put(&mut self, _context: &mut Context<'_>, _buffer: &mut [u8], _count: usize) {}

    fn end(&mut self) {
        self.is_ended = true;
    }

    fn is_ended(&self) -> bool {
        self.is_ended
    }

    fn is_refused(&self) -> bool {
        false
    }

    fn is_sending(&self) -> bool {
        false
    }

    fn sent(&self) -> u64 {
        0
    }

    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        sink: &mut impl ResponseSink,
    ) -> Poll<Result<(), Failure>> {
        Poll::Ready(sink.data(context, &buffer[..PIECE]))
    }

    fn is_over(&self) -> bool {
        false
    }

    fn leave(self, _failure: Option<&Failure>) -> Leftover {
        Leftover::Nothing
    }
}

/// A client that sends without end, and takes everything.
struct Client;

impl Downstream for Client {
    fn poll_body(
        &mut self,
        _context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<Result<usize, DownstreamError>> {
        Poll::Ready(Ok(room.len()))
    }

    fn is_body_over(&self) -> bool {
        false
    }

    fn wants_drain(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, _context: &mut Context<'_>) -> Poll<DownstreamError> {
        Poll::Pending
    }

    fn inform<'f>(
        &mut self,
        _status: StatusCode,
        _reason: &str,
        _fields: impl Iterator<Item = Field<'f>>,
    ) {
    }

    fn close(&mut self) {}

    fn begin<'f>(
        &mut self,
        _start: ResponseStart<'_>,
        _fields: impl Iterator<Item = Field<'f>>,
    ) -> Result<(), DownstreamError> {
        Ok(())
    }

    fn write(&mut self, _context: &mut Context<'_>, _data: &[u8]) -> Result<(), DownstreamError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), DownstreamError> {
        Ok(())
    }

    fn end_with(&mut self, _trailers: HeaderMap) -> Result<(), DownstreamError> {
        Ok(())
    }

    fn poll_taken(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), DownstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn taken(&self) -> u64 {
        0
    }

    fn has_begun(&self) -> bool {
        true
    }

    fn abandon(&mut self) {}

    fn after(&self) -> After {
        After::Abort
    }

    fn into_switched<'c>(self) -> Option<&'c mut Connection>
    where
        Self: 'c,
    {
        None
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// How many bytes each of three turns moves, and how often the task is woken for another.
fn turns(is_ended: bool) -> Vec<(u64, usize)> {
    let registry = Arc::new(Registry::new(Rules::default()));
    let policy = Policy::new(registry, GatewayOptions::default(), Vec::new(), None);
    let request = Box::new(test_request("POST", "/", &[("Host", "a")]));
    let mut record = Record::new(request, RequestId::new(), false);
    let mut client = Client;
    let responder = Responder {
        downstream: &mut client,
        record: &mut record,
        policy: &policy,
    };
    let connections = Arc::<Connections>::default();
    let abort = connections.abort(Waker::noop().clone());
    let (mut body, upstream) = (RequestBody::default(), Endless { is_ended });
    let timeouts = policy.options.timeouts;
    let mut pump = Pump::new(responder, &mut body, upstream, timeouts, &abort);
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let (mut context, mut timer) = (Context::from_waker(&waker), ReusableTimer::default());
    let mut turns = Vec::new();
    for _ in 0..3 {
        let before = pump.responder.record.moved();
        assert!(pump.poll(&mut context, &mut timer).is_pending());
        let moved = pump.responder.record.moved() - before;
        turns.push((moved, woken.0.swap(0, Ordering::SeqCst)));
    }
    turns
}

#[tokio::test]
async fn a_turn_of_a_download_moves_256_kib() {
    assert_eq!(turns(true), [(256 * 1024, 1); 3]);
}

#[tokio::test]
async fn an_upload_leaves_half_of_a_turn_to_its_response() {
    // Each direction asks for another turn.
    assert_eq!(turns(false), [(256 * 1024, 2); 3]);
}
