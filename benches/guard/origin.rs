//! The app behind the routes: it reads a whole request and answers with one write.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::Result;

/// Starts it and returns its port.
pub(crate) fn start(body: &[u8]) -> Result<u16> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer: Arc<[u8]> = [head.as_bytes(), body].concat().into();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || serve(stream, &answer));
        }
    });
    Ok(port)
}

fn serve(stream: TcpStream, answer: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 {
        let field = line.trim_end().to_ascii_lowercase();
        if let Some(length) = field.strip_prefix("content-length: ") {
            body = length.parse()?;
        }
        if field.is_empty() {
            reader.read_exact(&mut vec![0; body])?;
            body = 0;
            writer.write_all(answer)?;
        }
        line.clear();
    }
    Ok(())
}
