//! Origins: servers on real sockets that do what the test says, well or badly.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::in_time;
use super::wire::{Request, Wire};

type Handler = Arc<dyn Fn(OriginConnection) -> BoxFuture<'static, ()> + Send + Sync>;

/// A server that runs one handler for each connection, until it is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    handler: Handler,
    record: Arc<Record>,
    server: Option<JoinHandle<()>>,
}

/// What an origin has seen.
#[derive(Default)]
struct Record {
    requests: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

/// One connection to an origin.
pub(crate) struct OriginConnection {
    wire: Wire,
    record: Arc<Record>,
}

/// The connections of an origin whose part the test plays itself.
pub(crate) struct Visitors(mpsc::UnboundedReceiver<OriginConnection>);

impl Origin {
    /// An origin on a free port of 127.0.0.1.
    pub(crate) async fn start<F>(
        handler: impl Fn(OriginConnection) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", handler).await
    }

    /// An origin on another address.
    pub(crate) async fn start_at<F>(
        address: &str,
        handler: impl Fn(OriginConnection) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let mut origin = Self {
            address: listener.local_addr().expect("an address"),
            handler: Arc::new(move |visit| Box::pin(handler(visit))),
            record: Arc::default(),
            server: None,
        };
        origin.serve(listener);
        origin
    }

    /// Answers every request with 200 and a text.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::start(move |mut visit| async move {
            while visit.request().await.is_some() {
                visit.answer(200, text).await;
            }
        })
        .await
    }

    /// Sends the same bytes for every request, whatever they are, and closes.
    pub(crate) async fn sending(bytes: &'static [u8]) -> Self {
        Self::start(move |mut visit| async move {
            if visit.request().await.is_some() {
                visit.send(bytes).await;
            }
        })
        .await
    }

    /// Reads requests and never answers.
    pub(crate) async fn silent() -> Self {
        Self::start(|mut visit| async move { while visit.request().await.is_some() {} }).await
    }

    /// Leaves every connection to the test.
    pub(crate) async fn by_hand() -> (Self, Visitors) {
        let (sender, visits) = mpsc::unbounded_channel();
        let origin = Self::start(move |visit| {
            // A test that has seen enough no longer takes them.
            drop(sender.send(visit));
            std::future::ready(())
        })
        .await;
        (origin, Visitors(visits))
    }

    fn serve(&mut self, listener: TcpListener) {
        let (handler, record) = (Arc::clone(&self.handler), Arc::clone(&self.record));
        self.server = Some(tokio::spawn(async move {
            // Dropped with this task, and then every connection with it.
            let mut visits = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                visits.spawn(handler(OriginConnection::new(stream, &record)));
                while visits.try_join_next().is_some() {}
            }
        }));
    }

    /// Stops listening and closes every connection.
    pub(crate) async fn stop(&mut self) {
        let server = self.server.take().expect("a running origin");
        server.abort();
        drop(in_time("stopping an origin", server).await);
    }

    /// Listens on the same port again.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the port is still free");
        self.serve(listener);
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far, from all connections.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.record
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.record.accepted.load(Ordering::SeqCst)
    }

    /// How many connections there are.
    pub(crate) fn open(&self) -> usize {
        self.record.open.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

impl OriginConnection {
    fn new(stream: TcpStream, record: &Arc<Record>) -> Self {
        record.accepted.fetch_add(1, Ordering::SeqCst);
        record.open.fetch_add(1, Ordering::SeqCst);
        Self {
            wire: Wire::new(stream),
            record: Arc::clone(record),
        }
    }

    /// The next request with its body, which goes into the record; `None` when there is no other.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        // An idle connection may wait for longer than a test's deadline.
        self.wire.stream.readable().await.ok()?;
        let head = self.wire.head().await?;
        let (body, is_whole) = self.wire.framed(&head).await;
        let request = Request { head, body };
        let mut requests = self
            .record
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        requests.push(request.clone());
        is_whole.then_some(request)
    }

    /// A whole answer with a length; the connection stays open.
    pub(crate) async fn answer(&mut self, status: u16, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} Fine\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // The proxy may have given up on it.
        drop(self.wire.offer([head.as_bytes(), body].concat()).await);
    }

    /// The next request, then the answer to it.
    pub(crate) async fn serve(&mut self, body: &str) -> Request {
        let request = self.request().await.expect("a request");
        self.answer(200, body).await;
        request
    }

    /// Begins a chunked answer.
    pub(crate) async fn begin_chunks(&mut self) {
        self.wire
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
    }

    /// Sends one chunk; an empty one is the last.
    pub(crate) async fn send_chunk(&mut self, data: &str) {
        self.wire
            .send(format!("{:x}\r\n{data}\r\n", data.len()))
            .await;
    }
}

impl Deref for OriginConnection {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for OriginConnection {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

impl Drop for OriginConnection {
    fn drop(&mut self) {
        self.record.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Visitors {
    /// The next connection.
    pub(crate) async fn next(&mut self) -> OriginConnection {
        in_time("a connection to the origin", self.0.recv())
            .await
            .expect("a running origin")
    }

    /// A connection that has come already.
    pub(crate) fn try_next(&mut self) -> Option<OriginConnection> {
        self.0.try_recv().ok()
    }
}
