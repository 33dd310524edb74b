//! The load: as fast as the answers come, or at a rate whether they come or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
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
    /// When the request was due, since the load began.
    pub(crate) due: Duration,
    /// From then to the answer's last byte, the wait for a connection included.
    pub(crate) in_all: Duration,
    /// Until there was a connection for it, if it was not there before.
    pub(crate) connect: Option<Duration>,
    /// From the connection, or a stream of one, to the answer's last byte.
    pub(crate) answer: Duration,
    /// Whether the kernel on the other side had no place for the connection when the client believed that it
    /// was connected: the client's segments were sent again.
    pub(crate) is_resent: bool,
}

/// An answer to one request of the load.
pub(crate) struct Answered {
    /// 0 if the connection was closed within the TLS handshake.
    pub(crate) status: u16,
    pub(crate) has_retry_after: bool,
    pub(crate) way: Taken,
}

/// The connection that a request has taken.
pub(crate) struct Taken {
    /// How long it took to connect, if it was not there before.
    pub(crate) connect: Option<Duration>,
    /// Since when there was a connection for the request.
    pub(crate) since: Instant,
    /// Whether segments were sent again since then.
    pub(crate) is_resent: bool,
}

impl Taken {
    /// A connection that is there.
    pub(crate) fn kept() -> Self {
        Self {
            connect: None,
            since: Instant::now(),
            is_resent: false,
        }
    }

    /// A connection that was begun then, and is there now.
    fn new(begin: Instant) -> Self {
        Self {
            connect: Some(begin.elapsed()),
            ..Self::kept()
        }
    }
}

impl Answered {
    fn new(answer: &Answer, way: Taken) -> Self {
        Self {
            status: answer.status,
            has_retry_after: answer.has_retry_after,
            way,
        }
    }

    fn refused(way: Taken) -> Self {
        Self {
            status: 0,
            has_retry_after: false,
            way,
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

/// How many segments of a connection were sent again.
fn resent(stream: &TcpStream) -> u32 {
    let info = pingora_core::protocols::l4::ext::get_tcp_info(stream.as_raw_fd());
    info.map_or(0, |info| info.tcpi_total_retrans)
}

impl State {
    /// Asks once.
    async fn ask(&self) -> Result<Answered> {
        match &self.way {
            Way::Kept(idle) => self.ask_kept(idle).await,
            Way::New => {
                let begin = Instant::now();
                let mut stream = connect(self.address).await?;
                let (mut way, before) = (Taken::new(begin), resent(&stream));
                let answer = exchange(&mut stream, LAST).await?;
                way.is_resent = resent(&stream) > before;
                Ok(Answered::new(&answer, way))
            }
            Way::Tls(connector) => self.ask_tls(connector).await,
            Way::Http2(streams) => streams.ask().await,
        }
    }

    async fn ask_tls(&self, connector: &TlsConnector) -> Result<Answered> {
        let begin = Instant::now();
        let stream = connect(self.address).await?;
        let (mut way, before) = (Taken::new(begin), resent(&stream));
        let Ok(mut stream) = connector.connect(tls::name()?, stream).await else {
            return Ok(Answered::refused(way));
        };
        let answer = exchange(&mut stream, LAST).await?;
        way.is_resent = resent(stream.get_ref().0) > before;
        Ok(Answered::new(&answer, way))
    }

    async fn ask_kept(&self, idle: &Mutex<Vec<TcpStream>>) -> Result<Answered> {
        let (kept, begin) = (idle.lock().pop(), Instant::now());
        let (mut stream, mut way) = match kept {
            Some(stream) => (stream, Taken::kept()),
            None => (connect(self.address).await?, Taken::new(begin)),
        };
        let before = resent(&stream);
        let answer = exchange(&mut stream, KEPT).await?;
        way.is_resent = resent(&stream) > before;
        if answer.keeps {
            idle.lock().push(stream);
        }
        Ok(Answered::new(&answer, way))
    }

    /// Asks for what is due at `due`, in a load that began at `begin`.
    async fn work(self: Arc<Self>, due: Instant, begin: Instant) {
        let asked = tokio::time::timeout(PATIENCE, self.ask()).await;
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        let mut offered = self.offered.lock();
        let times = |way: &Taken| Times {
            due: due - begin,
            in_all: due.elapsed(),
            connect: way.connect,
            answer: way.since.elapsed(),
            is_resent: way.is_resent,
        };
        match asked {
            Ok(Ok(answered)) => match answered.status {
                200 => offered.served.push(times(&answered.way)),
                503 => {
                    offered.shed.push(times(&answered.way));
                    offered.without_retry_after += usize::from(!answered.has_retry_after);
                }
                0 => offered.refused.push(times(&answered.way)),
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
                    tokio::spawn(Arc::clone(&state).work(at, begin));
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
