//! The load: as fast as the answers come, or at a rate whether they come or not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};

use crate::Result;
use crate::args::Mode;
use crate::client::exchange;
use crate::http2::Streams;

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
    pub(crate) served: Vec<Duration>,
    pub(crate) shed: Vec<Duration>,
    /// Of the latter, those without `Retry-After`.
    pub(crate) without_retry_after: usize,
    /// Requests that were not sent, since all connections were in use.
    pub(crate) not_sent: usize,
    pub(crate) errors: Vec<String>,
}

/// Who asks.
pub(crate) struct Load {
    mode: Mode,
    most: usize,
    address: SocketAddr,
}

struct State {
    mode: Mode,
    address: SocketAddr,
    idle: Mutex<Vec<TcpStream>>,
    in_use: AtomicUsize,
    streams: Option<Streams>,
    offered: Mutex<Offered>,
}

/// Clients come from several loopback addresses: one alone has not the ports.
static SOURCE: AtomicU8 = AtomicU8::new(0);

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let source = 1 + SOURCE.fetch_add(1, Ordering::Relaxed) % 64;
    socket.bind(SocketAddr::new(Ipv4Addr::new(127, 0, 1, source).into(), 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl State {
    /// Asks once; the status of the answer and whether it says when to try again.
    async fn ask(&self) -> Result<(u16, bool)> {
        if let Some(streams) = &self.streams {
            return streams.ask().await;
        }
        if self.mode == Mode::New {
            let mut stream = connect(self.address).await?;
            let answer = exchange(&mut stream, LAST).await?;
            return Ok((answer.status, answer.has_retry_after));
        }
        let idle = self.idle.lock().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        let answer = exchange(&mut stream, KEPT).await?;
        if answer.keeps {
            self.idle.lock().push(stream);
        }
        Ok((answer.status, answer.has_retry_after))
    }

    /// Asks for what has arrived at `arrived`.
    async fn work(self: Arc<Self>, arrived: Instant) {
        let asked = tokio::time::timeout(PATIENCE, self.ask()).await;
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        let mut offered = self.offered.lock();
        match asked {
            Ok(Ok((200, _))) => offered.served.push(arrived.elapsed()),
            Ok(Ok((503, has_retry_after))) => {
                offered.shed.push(arrived.elapsed());
                offered.without_retry_after += usize::from(!has_retry_after);
            }
            Ok(Ok((status, _))) => offered.errors.push(format!("status {status}")),
            Ok(Err(error)) => offered.errors.push(error.to_string()),
            Err(_late) => offered.errors.push("no answer in 20 s".to_owned()),
        }
    }
}

impl Load {
    pub(crate) fn new(mode: Mode, most: usize, port: u16) -> Self {
        Self {
            mode,
            most,
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        }
    }

    async fn state(&self, connections: usize) -> Result<Arc<State>> {
        let streams = match self.mode {
            Mode::Http2 => Some(Streams::open(self.address, connections).await?),
            Mode::Kept | Mode::New => None,
        };
        Ok(Arc::new(State {
            mode: self.mode,
            address: self.address,
            idle: Mutex::default(),
            in_use: AtomicUsize::new(0),
            streams,
            offered: Mutex::default(),
        }))
    }

    /// How many requests a second it answers that are asked one after another.
    pub(crate) async fn sustained(&self, time: Duration) -> Result<f64> {
        let state = self.state(CLOSED.div_ceil(100)).await?;
        let end = Instant::now() + time;
        let tasks: Vec<_> = (0..CLOSED)
            .map(|_| {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut count = 0_u32;
                    while Instant::now() < end {
                        match state.ask().await {
                            Ok((200, _)) => count += 1,
                            Ok((status, _)) => return Err(format!("status {status}")),
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
        let state = match self.state(self.most.div_ceil(100)).await {
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
