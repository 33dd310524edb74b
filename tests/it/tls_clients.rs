//! TLS at the front with other clients than curl: openssl, nghttp, h2load, rustls.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::http2::nghttp2;
use crate::support::{Origin, TestProxy, eventually, in_time};
use crate::tls::{Authority, tls_port};

pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

/// A proxy with a certificate for `shop.test`, and an app behind it.
pub(crate) async fn shop(more: &str) -> (Authority, Origin, TestProxy, u16) {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("hello from the app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", more)).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    (authority, origin, proxy, port)
}

/// What `openssl s_client` writes, both ways; it says `input` and reads until the proxy ends.
async fn s_client(authority: &Authority, port: u16, input: &str, more: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("-CAfile")
        .arg(authority.path().join("ca.pem"))
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if input != "R\n" {
        // Or what begins with an R is a command.
        command.arg("-ign_eof");
    }
    let mut child = command.spawn().expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("standard input");
    // A handshake that fails ends it before.
    drop(stdin.write_all(input.as_bytes()).await);
    let output = in_time("openssl ends", child.wait_with_output()).await;
    let output = output.expect("openssl");
    drop(stdin);
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_resumes_its_sessions_on_any_thread_and_after_a_new_certificate() {
    let (authority, _origin, proxy, port) = shop("threads: 4\n").await;
    let fingerprint = async || {
        let shown = proxy.api("GET", "/v1/certificates/shop", None).await;
        shown.json()["details"]["sha256"].clone()
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let session = authority.path().join(version);
        let session = session.to_str().expect("a path");
        let verified = ["-servername", "shop.test", "-verify_return_error", version];
        let first = [&verified[..], &["-sess_out", session]].concat();
        let text = s_client(&authority, port, REQUEST, &first).await;
        assert!(text.contains("hello from the app"), "{text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
        assert!(text.contains("New, TLSv1."), "{text}");
        // The connection ended in good order, not cut (RFC 8446, 6.1).
        assert!(!text.contains("unexpected eof"), "{text}");
        // No 0-RTT: what it carries could be replayed (RFC 8446, 8).
        if version == "-tls1_3" {
            assert!(text.contains("Max Early Data: 0"), "{text}");
        }
        let again = [&verified[..], &["-sess_in", session]].concat();
        for _ in 0..8 {
            let text = s_client(&authority, port, REQUEST, &again).await;
            assert!(text.contains("Reused, TLSv1."), "{text}");
            assert!(text.contains("hello from the app"), "{text}");
        }
        let before = fingerprint().await;
        authority.sign("shop", "shop.test");
        eventually("the certificate is read", async || {
            fingerprint().await != before
        })
        .await;
        let text = s_client(&authority, port, REQUEST, &again).await;
        assert!(text.contains("Reused, TLSv1."), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_is_refused_what_is_not_spoken() {
    let (authority, _origin, _proxy, port) = shop("").await;
    let weak = "DEFAULT@SECLEVEL=0";
    for (arguments, expected) in [
        (&["-tls1_1", "-cipher", weak][..], "alert handshake failure"),
        (&["-tls1", "-cipher", weak], "alert handshake failure"),
        (
            &["-tls1_2", "-cipher", "AES128-SHA"],
            "alert handshake failure",
        ),
        (&["-alpn", "spdy/3"], "alert no application protocol"),
        (&["-servername", "else.test"], "alert number 112"),
    ] {
        let name = ["-servername", "shop.test"];
        let text = s_client(&authority, port, "", &[&name[..], arguments].concat()).await;
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_handshake_within_the_old_connection_is_not_begun() {
    // RFC 5246, 7.4.1.1: the client may ask, and is told no; then it says nothing more.
    let (authority, _origin, proxy, port) = shop("timeouts: {idle: 1s}\n").await;
    let text = s_client(&authority, port, "R\n", &["-tls1_2"]).await;
    assert!(text.contains("RENEGOTIATING"), "{text}");
    let handshakes = text.matches("depth=0").count();
    assert_eq!(handshakes, 1, "{text}");
    assert!(!proxy.log().contains("rustls"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_in_the_wrong_order_is_put_right() {
    let authority = Authority::new();
    let (certificate, _key) = authority.sign("shop", "shop.test");
    let ca = std::fs::read_to_string(authority.path().join("ca.pem")).unwrap();
    std::fs::write(authority.path().join("shop.pem"), ca + &certificate).unwrap();
    let origin = Origin::saying("hello from the app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    let verified = ["-servername", "shop.test", "-verify_return_error"];
    let text = s_client(&authority, port, REQUEST, &verified).await;
    assert!(text.contains("hello from the app"), "{text}");
    proxy.logged(&["order"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_compared_as_dns_does() {
    let (authority, _origin, _proxy, port) = shop("").await;
    for arguments in [
        &["-servername", "SHOP.Test"][..],
        // Without a name, the only certificate.
        &["-noservername"],
        // An address is no name (RFC 6066, 3).
        &["-servername", "127.0.0.1"],
    ] {
        let text = s_client(&authority, port, REQUEST, arguments).await;
        assert!(text.contains("hello from the app"), "{arguments:?}: {text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    }
    // A dot at the end is not allowed (RFC 6066, 3); it is served, or refused with an alert.
    let text = s_client(&authority, port, REQUEST, &["-servername", "shop.test."]).await;
    assert!(
        text.contains("hello from the app") || text.contains(" alert "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nghttp_and_h2load_are_served_over_tls() {
    let (authority, origin, _proxy, port) = shop("http2: {streams: 50}\n").await;
    let url = format!("https://127.0.0.1:{port}/");
    let upload = authority.path().join("upload");
    std::fs::write(&upload, "x".repeat(100_000)).unwrap();
    let body = format!("--data={}", upload.display());
    let text = nghttp2("nghttp", &["--verbose", &body, &url]).await;
    assert!(text.contains("The negotiated protocol: h2"), "{text}");
    assert!(
        text.contains(":status: 200") && text.contains("hello from the app"),
        "{text}"
    );
    assert_eq!(origin.requests()[0].body.len(), 100_000);
    let done = |count| format!("{count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout");
    let text = nghttp2("h2load", &["-n", "4000", "-c", "8", "-m", "50", &url]).await;
    assert!(text.contains(&done(4000)), "{text}");
    let text = nghttp2("h2load", &["-n", "300", "-c", "4", "-m", "10", &body, &url]).await;
    assert!(text.contains(&done(300)), "{text}");
    let requests = origin.requests();
    assert_eq!(requests.len(), 4301);
    let uploaded = requests
        .iter()
        .filter(|request| request.body.len() == 100_000);
    assert_eq!(uploaded.count(), 301);
    let text = nghttp2("h2load", &["--h1", "-n", "1000", "-c", "8", &url]).await;
    assert!(text.contains(&done(1000)), "{text}");
}
