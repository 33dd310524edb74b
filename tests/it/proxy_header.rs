//! Headers of the PROXY protocol that are cut, too long or wrong, on plain and on TLS listeners: none
//! of their bytes is taken for a request.

use std::time::{Duration, Instant};

use dynamic_reverse_proxy::server::{ListenerOptions, Options};

use crate::support::tls::Identity;
use crate::support::{Embedded, Origin, eventually, in_time};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LIMIT: Duration = Duration::from_millis(500);

/// Version 2: command, family, the length that it says, and what follows.
fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
    let fixed = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family]].concat();
    [&fixed[..], &length.to_be_bytes(), rest].concat()
}

fn addresses(tlvs: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 1, 0xbb];
    [&addresses[..], tlvs].concat()
}

async fn before(origin: &Origin, tls: bool) -> Embedded {
    let mut options = Options::default();
    options.listener = ListenerOptions::default();
    options.listener.proxy_protocol = vec!["127.0.0.0/8".parse().expect("a network")];
    options.listener.tls = tls.then(|| Identity::new().server());
    options.handshake_timeout = LIMIT;
    let proxy = Embedded::start(options);
    proxy.register("/", origin.port()).await;
    proxy
}

#[tokio::test]
async fn wrong_headers_end_a_connection_without_an_answer() {
    let origin = Origin::saying("hello").await;
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
    let wrong = [
        long.clone(),
        [&long[..], b"\r\n"].concat(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7\0 10.0.0.1 51234 443\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.7 10.0.0.1 51234 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\n".to_vec(),
        // Addresses that are cut off, and a header of 64 KiB.
        v2(0x21, 0x11, 8, &addresses(b"")[..8]),
        v2(0x21, 0x21, 12, &addresses(b"")),
        v2(0x21, 0x11, 0xffff, &addresses(b"")),
        // Versions, commands and families that there are not.
        v2(0x31, 0x11, 12, &addresses(b"")),
        v2(0x22, 0x11, 12, &addresses(b"")),
        v2(0x21, 0x41, 12, &addresses(b"")),
        v2(0x21, 0x12, 12, &addresses(b"")),
        b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
    ];
    for tls in [false, true] {
        let proxy = before(&origin, tls).await;
        for header in &wrong {
            let mut client = proxy.client().await;
            drop(client.offer([header, REQUEST].concat()).await);
            assert!(client.rest().await.is_empty(), "{header:?}");
        }
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn half_a_header_is_not_waited_for_longer_than_a_handshake() {
    let origin = Origin::saying("hello").await;
    for tls in [false, true] {
        let proxy = before(&origin, tls).await;
        let begun = v2(0x21, 0x11, 12, &addresses(b""));
        for half in [&b"PROXY TCP4 192.0"[..], &begun[..20], b""] {
            let since = Instant::now();
            let mut client = proxy.client().await;
            client.send(half).await;
            assert!(client.rest().await.is_empty());
            assert!(since.elapsed() >= LIMIT);
        }
        eventually("all are closed", async || {
            proxy.proxy.connections().open() == 0
        })
        .await;
    }
}

#[tokio::test]
async fn additions_to_a_header_are_skipped() {
    let origin = Origin::saying("hello").await;
    let proxy = before(&origin, false).await;
    // A checksum, an authority, padding of 2000 bytes; one that says that it is longer than it is.
    let checksum = [3, 0, 4, 1, 2, 3, 4];
    let authority = [&[2, 0, 9][..], b"shop.test"].concat();
    let padding = [&[4, 7, 0xd0][..], &[0; 2000]].concat();
    for tlvs in [&checksum[..], &authority, &padding, &[1, 0xff, 0xff]] {
        let rest = addresses(tlvs);
        let length = u16::try_from(rest.len()).expect("a length");
        let header = v2(0x21, 0x11, length, &rest);
        let mut client = proxy.client().await;
        for piece in header.chunks(7) {
            client.send(piece).await;
            tokio::task::yield_now().await;
        }
        let answer = in_time("an answer", client.exchange(REQUEST)).await;
        assert_eq!(answer.body, b"hello");
        let request = origin.requests().pop().expect("a request");
        assert_eq!(request.field("x-forwarded-for"), Some("192.0.2.7"));
    }
}
