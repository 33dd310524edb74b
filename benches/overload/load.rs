//! The load: as fast as the answers come, or at a rate whether they come or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::args::Mode;
use crate::client::{Answer, exchange};
use crate::http2::Streams;
use crate::server::Proxy;
use crate::{Result, tls};

const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
const LAST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n\r\n";

/// How many ask at once when the sustained rate is measured.
const CLOSED: usize = 64;

/// When a request counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the requests of the load.
#[derive(Default)]
pub(crate) struct Offered {
    pub(crate) served: Vec<Times>,
    pub(crate) shed: Vec<Times>,
    /// Of the latter, those without `Retry-After`.
    pub(crate) without_retry_after: usize,
    /// Connections that were closed within the TLS handshake.
    pub(crate) refused: Vec<Times>,
    /// Requests that were not sent, since all connections were in use.
    pub(crate) not_sent: usize,
    pub(crate) errors: Vec<String>,
}

/// How long an answer took.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// Since the request was due, the wait for a connection included.
    pub(crate) in_all: Duration,
    /// Since there was a connection, or a stream of one.
    pub(crate) connected: Duration,
}

/// An answer to one request of the load.
pub(crate) struct Answered {
    /// 0 if the connection was closed within the TLS handshake.
    pub(crate) status: u16,
    pub(crate) has_retry_after: bool,
    /// Since when there was a connection for it.
    pub(crate) connected: Instant,
}

impl Answered {
    fn new(answer: &Answer, connected: Instant) -> Self {
        Self {
            status: answer.status,
            has_retry_after: answer.has_retry_after,
            connected,
        }
    }

    fn refused(connected: Instant) -> Self {
        Self {
            status: 0,
            has_retry_after: false,
            connected,
        }
    }
}

/// Who asks.
pub(crate) struct Load {
    mode: Mode,
    most: usize,
    address: SocketAddr,
    tls: TlsConnector,
}

struct State {
    address: SocketAddr,
    way: Way,
    in_use: AtomicUsize,
    offered: Mutex<Offered>,
}

/// How requests are sent.
enum Way {
    /// Over connections that stay, of which these are idle.
    Kept(Mutex<Vec<TcpStream>>),
    New,
    Tls(TlsConnector),
    Http2(Streams),
}

/// Clients come from several loopback addresses: one alone has not the ports.
static SOURCE: AtomicU8 = AtomicU8::new(0);

pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let source = 1 + SOURCE.fetch_add(1, Ordering::Relaxed) % 64;
    socket.bind(SocketAddr::new(Ipv4Addr::new(127, 0, 1, source).into(), 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl State {
    /// Asks once.
    async fn ask(&self) -> Result<Answered> {
        match &self.way {
            Way::Kept(idle) => self.ask_kept(idle).await,
            Way::New => {
                let mut stream = connect(self.address).await?;
                let connected = Instant::now();
                let answer = exchange(&mut stream, LAST).await?;
                Ok(Answered::new(&answer, connected))
            }
            Way::Tls(connector) => {
                let stream = connect(self.address).await?;
                let connected = Instant::now();
                let Ok(mut stream) = connector.connect(tls::name()?, stream).await else {
                    return Ok(Answered::refused(connected));
                };
                let answer = exchange(&mut stream, LAST).await?;
                Ok(Answered::new(&answer, connected))
            }
            Way::Http2(streams) => streams.ask().await,
        }
    }

    async fn ask_kept(&self, idle: &Mutex<Vec<TcpStream>>) -> Result<Answered> {
        let kept = idle.lock().pop();
        let mut stream = match kept {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        let connected = Instant::now();
        let answer = exchange(&mut stream, KEPT).await?;
        if answer.keeps {
            idle.lock().push(stream);
        }
        Ok(Answered::new(&answer, connected))
    }

    /// Asks for what has arrived at `arrived`.
    async fn work(self: Arc<Self>, arrived: Instant) {
        let asked = tokio::time::timeout(PATIENCE, self.ask()).await;
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        let mut offered = self.offered.lock();
        let times = |connected: Instant| Times {
            in_all: arrived.elapsed(),
            connected: connected.elapsed(),
        };
        match asked {
            Ok(Ok(answered)) => match answered.status {
                200 => offered.served.push(times(answered.connected)),
                503 => {
                    offered.shed.push(times(answered.connected));
                    offered.without_retry_after += usize::from(!answered.has_retry_after);
                }
                0 => offered.refused.push(times(answered.connected)),
                status => offered.errors.push(format!("status {status}")),
            },
            Ok(Err(error)) => offered.errors.push(error.to_string()),
            Err(_late) => offered.errors.push("no answer in 20 s".to_owned()),
        }
    }
}

impl Load {
    pub(crate) fn new(mode: Mode, most: usize, proxy: &Proxy) -> Self {
        let port = match mode {
            Mode::Tls => proxy.tls_port(),
            Mode::Kept | Mode::New | Mode::Http2 => proxy.port(),
        };
        Self {
            mode,
            most,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            tls: proxy.certificate().connector(),
        }
    }

    async fn state(&self, most: usize) -> Result<Arc<State>> {
        let way = match self.mode {
            Mode::Kept => Way::Kept(Mutex::default()),
            Mode::New => Way::New,
            Mode::Tls => Way::Tls(self.tls.clone()),
            Mode::Http2 => Way::Http2(Streams::open(self.address, most).await?),
        };
        Ok(Arc::new(State {
            address: self.address,
            way,
            in_use: AtomicUsize::new(0),
            offered: Mutex::default(),
        }))
    }

    /// How many requests a second it answers that are asked one after another.
    pub(crate) async fn sustained(&self, time: Duration) -> Result<f64> {
        let state = self.state(CLOSED).await?;
        let end = Instant::now() + time;
        let tasks: Vec<_> = (0..CLOSED)
            .map(|_| {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut count = 0_u32;
                    while Instant::now() < end {
                        match state.ask().await {
                            Ok(answered) if answered.status == 200 => count += 1,
                            Ok(answered) => return Err(format!("status {}", answered.status)),
                            Err(error) => return Err(error.to_string()),
                        }
                    }
                    Ok(count)
                })
            })
            .collect();
        let mut sum = 0.0;
        for task in tasks {
            sum += f64::from(task.await??);
        }
        Ok(sum / time.as_secs_f64())
    }

    /// Asks at this rate for so long, and waits for the last answer.
    pub(crate) async fn offer(&self, rate: f64, time: Duration) -> Offered {
        let state = match self.state(self.most).await {
            Ok(state) => state,
            Err(error) => {
                return Offered {
                    errors: vec![error.to_string()],
                    ..Offered::default()
                };
            }
        };
        let begin = Instant::now();
        let mut arrived = 0_u64;
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while begin.elapsed() < time {
            ticks.tick().await;
            let due = (begin.elapsed().as_secs_f64() * rate) as u64;
            while arrived < due {
                let at = begin + Duration::from_secs_f64(arrived as f64 / rate);
                arrived += 1;
                if state.in_use.fetch_add(1, Ordering::Relaxed) < self.most {
                    tokio::spawn(Arc::clone(&state).work(at));
                } else {
                    state.in_use.fetch_sub(1, Ordering::Relaxed);
                    state.offered.lock().not_sent += 1;
                }
            }
        }
        let last = Instant::now();
        while state.in_use.load(Ordering::Relaxed) > 0 && last.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::mem::take(&mut *state.offered.lock())
    }
}
