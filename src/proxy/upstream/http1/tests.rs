use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::*;
use crate::proxy::rules::response::Asked;

#[tokio::test]
async fn a_request_is_whole_when_its_end_is_sent_not_when_it_is_known() {
    let (own, mut other) = UnixStream::pair().unwrap();
    let question = Question {
        asked: Asked::Body,
        id_field: "x-request-id",
    };
    let (socket, head) = (
        Socket::unix(own, "/app", 0),
        b"PUT / HTTP/1.1\r\n\r\n".to_vec(),
    );
    let mut upstream = Http1::new(socket, false, head, Framing::Chunked, question);
    std::future::poll_fn(|context| upstream.poll_send(context)).await;
    let mut buffer = vec![b'x'; super::super::BUFFER];
    // As much as an upstream takes that does not read.
    while upstream.upload.waiting().is_empty() {
        std::future::poll_fn(|context| {
            upstream.put(context, &mut buffer, PIECE);
            Poll::Ready(())
        })
        .await;
    }
    upstream.end();
    assert!(!upstream.upload.is_whole());
    drop(upstream);
    let mut taken = Vec::new();
    other.read_to_end(&mut taken).await.unwrap();
    assert!(!taken.ends_with(LAST_CHUNK));
}
