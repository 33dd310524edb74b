//! Origins with one habit, for the tests of the data path.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpSocket;

use super::{Origin, Request};

impl Origin {
    /// Answers every request with the same bytes and keeps the connection.
    pub(crate) async fn repeating(bytes: &'static str) -> Self {
        Self::start(move |mut visit| async move {
            while visit.request().await.is_some() {
                if visit.offer(bytes).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// Answers with the body that it got, in the framing that it came in.
    pub(crate) async fn echoing() -> Self {
        Self::start(|mut visit| async move {
            while let Some(request) = visit.request().await {
                if request.field("transfer-encoding").is_none() {
                    visit.answer(200, &request.body).await;
                    continue;
                }
                visit.begin_chunks().await;
                for piece in request.body.chunks(10_000) {
                    let size = format!("{:x}\r\n", piece.len());
                    visit.send([size.as_bytes(), piece, b"\r\n"].concat()).await;
                }
                visit.send_chunk("").await;
            }
        })
        .await
    }

    /// Answers `/warm`; any other request on the first `times` connections gets `last_words`
    /// and the end; later connections answer everything.
    pub(crate) async fn breaking(times: usize, last_words: &'static str) -> Self {
        let visits = Arc::new(AtomicUsize::new(0));
        Self::start(move |mut visit| {
            let breaks = visits.fetch_add(1, Ordering::SeqCst) < times;
            async move {
                while let Some(request) = visit.request().await {
                    if breaks && request.target() != "/warm" {
                        return drop(visit.offer(last_words).await);
                    }
                    visit.answer(200, "well").await;
                }
            }
        })
        .await
    }
}

/// A port of both loopback addresses that nobody else is given, while this test may listen on it.
pub(crate) struct ReservedPort {
    port: u16,
    _sockets: [TcpSocket; 2],
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        loop {
            let first = TcpSocket::new_v4().expect("a socket");
            first.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let port = first.local_addr().expect("an address").port();
            // Shared from now on with whoever says so as well, as an origin's listener does.
            first.set_reuseaddr(true).expect("SO_REUSEADDR");
            let second = TcpSocket::new_v6().expect("a socket");
            second.set_reuseaddr(true).expect("SO_REUSEADDR");
            if second
                .bind((std::net::Ipv6Addr::LOCALHOST, port).into())
                .is_ok()
            {
                return Self {
                    port,
                    _sockets: [first, second],
                };
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// The targets of all requests that an origin got, in their order.
pub(crate) fn targets(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(Request::target).collect()
}

/// Bytes that are the same every time and repeat only after a long way.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
