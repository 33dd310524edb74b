//! A client of HTTP/1.1 on one connection that stays, with threads that wait: it costs little beside
//! what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::Result;

/// Where a server is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(u16),
    Unix(PathBuf),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &Address) -> Result<Self> {
        let stream = match address {
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub(crate) fn many(address: &Address, count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::connect(address)).collect()
    }

    /// Sends a whole request and waits for the whole answer, which has to be a success.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.write(request)?;
        let answer = self.answer()?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let body = String::from_utf8_lossy(&answer.body);
        Err(format!("status {}: {body}", answer.status).into())
    }

    fn answer(&mut self) -> Result<Answer> {
        self.buffer.clear();
        let mut piece = [0; 16 * 1024];
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read(&mut piece)?;
        };
        let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default());
        let status = head.get(9..12).ok_or("no status")?.parse()?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        let length = length.ok_or("an answer without a length")??;
        while self.buffer.len() < end + length {
            self.read(&mut piece)?;
        }
        let body = self.buffer.split_off(end);
        Ok(Answer { status, body })
    }

    fn read(&mut self, piece: &mut [u8]) -> Result<()> {
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(piece)?,
            Stream::Unix(stream) => stream.read(piece)?,
        };
        if count == 0 {
            return Err("the proxy has closed the connection".into());
        }
        self.buffer
            .extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes)?,
            Stream::Unix(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// A request with JSON.
pub(crate) fn json(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
