//! A WebSocket may be silent for as long as it likes: shown with a clock that is moved by hand.
//!
//! The proxy runs inside the test, on the test's own runtime, whose clock can be stopped and moved
//! (`tokio::time::pause`); Pingora's timers are told to follow it. While the clock is stopped and
//! nothing else happens, a sleep of an hour passes at once, and every timer that is armed for that
//! hour goes off in it: Pingora's read timeout of a minute above all, which would cut a silent
//! WebSocket if the proxy did not turn it off.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dynamic_reverse_proxy::registry::Registration;
use dynamic_reverse_proxy::server::{DynamicProxy, Options};
use pingora_core::services::Service as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::tls::Identity;
use crate::support::{
    Client, HANDSHAKE, Origin, OriginConnection, SWITCH, engine, in_time, pattern, service_on,
    switched,
};

/// A proxy with its defaults on the test's runtime, until the test ends.
struct ProxyWithin {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl ProxyWithin {
    fn start(mut options: Options, target: u16) -> Self {
        engine::choose(&mut options);
        // From one second on, Pingora's timers are Tokio's.
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        let proxy = DynamicProxy::new(options);
        let route = Registration::new("/", target).expect("a registration");
        proxy.add_routes([route]).expect("a route");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (mut service, sockets, address) = service_on(listener, &proxy);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            service.start_service(sockets, stopped, 1).await;
        });
        Self {
            address,
            _stop: stop,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

/// Lets time pass in which nothing happens but what a clock does.
async fn let_pass(time: Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

const HOUR: Duration = Duration::from_hours(1);

async fn talk(client: &mut Client, visit: &mut OriginConnection) {
    client.send("up").await;
    assert_eq!(visit.bytes(2).await, b"up");
    visit.send("down").await;
    assert_eq!(client.bytes(4).await, b"down");
}

/// Every limit but that of WebSockets, which has none, is far below an hour.
fn impatient() -> Options {
    let mut options = Options::default();
    // By default it is an hour.
    options.gateway.timeouts.between_bytes = Some(Duration::from_mins(1));
    options
}

#[tokio::test]
async fn a_websocket_over_tls_may_be_silent_for_an_hour() {
    let identity = Identity::new();
    let mut options = impatient();
    options.listener.tls = Some(identity.server());
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = ProxyWithin::start(options, origin.port());
    let mut client = identity.connect(proxy.address, &["http/1.1"]).await;
    client.write_all(HANDSHAKE.as_bytes()).await.expect("sent");
    let mut visit = visitors.next().await;
    visit.head().await.expect("a handshake");
    visit.send(SWITCH).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = in_time("an answer", client.read_u8()).await;
        head.push(byte.expect("an open connection"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    for _ in 0..2 {
        let_pass(HOUR).await;
        client.write_all(b"up").await.expect("sent");
        assert_eq!(visit.bytes(2).await, b"up");
        visit.send("down").await;
        let mut down = [0; 4];
        let read = in_time("down", client.read_exact(&mut down)).await;
        read.expect("an open connection");
        assert_eq!(&down, b"down");
    }
}

#[tokio::test]
async fn a_websocket_may_be_silent_for_an_hour() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = ProxyWithin::start(impatient(), origin.port());
    let (mut client, mut visit) = switched(proxy.client().await, &mut visitors).await;
    let_pass(HOUR).await;
    talk(&mut client, &mut visit).await;
    let large = pattern(1 << 20);
    let ((), arrived) = tokio::join!(client.send(&large), visit.bytes(large.len()));
    assert!(arrived == large, "other bytes");
    let ((), arrived) = tokio::join!(visit.send(&large), client.bytes(large.len()));
    assert!(arrived == large, "other bytes");
    let_pass(HOUR).await;
    visit.send("down").await;
    assert_eq!(client.bytes(4).await, b"down");
    let_pass(HOUR).await;
    talk(&mut client, &mut visit).await;
}

#[tokio::test]
async fn within_the_same_hour_everything_else_is_cut() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = ProxyWithin::start(Options::default(), origin.port());
    // A client that does not send its body, against Pingora's read timeout.
    let mut client = proxy.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .await;
    let mut visit = visitors.next().await;
    visit.head().await.expect("a head");
    let_pass(HOUR).await;
    let answer = client.response().await;
    assert_eq!(answer.verdict(), (408, "BODY_TIMEOUT".to_owned()));
    // An origin that does not answer, against the limit on its first byte.
    let mut client = proxy.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await.expect("a request");
    let_pass(HOUR).await;
    let answer = client.response().await;
    assert_eq!(answer.verdict(), (504, "TIMEOUT".to_owned()));
}

/// A WebSocket may be silent for an hour.
fn limited() -> Options {
    let mut options = Options::default();
    options.gateway.timeouts.websocket_idle = Some(HOUR);
    options
}

#[tokio::test]
async fn bytes_in_one_direction_keep_a_websocket_alive() {
    for is_up in [true, false] {
        let (origin, mut visitors) = Origin::by_hand().await;
        let proxy = ProxyWithin::start(limited(), origin.port());
        let (mut client, mut visit) = switched(proxy.client().await, &mut visitors).await;
        // Three times the limit, with a byte every quarter of it.
        for _ in 0..12 {
            let_pass(HOUR / 4).await;
            let (from, to) = if is_up {
                (&mut *client, &mut *visit)
            } else {
                (&mut *visit, &mut *client)
            };
            from.send("x").await;
            assert_eq!(to.bytes(1).await, b"x", "up: {is_up}");
        }
    }
}

#[tokio::test]
async fn a_limit_on_its_silence_is_kept_to() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let proxy = ProxyWithin::start(limited(), origin.port());
    let (mut client, mut visit) = switched(proxy.client().await, &mut visitors).await;
    for _ in 0..3 {
        let_pass(Duration::from_mins(59)).await;
        talk(&mut client, &mut visit).await;
    }
    let_pass(HOUR + Duration::from_secs(2)).await;
    client.is_closed().await;
    assert_eq!(visit.rest().await, b"");
}
