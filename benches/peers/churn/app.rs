//! An app, which is a process of its own: it answers each request with who it is.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::PORTS;
use super::count::Identity;
use crate::Result;

/// What it is told on the command line, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) identity: Identity,
}

/// How long requests may take once it is told to stop.
const GRACE: Duration = Duration::from_secs(1);

/// Says its port on standard output and serves: until SIGTERM, after which it answers what has come, or
/// until its standard input ends with the bench.
pub(crate) fn serve(settings: &str) -> Result<()> {
    let settings: Settings = serde_json::from_str(settings)?;
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        if let Err(error) = std::io::stdin().read_to_end(&mut rest) {
            eprintln!("an app: {error}");
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(settings.identity))
}

async fn run(identity: Identity) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let listener = listen().await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    let (stop, stopping) = watch::channel(());
    let mut open = JoinSet::new();
    let serve = |stream| connection(stream, identity.response(), stopping.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => { open.spawn(serve(accepted?.0)); }
            _ = terminated.recv() => break,
            Some(_ended) = open.join_next() => {}
        }
    }
    // Those who are connected already are served.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        open.spawn(serve(stream));
    }
    drop(listener);
    drop(stop);
    let rest = async { while open.join_next().await.is_some() {} };
    // Who has not asked by then is cut.
    tokio::time::timeout(GRACE, rest).await.unwrap_or(());
    Ok(())
}

/// A port of the range, at random among those that are free.
async fn listen() -> Result<TcpListener> {
    for _ in 0..100 * PORTS.len() {
        match TcpListener::bind(("127.0.0.1", fastrand::u16(PORTS))).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err("no port of the range is free".into())
}

/// Answers until the client or the app ends.
async fn connection(
    mut stream: TcpStream,
    response: Vec<u8>,
    mut stopping: watch::Receiver<()>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    loop {
        while let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
            stream.write_all(&response).await?;
            drop(buffer.split_to(end + 4));
        }
        buffer.reserve(2048);
        tokio::select! {
            biased;
            count = stream.read_buf(&mut buffer) => if count? == 0 { return Ok(()) },
            _ = stopping.changed() => return Ok(()),
        }
    }
}
