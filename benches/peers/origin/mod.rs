//! What the proxies have behind them: an origin of its own, since nothing at hand does all of HTTP/1.1,
//! WebSocket and gRPC for less processor time than nginx takes for a proxied request.

mod grpc;
mod http1;
mod websocket;

use std::path::Path;

use tokio::net::TcpListener;

use crate::Result;
use crate::process::{Place, Process, Program};

/// The length of a small answer.
pub(crate) const SMALL: u64 = 66;
/// The path of an answer of this many bytes is this and the number.
pub(crate) const BYTES: &str = "/bytes/";
/// The path of the WebSocket.
pub(crate) const ECHO: &str = "/echo";
/// The path of the gRPC method, which gives back its message.
pub(crate) const METHOD: &str = "/bench.Echo/Unary";

/// The origin as a process.
pub(crate) struct Origin {
    process: Process,
    /// HTTP/1.1 and WebSocket.
    pub(crate) http1: u16,
    /// gRPC: HTTP/2 without TLS.
    pub(crate) grpc: u16,
}

impl Origin {
    pub(crate) fn start(place: Place, folder: &Path) -> Result<Self> {
        let program = Program::new(std::env::current_exe()?, ["--origin"]);
        let log = folder.join("origin.log");
        let (process, line) = Process::start_and_hear(&program, place, &log)?;
        let (http1, grpc) = line.split_once(' ').ok_or("the origin names no ports")?;
        Ok(Self {
            process,
            http1: http1.parse()?,
            grpc: grpc.parse()?,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Serves until a signal ends the process.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let http1 = TcpListener::bind("127.0.0.1:0").await?;
        let grpc = TcpListener::bind("127.0.0.1:0").await?;
        println!(
            "{} {}",
            http1.local_addr()?.port(),
            grpc.local_addr()?.port()
        );
        tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = grpc.accept().await {
                    tokio::spawn(grpc::serve(stream));
                }
            }
        });
        loop {
            let (stream, _) = http1.accept().await?;
            tokio::spawn(http1::serve(stream));
        }
    })
}
