//! `registration.listen`: registrations at a listener of their own, and nowhere else.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use crate::support::{
    Client, Origin, ReservedPort, TestProxy, eventually, over_unix, registration, request, run,
};

/// Where registrations are taken, by the log: an address, or `unix:` and a path.
async fn listener(proxy: &TestProxy) -> String {
    let mut shown = None;
    eventually("the listener is named", async || {
        let log = proxy.log();
        let line = log
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .find_map(|line| line.trim_end().split_once("registration on "));
        shown = line.map(|(_, shown)| shown.to_owned());
        shown.is_some()
    })
    .await;
    shown.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traffics_listener_takes_no_registrations_then() {
    for engine in ["direct", "pingora"] {
        let configuration = format!("engine: {engine}\nregistration:\n  listen: 127.0.0.1:0\n");
        let proxy = TestProxy::start(&configuration).await;
        let address: SocketAddr = listener(&proxy).await.parse().unwrap();
        assert_ne!(address.port(), proxy.port());
        let origin = Origin::saying("app").await;
        let body = |prefix: &str| json!({ "prefix": prefix, "port": origin.port() }).to_string();
        // What a relay passes on, which adds no field.
        let relayed = proxy.register_json(body("/x")).await;
        assert_eq!(relayed.verdict(), (501, "NOT_FOUND".to_owned()), "{engine}");
        let registered = request(address, registration(body("/x"))).await;
        assert_eq!(registered.status, 200, "{engine}: {}", registered.text());
        assert_eq!(
            proxy.client().await.get("/x").await.text(),
            "app",
            "{engine}"
        );
        // The path is an ordinary one there.
        let registered = request(address, registration(body("/register"))).await;
        assert_eq!(registered.status, 200, "{engine}: {}", registered.text());
        assert_eq!(proxy.client().await.get("/register").await.text(), "app");
        let own = json!({ "prefix": "/y", "port": address.port() }).to_string();
        let refused = request(address, registration(own)).await;
        assert_eq!(refused.error(), "TARGET_IS_PROXY", "{engine}");
        // Nothing else is behind it.
        for path in ["/x", "/v1/routes", "/register/x"] {
            let mut client = Client::connect(address).await;
            assert_eq!(
                client.get(path).await.verdict(),
                (404, "NO_SUCH_PATH".to_owned())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_a_unix_socket_for_every_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/register.sock");
    let configuration = format!("registration:\n  listen: unix:{}\n", path.display());
    let mut proxy = TestProxy::start(&configuration).await;
    assert_eq!(listener(&proxy).await, format!("unix:{}", path.display()));
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o666);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
    let body = json!({ "prefix": "/x", "port": 4321 }).to_string();
    let (status, _, text) = over_unix(&path, &registration(&body)).await.unwrap();
    assert_eq!(status, 200, "{text}");
    let relayed = String::from_utf8(registration(&body)).unwrap();
    let relayed = relayed.replace("Host:", "X-Real-IP: 192.0.2.1\r\nHost:");
    let (status, _, text) = over_unix(&path, relayed.as_bytes()).await.unwrap();
    assert_eq!(status, 403, "{text}");
    assert!(proxy.stop().await.status.success());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_rules_and_its_path_are_those_of_registration() {
    let more = "registration:\n  listen: [127.0.0.1:0]\n  path: /_proxy/register\n";
    let proxy = TestProxy::start(more).await;
    let address: SocketAddr = listener(&proxy).await.parse().unwrap();
    let body = json!({ "prefix": "/x", "port": 4321 }).to_string();
    let text = String::from_utf8(registration(&body)).unwrap();
    let at = |path: &str| text.replace(" /register ", &format!(" {path} "));
    assert_eq!(request(address, at("/register")).await.status, 404);
    assert_eq!(request(address, at("/_proxy/register")).await.status, 200);
    let foreign = at("/_proxy/register").replace("Host:", "Origin: https://a.example\r\nHost:");
    assert_eq!(request(address, foreign).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_cannot_be_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let at = |listen: &str| {
        format!("port: 0\ncontrol: {{listen: off}}\nregistration:\n  listen: {listen}\n")
    };
    for (listen, code, words) in [
        ("0.0.0.0:1", 2, "proxy.yaml:4:11"),
        ("3001", 2, "registration.listen"),
        ("unix:a", 2, "registration.listen"),
        (&format!("127.0.0.1:{port}"), 1, "registration.listen"),
    ] {
        let output = run(&[], &at(listen)).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{listen}: {text}");
        assert!(text.contains(words), "{listen}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_along_at_an_upgrade_and_stays_no_target() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let (traffic, own) = (ReservedPort::new(), ReservedPort::new());
    let (path, address) = (
        folder.path().join("register.sock"),
        SocketAddr::from(([127, 0, 0, 1], own.port())),
    );
    let configuration = format!(
        "threads: 2\nlisten: ['127.0.0.1:{}']\nupgrade_sock: {at}/upgrade.sock\ncontrol:\n  listen: off\n\
         registration:\n  listen: [\"unix:{at}/register.sock\", {address}]\n\
         targets:\n  allow: [\"unix:{at}\"]\n",
        traffic.port(),
    );
    drop((traffic, own));
    let mut old = TestProxy::start(&configuration).await;
    listener(&old).await;
    let inode = std::fs::metadata(&path).unwrap().ino();
    let new = old.upgraded(&configuration).await;
    assert!(old.ended().await.status.success());
    listener(&new).await;
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    let body = json!({ "prefix": "/x", "port": 4321 }).to_string();
    assert_eq!(request(address, registration(&body)).await.status, 200);
    let (status, _, text) = over_unix(&path, &registration(&body)).await.unwrap();
    assert_eq!(status, 200, "{text}");
    for own in [
        json!({ "prefix": "/x", "unix": path }),
        json!({ "prefix": "/x", "port": address.port() }),
    ] {
        let refused = request(address, registration(own.to_string())).await;
        assert_eq!(refused.error(), "TARGET_IS_PROXY", "{own}");
    }
}
