//! What the head of a response may cost, however it arrives.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::{TestProxy, get};

/// How many pieces there are, of 50 bytes each.
const PIECES: usize = 4096;

/// CPU time that a process has taken, in user and system mode.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The fields behind the name, which is in parentheses; a tick is 10 ms.
    let (_, fields) = stat.rsplit_once(") ").expect("fields");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks
        .map(|ticks| ticks.parse::<u64>().expect("ticks"))
        .sum();
    Duration::from_millis(10 * ticks)
}

/// 200 KiB of lines of 5 bytes, which fold a field or are a body, a few at a time.
fn send_lines(listener: &TcpListener, first: &str, last: &str) {
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let mut send = |text: &str| stream.write_all(text.as_bytes()).is_ok();
    send(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{first}"));
    let piece = " ab\r\n".repeat(10);
    for _ in 0..PIECES {
        // The proxy may have refused it already.
        if !send(&piece) {
            return;
        }
        // The proxy is to read each piece by itself.
        std::thread::sleep(Duration::from_micros(200));
    }
    send(last);
}

/// The CPU time that a response costs the proxy.
async fn cost(first: &'static str, last: &'static str) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let sending = tokio::task::spawn_blocking(move || send_lines(&listener, first, last));
    let proxy = TestProxy::plain().await;
    proxy.register("/", port).await;
    let before = cpu(proxy.pid());
    let response = get(proxy.address(), "/").await;
    let taken = cpu(proxy.pid()).saturating_sub(before);
    assert!([200, 500].contains(&response.status), "{response:?}");
    sending.await.expect("no panic");
    taken
}

/// The head must not be parsed anew with each piece: that costs several times as much as the same bytes
/// do in a body.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_in_many_pieces_costs_no_more_than_a_body() {
    let body = cost("\r\n", "").await;
    let head = cost("X-Long: a\r\n", "Content-Length: 0\r\n\r\n").await;
    let slack = Duration::from_millis(200);
    assert!(
        head < body + slack,
        "a body costs {body:?}, a head {head:?}"
    );
}
