//! The app behind the routes: it reads a whole request and answers with one write. For calls of gRPC it
//! speaks HTTP/2.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};

use crate::Result;
use crate::scenario::{Request, Scenario};

/// Starts it and returns its port.
pub(crate) fn start(scenario: &Scenario) -> Result<u16> {
    match scenario.request {
        Request::Call => start_http2(),
        _ => start_http1(&scenario.body()),
    }
}

fn start_http1(body: &[u8]) -> Result<u16> {
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

fn start_http2() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::spawn(move || runtime.block_on(serve_http2(listener)));
    Ok(port)
}

async fn serve_http2(listener: TcpListener) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await?;
            while let Some(call) = connection.accept().await {
                let (request, respond) = call?;
                // What goes wrong, the client misses.
                tokio::spawn(echo(request.into_body(), respond));
            }
            Result::Ok(())
        });
    }
}

/// Gives a call its message back.
async fn echo(mut body: RecvStream, mut respond: SendResponse<Bytes>) -> Result<()> {
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let mut answer = respond.send_response(head.body(())?, false)?;
    answer.send_data(message.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answer.send_trailers(trailers)?;
    Ok(())
}
