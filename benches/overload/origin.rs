//! The app behind the proxy: a small answer, at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::Result;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123";

/// Starts it on a thread of its own; its port.
pub(crate) fn start() -> Result<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(async { listen() })?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    Ok(port)
}

/// Its queue has room for a connection of each request: the kernel would ignore the others for a second, and it is
/// the proxy that is to be overloaded.
fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.listen(4096)
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    // The proxy sends each request in one piece, and the next after the answer.
    while let Ok(count) = stream.read(&mut buffer).await
        && count > 0
        && stream.write_all(ANSWER).await.is_ok()
    {}
}
