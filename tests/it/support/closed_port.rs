//! Ports that do not answer, each in its own way, and that nobody else gets meanwhile.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A port that refuses connections.
pub(crate) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        Self(socket)
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }
}

/// A port on which a connection neither opens nor fails: its backlog is full.
pub(crate) struct DeafPort {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl DeafPort {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        // The kernel takes a few more than it was told.
        let soon = std::time::Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(soon, TcpStream::connect(address)).await {
            waiting.push(stream.expect("a connection in the backlog"));
        }
        Self {
            listener,
            _waiting: waiting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }
}
