//! Requests and replies over a connection in memory, as a data path uses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use pingora_core::protocols::{Digest, Stream};
use tokio::sync::{mpsc, watch};

use super::super::listener::ListenerMode;
use super::super::test_ticket;
use super::client::Client;
use super::header_watch::InHead;
use super::incoming::Incoming;
use super::quiet::{Quiet, QuietLimits, TooQuiet};
use super::streams::{End, Streams};

/// A connection: requests go in at one end and come out at the other.
struct Line {
    sender: SendRequest<Bytes>,
    requests: mpsc::UnboundedReceiver<Incoming>,
    client: Arc<Client>,
}

fn client(waker: Waker) -> Arc<Client> {
    let (_server, shutdown) = watch::channel(false);
    Arc::new(Client::new(
        Digest::default(),
        ListenerMode::SERVING,
        shutdown,
        waker,
        test_ticket(),
    ))
}

/// The waits of a client that may take so long for its first request, and between two.
fn quiet(idle: Option<Duration>) -> Quiet {
    Quiet::new(QuietLimits {
        first: idle.unwrap_or(Duration::MAX),
        head: Duration::MAX,
        idle,
    })
}

impl Line {
    /// A connection whose client takes so much of each answer before it says that it took it.
    async fn with_window(window: u32) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let far: Stream = Box::new(far);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let (near, far) = tokio::join!(builder.handshake(near), h2::server::handshake(far));
        let ((sender, connection), far) = (near.unwrap(), far.unwrap());
        tokio::spawn(connection);
        let (incoming, requests) = mpsc::unbounded_channel();
        let client = client(Waker::noop().clone());
        let mut streams = Streams::new(far, Arc::clone(&client), quiet(None), InHead::default());
        tokio::spawn(async move {
            let stop = AtomicBool::new(false);
            while let Ok(stream) = streams.next(&stop).await {
                drop(incoming.send(stream));
            }
        });
        Self {
            sender,
            requests,
            client,
        }
    }

    /// A request without a body on its way, and as it comes out.
    async fn request(&mut self) -> (h2::client::ResponseFuture, Incoming) {
        let request = Request::get("http://localhost/a?b").body(()).unwrap();
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, _body) = sender.send_request(request, true).unwrap();
        (response, self.requests.recv().await.unwrap())
    }
}

#[tokio::test]
async fn a_request_is_answered_piece_by_piece() {
    let mut line = Line::with_window(1024).await;
    let (response, mut incoming) = line.request().await;
    assert_eq!(incoming.head.uri.path(), "/a");
    assert!(incoming.body.is_over());
    assert!(
        std::future::poll_fn(|context| incoming.body.poll_piece(context))
            .await
            .is_none()
    );
    let reply = &mut incoming.reply;
    reply.begin(Response::new(()), false).unwrap();
    reply.write(Bytes::new(), false).await.unwrap();
    reply.write("one".into(), false).await.unwrap();
    reply.write("two".into(), false).await.unwrap();
    assert!(!reply.is_complete());
    let trailers = HeaderMap::from_iter([(
        http::header::ETAG,
        HeaderValue::from_static("after the end"),
    )]);
    reply.end_with(trailers).unwrap();
    assert!(reply.is_complete());
    // Nothing comes behind the end.
    reply.write("three".into(), true).await.unwrap();
    reply.finish().unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(text, b"onetwo");
    assert!(body.trailers().await.unwrap().is_some());
}

#[tokio::test]
async fn a_write_that_was_given_up_goes_on_with_its_rest() {
    let mut line = Line::with_window(10).await;
    let (response, mut incoming) = line.request().await;
    let reply = &mut incoming.reply;
    reply.begin(Response::new(()), false).unwrap();
    let mut data = Bytes::from_static(b"0123456789abcdef");
    let given_up = std::future::poll_fn(|context| {
        Poll::Ready(reply.poll_write(context, &mut data, true).is_pending())
    });
    assert!(given_up.await);
    let mut body = response.await.unwrap().into_body();
    let first = body.data().await.unwrap().unwrap();
    let sent = 16 - data.len();
    assert!(0 < sent && sent <= 10, "{sent} bytes in a window of 10");
    body.flow_control().release_capacity(first.len()).unwrap();
    let rest = std::future::poll_fn(|context| reply.poll_write(context, &mut data, true));
    let reading = async {
        let mut text = first.to_vec();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            text.extend_from_slice(&piece);
        }
        text
    };
    let (written, text) = tokio::join!(rest, reading);
    written.unwrap();
    assert_eq!(text, b"0123456789abcdef");
}

