//! A gRPC service over HTTP/2 without TLS: each call gives back its message.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use crate::Result;

pub(super) async fn serve(stream: TcpStream) {
    if let Err(error) = calls(stream).await {
        log::debug!("{error}");
    }
}

async fn calls(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(1000)
        // A proxy may send all calls over one connection, each in a small frame and an empty last one:
        // h2 allows for 116 of them at a time unless told otherwise.
        .data_frame_budget(16 * 1024 * 1024)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::spawn(async move {
            if let Err(error) = answer(request, respond).await {
                log::debug!("{error}");
            }
        });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .body(())?;
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}
