//! Certificates by ACME, from pebble: ordered, proven, in use without a restart, kept, renewed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::pebble::{Pebble, files, handshake, is_issued, serial};
use crate::support::{Origin, TestProxy, eventually, get};

/// A proxy whose state is in a folder.
async fn start(pebble: &Pebble, state: &Path, more: &str) -> TestProxy {
    let configuration = format!(
        "{}control:\n  listen: 127.0.0.1:0\nstate_directory: {}\n{}",
        pebble.listeners(),
        state.display(),
        pebble.acme(more)
    );
    TestProxy::start(&configuration).await
}

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Waits until the listener shows a certificate of the authority for a name: its serial number.
async fn issued(pebble: &Pebble, name: &str) -> String {
    let mut shown = None;
    eventually("there is a certificate", async || {
        shown = pebble.shown(name).await.filter(is_issued);
        shown.is_some()
    })
    .await;
    serial(&shown.unwrap())
}

/// A certificate as the control API shows it.
async fn listed(proxy: &TestProxy, name: &str) -> Value {
    let certificates = proxy.api("GET", "/v1/certificates", None).await.json();
    let list = certificates["certificates"].as_array().unwrap();
    let found = list.iter().find(|entry| entry["name"] == name);
    found.cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_a_certificate_over_http_and_is_served_with_it_without_a_restart() {
    let (pebble, state) = (Pebble::start().await, state());
    let more =
        "  hosts: [shop.example]\n  challenge: http-01\n  contact: [mailto:a@shop.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    let origin = Origin::saying("app").await;
    proxy.register("/", origin.port()).await;
    issued(&pebble, "shop.example").await;
    let answer = pebble.get("shop.example", "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("app"), "{answer}");
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
    let shown = listed(&proxy, "acme-shop.example").await;
    assert_eq!(shown["source"], "acme");
    assert_eq!(shown["details"]["names"], json!(["shop.example"]));
    assert_eq!(shown["last_error"], Value::Null);
    proxy.logged(&["challenge is answered"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_a_certificate_over_tls_alone() {
    let (pebble, state) = (Pebble::start().await, state());
    let more = "  hosts: [shop.example, other.example]\n  challenge: tls-alpn-01\n";
    let proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "shop.example").await;
    issued(&pebble, "other.example").await;
    assert_eq!(pebble.orders(), 2, "{}", pebble.log());
    assert!(!proxy.log().contains("challenge is answered"));
    // The protocol of the challenge serves nothing else, and nobody without a challenge.
    let port = pebble.tls.port();
    let name = "shop.example";
    assert!(handshake(port, name, &["acme-tls/1"], None).await.is_none());
    let answer = pebble.get(name, "/").await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
}

/// RFC 8737, 3: the connection is closed after the handshake, whatever certificate it has shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_a_challenge_serves_no_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (pebble, state) = (Pebble::start().await, state());
    let _proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    issued(&pebble, "shop.example").await;
    let offered = ["acme-tls/1", "other"];
    let stream = handshake(pebble.tls.port(), "shop.example", &offered, None).await;
    let mut stream = stream.expect("it is negotiated");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"acme-tls/1"[..]));
    drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert_eq!(answer, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_registers_for_an_allowed_host_gets_a_certificate() {
    let (pebble, state) = (Pebble::start().await, state());
    let more = "  registered_hosts: [\"*.apps.example\"]\n";
    let proxy = start(&pebble, state.path(), more).await;
    let origin = Origin::saying("app").await;
    for host in [
        "other.example",
        "apps.example",
        "*.apps.example",
        "10.0.0.1",
        "a.apps.example",
    ] {
        let body = json!({"prefix": "/", "port": origin.port(), "reqHostNames": [host]});
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(response.status, 200, "{host}: {}", response.text());
    }
    issued(&pebble, "a.apps.example").await;
    let answer = pebble.get("a.apps.example", "/").await;
    assert!(answer.ends_with("app"), "{answer}");
    // The last that was registered was looked at with all the others.
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
    assert!(
        !proxy.log().contains("other.example: ordering"),
        "{}",
        proxy.log()
    );
    // A route that is gone is not renewed, and its certificate goes on serving.
    let key = "/v1/routes/a.apps.example";
    let gone = proxy.api("DELETE", &format!("{key}/"), None).await;
    assert!(gone.status < 300, "{}", gone.text());
    proxy.logged(&["is not renewed"]).await;
    assert!(pebble.shown("a.apps.example").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn account_and_certificate_survive_a_restart_and_nobody_else_can_read_them() {
    let (pebble, state) = (Pebble::start().await, state());
    let more = "  hosts: [shop.example]\n";
    let mut proxy = start(&pebble, state.path(), more).await;
    let first = issued(&pebble, "shop.example").await;
    assert!(proxy.stop().await.status.success());
    for path in files(state.path()) {
        let rights = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(rights, expected, "{}", path.display());
    }
    let mut proxy = start(&pebble, state.path(), more).await;
    // From the first connection on.
    let shown = pebble.shown("shop.example").await.expect("a certificate");
    assert_eq!(serial(&shown), first);
    // Another host: the same account.
    assert!(proxy.stop().await.status.success());
    let more = "  hosts: [shop.example, other.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    issued(&pebble, "other.example").await;
    assert_eq!(pebble.orders(), 2, "{}", pebble.log());
    assert!(!proxy.log().contains("a new account"), "{}", proxy.log());
}

/// A certificate in the folder, as another run left it: issued so many seconds ago, and valid for so
/// many more.
fn keep(pebble: &Pebble, state: &Path, host: &str, since: u64, left: u64) -> String {
    use rcgen::{CertificateParams, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    let since = std::time::Duration::from_secs(since);
    params.not_before = (now - since).into();
    params.not_after = (now + std::time::Duration::from_secs(left)).into();
    let certificate = params.self_signed(&key).unwrap();
    let issued = (now - since).duration_since(std::time::UNIX_EPOCH);
    let kept = json!({
        "directory": pebble.directory(),
        "issued": issued.unwrap().as_secs(),
        "certificate": certificate.pem(),
        "key": key.serialize_pem(),
    });
    let folder = state.join("acme/certificates");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{host}.json"));
    std::fs::write(file, kept.to_string()).unwrap();
    serial(certificate.der())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_certificate_is_in_use_until_there_is_a_new_one() {
    let (mut pebble, state) = (Pebble::new().await, state());
    let day = 86_400;
    let old = keep(&pebble, state.path(), "shop.example", 89 * day, day);
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    // The authority cannot be reached, and what is there serves.
    let shown = pebble.shown("shop.example").await.expect("a certificate");
    assert_eq!(serial(&shown), old);
    proxy.logged(&["cannot be reached"]).await;
    pebble.run().await;
    let new = issued(&pebble, "shop.example").await;
    assert_ne!(new, old);
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_and_not_before_its_time() {
    let (pebble, state) = (Pebble::start().await, state());
    // Two thirds of its 150 s are over in 10 s, less up to a twentieth of them, and the times are
    // whole seconds.
    let old = keep(&pebble, state.path(), "shop.example", 90, 60);
    let begin = std::time::Instant::now();
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    let shown = pebble.shown("shop.example").await.expect("a certificate");
    assert_eq!(serial(&shown), old);
    let new = issued(&pebble, "shop.example").await;
    assert!(begin.elapsed().as_secs() >= 1, "{}", proxy.log());
    assert_ne!(new, old);
    assert_eq!(pebble.orders(), 1, "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_directory_is_replaced_at_once_and_each_has_its_account() {
    let (one, other, state) = (Pebble::start().await, Pebble::start().await, state());
    let more = "  hosts: [shop.example]\n";
    let mut proxy = start(&one, state.path(), more).await;
    let first = issued(&one, "shop.example").await;
    assert!(proxy.stop().await.status.success());
    let mut proxy = start(&other, state.path(), more).await;
    let mut second = issued(&other, "shop.example").await;
    while second == first {
        second = issued(&other, "shop.example").await;
    }
    assert_eq!((one.orders(), other.orders()), (1, 1));
    assert!(proxy.stop().await.status.success());
    // Back again: the account is still there.
    let proxy = start(&one, state.path(), more).await;
    eventually("it is ordered again", async || one.orders() == 2).await;
    assert!(!proxy.log().contains("a new account"), "{}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_somebody_put_under_the_name_stays() {
    let (pebble, state) = (Pebble::start().await, state());
    let more = "  registered_hosts: [shop.example]\n";
    let proxy = start(&pebble, state.path(), more).await;
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let body = json!({"certificate": made.cert.pem(), "key": made.signing_key.serialize_pem()});
    let path = "/v1/certificates/acme-shop.example";
    assert_eq!(proxy.api("PUT", path, Some(body)).await.status, 201);
    let body = json!({"prefix": "/", "port": 1, "reqHostNames": ["shop.example"]});
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.text());
    proxy
        .logged(&["was put under its name over the control API"])
        .await;
    assert_eq!(pebble.orders(), 0);
    assert_eq!(listed(&proxy, "acme-shop.example").await["source"], "api");
    let shown = pebble.shown("shop.example").await;
    assert_eq!(shown.as_ref(), Some(made.cert.der()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_are_ordered_a_few_at_a_time() {
    let (pebble, state) = (Pebble::start().await, state());
    let hosts: Vec<String> = (0..13).map(|number| format!("h{number}.example")).collect();
    let more = format!("  hosts: [{}]\n", hosts.join(", "));
    let proxy = start(&pebble, state.path(), &more).await;
    for host in &hosts {
        issued(&pebble, host).await;
    }
    let (mut open, mut most) = (0_i32, 0);
    for line in proxy.log().lines() {
        if line.ends_with(": ordering a certificate") {
            open += 1;
        } else if line.contains(": there is a certificate;") {
            open -= 1;
        }
        most = most.max(open);
    }
    assert!((2..=4).contains(&most), "{most} at a time: {}", proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_token_is_a_request_like_any_other() {
    let (pebble, state) = (Pebble::start().await, state());
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    let path = "/.well-known/acme-challenge/token";
    let response = get(proxy.address(), path).await;
    assert_eq!(response.status, 501);
    let origin = Origin::saying("the app's own answer").await;
    proxy.register("/", origin.port()).await;
    for path in [
        path,
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/a/b",
    ] {
        let response = get(proxy.address(), path).await;
        assert_eq!(response.text(), "the app's own answer", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_removed_over_the_api_is_ordered_anew() {
    let (pebble, state) = (Pebble::start().await, state());
    let proxy = start(&pebble, state.path(), "  hosts: [shop.example]\n").await;
    let first = issued(&pebble, "shop.example").await;
    let path = "/v1/certificates/acme-shop.example";
    let removed = proxy.api("DELETE", path, None).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    let mut second = first.clone();
    eventually("there is a new certificate", async || {
        let shown = pebble.shown("shop.example").await.filter(is_issued);
        second = shown.map_or_else(|| first.clone(), |shown| serial(&shown));
        second != first
    })
    .await;
    assert_eq!(pebble.orders(), 2, "{}", pebble.log());
}
