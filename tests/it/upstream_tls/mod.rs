//! Upstreams over TLS that lie, change, or break off.

mod upstream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::support::{Client, Response, TestProxy, eventually, in_time, request};
use upstream::{Authority, Habit, Upstream, body, builder};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// A proxy before an upstream with a habit.
async fn before(authority: &Authority, habit: Habit) -> (TestProxy, Upstream) {
    let proxy = authority.proxy().await;
    let upstream = Upstream::start(habit).await;
    upstream.register(&proxy).await;
    (proxy, upstream)
}

/// A request, which has to be refused by the proxy, soon, without having been sent.
async fn refused(proxy: &TestProxy, upstream: &Upstream, text: &str) {
    let (begin, before) = (Instant::now(), upstream.requests());
    let response = request(proxy.address(), text).await;
    assert_eq!(response.status, 500, "{}", response.text());
    let code = response.error();
    assert!(
        ["UNREACHABLE", "UPSTREAM_CLOSED"].contains(&code.as_str()),
        "{code}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(upstream.requests(), before, "the app was sent a request");
}

/// Waits until the log names one of these.
async fn logged(proxy: &TestProxy, reasons: &[&str]) {
    eventually(&format!("the log says one of {reasons:?}"), async || {
        let log = proxy.log().to_ascii_lowercase();
        reasons.iter().any(|reason| log.contains(reason))
    })
    .await;
}

async fn lies(server: ServerConfig, authority: &Authority, reasons: &[&str]) {
    let (proxy, upstream) = before(authority, Habit::Serve(Arc::new(server))).await;
    for text in [GET, POST, GET] {
        refused(&proxy, &upstream, text).await;
    }
    logged(&proxy, reasons).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = authority.server(&Authority::params("else.internal"));
    lies(
        server,
        &authority,
        &["not valid for name", "notvalidforname", "for the name"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let mut params = Authority::params("localhost");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    lies(authority.server(&params), &authority, &["expired"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_later_is_refused() {
    let authority = Authority::new();
    let mut params = Authority::params("localhost");
    params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    lies(
        authority.server(&params),
        &authority,
        &["notvalidyet", "not valid yet"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = other.server(&Authority::params("localhost"));
    // Both have one name, so that it is the signature that differs.
    lies(
        server,
        &authority,
        &["badsignature", "unknownissuer", "invalid peer certificate"],
    )
    .await;
}

/// `localhost` has two addresses, and nobody listens at one of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_certificate_though_another_address_does_not_answer() {
    let authority = Authority::new();
    let server = authority.server(&Authority::params("else.internal"));
    let (proxy, upstream) = before(&authority, Habit::Serve(Arc::new(server))).await;
    upstream.register_at(&proxy, "localhost").await;
    refused(&proxy, &upstream, GET).await;
    logged(&proxy, &["not valid for name", "notvalidforname"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_refused() {
    let authority = Authority::new();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let own = own.expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let server = builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a pair");
    lies(
        server,
        &authority,
        &[
            "unknownissuer",
            "unknown issuer",
            "invalid peer certificate",
        ],
    )
    .await;
}

/// With TLS 1.3 the refusal comes after the client's part of the handshake, and so after a request
/// may have been sent: it must not be sent again if it is not idempotent (RFC 9110, 9.2.2).
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_demands_a_certificate_is_asked_once() {
    let authority = Authority::new();
    let demanding = Arc::new(authority.demanding());
    let (proxy, upstream) = before(&authority, Habit::Serve(demanding)).await;
    for count in 1..=3 {
        refused(&proxy, &upstream, POST).await;
        assert_eq!(upstream.connections(), count, "a POST was tried again");
    }
    refused(&proxy, &upstream, GET).await;
    logged(
        &proxy,
        &[
            "certificaterequired",
            "certificate required",
            "certificate_required",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_changes_is_looked_at_again() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = Arc::new(authority.server(&Authority::params("localhost")));
    let bad = Arc::new(other.server(&Authority::params("localhost")));
    let (proxy, upstream) = before(&authority, Habit::Serve(Arc::clone(&good))).await;
    for round in 1..=2 {
        upstream.set(Habit::Serve(Arc::clone(&good)));
        assert_eq!(request(proxy.address(), GET).await.text(), body());
        upstream.set(Habit::Serve(Arc::clone(&bad)));
        for text in [GET, POST] {
            refused(&proxy, &upstream, text).await;
        }
        assert_eq!(upstream.requests(), round);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_refused() {
    let authority = Authority::new();
    let (proxy, upstream) = before(&authority, Habit::Say(b"")).await;
    let alert = b"\x15\x03\x03\0\x02\x02\x28";
    let texts: [&[u8]; 6] = [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        alert,
        &[0; 4096],
        &[0x16; 16_000],
    ];
    for bytes in texts {
        upstream.set(Habit::Say(bytes));
        for text in [GET, POST] {
            refused(&proxy, &upstream, text).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stops_is_ended_by_the_connect_timeout() {
    let authority = Authority::new();
    let (proxy, upstream) = before(&authority, Habit::Stall(b"")).await;
    // Nothing; the head of a record; half a ServerHello.
    let texts: [&[u8]; 3] = [
        b"",
        b"\x16\x03\x03\0\x7a",
        b"\x16\x03\x03\0\x7a\x02\0\0\x76\x03\x03",
    ];
    for bytes in texts {
        upstream.set(Habit::Stall(bytes));
        for text in [GET, POST] {
            let begin = Instant::now();
            let response = request(proxy.address(), text).await;
            assert!((500..505).contains(&response.status), "{}", response.text());
            let after = begin.elapsed();
            // The other limits are longer.
            assert!(
                after < Duration::from_millis(1900),
                "{after:?}: {}",
                response.text()
            );
        }
    }
    assert_eq!(upstream.requests(), 0);
}

/// A GET whose response may break off at any byte.
async fn ask(proxy: &TestProxy, path: &str) -> Option<Response> {
    let mut client = Client::connect(proxy.address()).await;
    let text = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send(text).await;
    client.read(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_any_byte_of_a_record_ends_in_an_error() {
    let authority = Authority::new();
    let server = Arc::new(authority.server(&Authority::params("localhost")));
    let (proxy, _upstream) = before(&authority, Habit::Serve(server)).await;
    assert_eq!(request(proxy.address(), GET).await.text(), body());
    let files = proxy.open_files();
    let places = stream::iter(0..300).map(|at| garbage(&proxy, at));
    let found: Vec<_> = places.buffer_unordered(8).collect().await;
    // A byte that TLS does not protect may change nothing.
    let unchanged = found.iter().filter(|is_unchanged| **is_unchanged).count();
    assert!(
        unchanged < 10,
        "{unchanged} responses arrive as if nothing had been changed"
    );
    eventually("no descriptor is left over", async || {
        proxy.open_files() <= files
    })
    .await;
}

/// Whether a response arrives whole, though one of its bytes was another; it has to be right then.
async fn garbage(proxy: &TestProxy, at: usize) -> bool {
    let begin = Instant::now();
    let path = format!("/{at}");
    let response = in_time("a response with garbage", ask(proxy, &path)).await;
    // Not that long: the limits of the proxy are shorter.
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "byte {at}: {response:?}"
    );
    let Some(response) = response.filter(|response| response.status < 500 && response.is_whole)
    else {
        return false;
    };
    assert_eq!(
        (response.status, response.text()),
        (200, body()),
        "byte {at}"
    );
    true
}
