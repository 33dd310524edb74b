//! Bytes passed on between a client and the origin, unread: what the kernel takes for the two connections
//! of a request, which no proxy that reads and writes can get below.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// What it is told on the command line, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    pub(crate) target: SocketAddr,
}

/// Serves until a signal ends the process.
pub(crate) fn serve(settings: &str) -> Result<()> {
    let settings: Settings = serde_json::from_str(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", settings.port)).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(relay(client, settings.target));
        }
    })
}

/// A connection that fails ends, which its client sees.
async fn relay(mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    const PIECE: usize = 64 * 1024;
    let mut origin = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    origin.set_nodelay(true)?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut origin, PIECE, PIECE).await?;
    Ok(())
}