#[tokio::test]
async fn a_reply_that_is_dropped_is_no_answer() {
    let mut line = Line::with_window(1024).await;
    let (response, incoming) = line.request().await;
    drop(incoming);
    let error = response.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    let (response, mut incoming) = line.request().await;
    incoming.reply.begin(Response::new(()), false).unwrap();
    incoming.reply.write("part".into(), false).await.unwrap();
    incoming.reply.reset(Reason::CANCEL);
    drop(incoming);
    let error = match response.await {
        Err(error) => error,
        Ok(response) => {
            let mut body = response.into_body();
            loop {
                match body.data().await.unwrap() {
                    Ok(_part) => {}
                    Err(error) => break error,
                }
            }
        }
    };
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    // A stream without a head does not count.
    let (_response, mut incoming) = line.request().await;
    assert!(incoming.reply.write("body".into(), true).await.is_err());
    assert!(incoming.reply.end_with(HeaderMap::new()).is_err());
}

#[tokio::test]
async fn the_client_that_gives_up_is_noticed_and_pays_for_it() {
    let mut line = Line::with_window(1024).await;
    for _ in 0..200 {
        assert!(!line.client.resets.are_too_many());
        let (response, mut incoming) = line.request().await;
        drop(response);
        let reset = std::future::poll_fn(|context| incoming.reply.poll_reset(context));
        assert_eq!(reset.await.unwrap(), Reason::CANCEL);
    }
    assert!(line.client.resets.are_too_many());
    // What was given up within its answer costs nothing, and what was answered is to its credit.
    let mut line = Line::with_window(1024).await;
    for _ in 0..250 {
        let (response, mut incoming) = line.request().await;
        incoming.reply.begin(Response::new(()), false).unwrap();
        drop(response.await.unwrap());
        let reset = std::future::poll_fn(|context| incoming.reply.poll_reset(context));
        assert_eq!(reset.await.unwrap(), Reason::CANCEL);
        drop(incoming);
    }
    assert!(!line.client.resets.are_too_many());
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_end_of_the_last_stream_wakes_the_connection() {
    let counter = Arc::<Counter>::default();
    let client = client(Arc::clone(&counter).into());
    assert!(!client.is_in_use());
    let (first, second) = (client.begin().0, client.begin().0);
    drop(first);
    assert_eq!(
        (client.is_in_use(), counter.0.load(Ordering::SeqCst)),
        (true, 0)
    );
    drop(second);
    assert_eq!(
        (client.is_in_use(), counter.0.load(Ordering::SeqCst)),
        (false, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_waits_for_its_idle_time_or_the_stop() {
    use tokio::time::Instant;

    let connected = async |idle| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let far: Stream = Box::new(far);
        let handshakes = tokio::join!(h2::client::handshake(near), h2::server::handshake(far));
        let (near, far): (Result<(SendRequest<Bytes>, _), _>, _) = handshakes;
        let client = client(Waker::noop().clone());
        // What is not driven answers nothing.
        let streams = Streams::new(far.unwrap(), client, quiet(idle), InHead::default());
        (near.unwrap(), streams)
    };
    let (begin, idle) = (Instant::now(), Duration::from_mins(1));
    let (_near, mut streams) = connected(Some(idle)).await;
    let next = streams.next(&AtomicBool::new(false)).await;
    assert_eq!(next.err(), Some(End::Quiet(TooQuiet::Idle)));
    assert_eq!(begin.elapsed(), idle);
    let (_near, mut streams) = connected(None).await;
    let stop = AtomicBool::new(false);
    let forever = tokio::time::timeout(idle, streams.next(&stop)).await;
    assert!(forever.is_err());
    // However long it has been idle, a client has a moment to hear of the stop.
    let begin = Instant::now();
    let next = streams.next(&AtomicBool::new(true)).await;
    assert_eq!(next.err(), Some(End::Quiet(TooQuiet::Idle)));
    assert_eq!(begin.elapsed(), super::super::LINGER);
}
