//! The WebSocket that gives back what it gets: frames of at most 125 bytes, by hand.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Result;

pub(super) async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    mut buffer: BytesMut,
    key: &str,
) -> Result<()> {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await?;
    let mut out = Vec::new();
    loop {
        while let Some(frame) = frame(&mut buffer)? {
            out.extend(frame);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            stream.flush().await?;
            out.clear();
        }
        buffer.reserve(1024);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Takes a client's frame off the buffer; the server's, which is not masked.
fn frame(buffer: &mut BytesMut) -> Result<Option<Vec<u8>>> {
    let &[first, second, ref rest @ ..] = &**buffer else {
        return Ok(None);
    };
    let length = usize::from(second & 0x7f);
    if second & 0x80 == 0 || length > 125 {
        return Err("a frame that is not of this bench".into());
    }
    let Some((mask, rest)) = rest.split_at_checked(4) else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let mut frame = vec![first, length as u8];
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    buffer.advance(6 + length);
    Ok(Some(frame))
}
