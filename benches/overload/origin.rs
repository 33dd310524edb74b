//! The app behind the proxy: a small answer, at once.

use std::net::Ipv4Addr;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123";

/// Starts it on a thread of its own; its port.
pub(crate) fn start() -> Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    Ok(port)
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    // The proxy sends each request in one piece, and the next after the answer.
    while let Ok(count) = stream.read(&mut buffer).await
        && count > 0
        && stream.write_all(ANSWER).await.is_ok()
    {}
}
