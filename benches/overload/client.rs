//! Single requests of HTTP/1.1, and those who ask beside the load.

use std::net::Ipv4Addr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::server::Proxy;

/// For how long somebody waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it says when to try again.
    pub(crate) has_retry_after: bool,
    pub(crate) body: Vec<u8>,
    /// Whether the connection may be used again.
    pub(crate) keeps: bool,
}

/// Sends a request over a connection, and reads the answer.
pub(crate) async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<Answer> {
    stream.write_all(request).await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err("closed without an answer".into());
        }
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
    }
}

/// The answer, if all of it has come.
fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        return Ok(None);
    };
    let status = head.code.unwrap_or(0);
    let value = |name: &str| {
        let field = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let body = value("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let body: Option<Vec<u8>> = bytes.get(length..length + body).map(<[u8]>::to_vec);
    Ok(body.map(|body| Answer {
        status,
        has_retry_after: value("retry-after").is_some(),
        keeps: value("connection") != Some("close"),
        body,
    }))
}

/// Asks for a path over a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Result<Answer> {
    let (answer, _connect) = ask_path(port, path).await?;
    Ok(answer)
}

async fn ask_path(port: u16, path: &str) -> Result<(Answer, Duration)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    ask(port, request).await
}

/// Asks over a connection of its own: the answer, and how long it took to connect.
async fn ask(port: u16, request: String) -> Result<(Answer, Duration)> {
    tokio::time::timeout(PATIENCE, async {
        let begin = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let connect = begin.elapsed();
        let answer = exchange(&mut stream, request.as_bytes()).await?;
        Ok((answer, connect))
    })
    .await
    .map_err(|_late| "no answer in 20 s")?
}

/// How long an answer took to one who asked beside the load.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Until there was a connection.
    pub(crate) connect: Duration,
    /// From then to the answer's last byte.
    pub(crate) answer: Duration,
}

/// What those have seen who asked beside the load.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) control: Vec<Asked>,
    pub(crate) registrations: Vec<Asked>,
    pub(crate) errors: Vec<String>,
}

/// Asks the control API ten times a second, and registers as often over the traffic's port: on a thread of
/// its own, which has not the load to do.
pub(crate) struct Beside(JoinHandle<Result<Seen>>);

impl Beside {
    /// For so long.
    pub(crate) fn start(proxy: &Proxy, time: Duration) -> Self {
        let (port, control, origin) = (proxy.port(), proxy.control(), proxy.origin);
        Self(thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(ask_beside(time, port, control, origin)))
        }))
    }

    pub(crate) fn seen(self) -> Result<Seen> {
        let seen = self.0.join();
        seen.map_err(|_panic| "who asked beside the load has panicked")?
    }
}

async fn ask_beside(time: Duration, port: u16, control: u16, origin: u16) -> Seen {
    let end = Instant::now() + time;
    let mut seen = Seen::default();
    let body = format!("{{\"prefix\": \"/beside\", \"port\": {origin}}}");
    let registration = format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    while Instant::now() < end {
        let begin = Instant::now();
        let answer = ask_path(control, "/v1/status").await;
        note(answer, begin, &mut seen.control, &mut seen.errors);
        let begin = Instant::now();
        let answer = ask(port, registration.clone()).await;
        note(answer, begin, &mut seen.registrations, &mut seen.errors);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    seen
}

fn note(
    answer: Result<(Answer, Duration)>,
    begin: Instant,
    times: &mut Vec<Asked>,
    errors: &mut Vec<String>,
) {
    match answer {
        Ok((answer, connect)) if answer.status == 200 => times.push(Asked {
            connect,
            answer: begin.elapsed().saturating_sub(connect),
        }),
        Ok((answer, _connect)) => errors.push(format!("status {}", answer.status)),
        Err(error) => errors.push(error.to_string()),
    }
}

/// How long it takes until ten requests in a row are served within 200 ms each.
pub(crate) async fn recovery(proxy: &Proxy) -> Result<Duration> {
    let begin = Instant::now();
    let (mut in_row, mut since) = (0, begin);
    while in_row < 10 {
        let asked = Instant::now();
        let answer = get(proxy.port(), "/").await;
        if answer.is_ok_and(|answer| answer.status == 200) && asked.elapsed().as_millis() < 200 {
            if in_row == 0 {
                since = asked;
            }
            in_row += 1;
        } else {
            in_row = 0;
        }
        if begin.elapsed() > Duration::from_mins(1) {
            return Err("not back to normal after a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(since - begin)
}
