//! What an idle connection costs: the resident memory of the real binary with 10,000 of them,
//! before their first request and between two requests.
//!
//! `cargo bench --bench idle_connections`; `CONNECTIONS=5000` takes fewer (each is a descriptor in
//! this process and one in the proxy).

#![allow(clippy::print_stdout, clippy::print_stderr)] // It prints its figures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BINARY: &str = env!("CARGO_BIN_EXE_dynamic-reverse-proxy");
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn main() -> Result<()> {
    let count = std::env::var("CONNECTIONS")
        .ok()
        .map_or(Ok(10_000), |text| text.parse())?;
    let limit = rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    if limit < count + 200 {
        return Err(format!("{count} connections need more than {limit} open files").into());
    }
    let origin = start_origin()?;
    println!(
        "{:<28} {:>12} {:>12} {:>10}",
        "state", "RSS before", "RSS after", "a piece"
    );
    report("before the first request", count, origin, |_stream| Ok(()))?;
    report("between two requests", count, origin, request)?;
    Ok(())
}

/// Opens the connections, brings each into its state, and prints what the proxy grew by.
fn report(
    name: &str,
    count: u64,
    origin: u16,
    prepare: impl Fn(&mut TcpStream) -> Result<()>,
) -> Result<()> {
    let proxy = Proxy::start()?;
    proxy.register(origin)?;
    // The first requests make the pools, threads and arenas that are there once.
    for _ in 0..64 {
        request(&mut TcpStream::connect(("127.0.0.1", proxy.port))?)?;
    }
    let before = settled(&proxy)?;
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port))?;
        prepare(&mut stream)?;
        streams.push(stream);
    }
    proxy.await_descriptors(count)?;
    let after = settled(&proxy)?;
    let each = after.saturating_sub(before) * 1024 / count;
    println!("{name:<28} {before:>8} KiB {after:>8} KiB {each:>8} B");
    drop(streams);
    Ok(())
}

/// The resident memory once it has stopped changing, in KiB.
fn settled(proxy: &Proxy) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut last = proxy.resident()?;
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = proxy.resident()?;
        if now.abs_diff(last) < 64 || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

fn request(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 2048];
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(format!("no answer: {}", String::from_utf8_lossy(&answer)).into());
        }
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    Ok(())
}

/// An origin that answers every request with two bytes.
fn start_origin() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(port)
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            writer.write_all(ANSWER)?;
        }
    }
    Ok(())
}

struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    fn start() -> Result<Self> {
        let mut child = Command::new(BINARY)
            .env("PORT", "0")
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        let port = line.trim().rsplit(' ').next().ok_or("no port")?.parse()?;
        Ok(Self { child, port })
    }

    fn register(&self, origin: u16) -> Result<()> {
        let body = format!(r#"{{"prefix":"/","port":{origin}}}"#);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "POST /register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.contains("Registered.") {
            Ok(())
        } else {
            Err(answer.into())
        }
    }

    fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("no VmRSS")?
            .parse()?)
    }

    fn await_descriptors(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let folder = format!("/proc/{}/fd", self.child.id());
        while (std::fs::read_dir(&folder)?.count() as u64) < count {
            if Instant::now() > deadline {
                return Err("the proxy has not accepted all connections".into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the proxy does not end: {error}");
        }
    }
}
