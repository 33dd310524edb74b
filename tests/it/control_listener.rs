//! The listeners of the control API: where they are, whom they take, and how they end.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::{
    Client, ReservedPort, TestProxy, api_request, command, eventually, over_unix, run,
};

/// Far below the default grace of 30 s.
const SOON: Duration = Duration::from_secs(5);

fn status_request(fields: &[(&str, &str)]) -> Vec<u8> {
    api_request("GET", "/v1/status", fields, None)
}

async fn unix_proxy(path: &Path) -> TestProxy {
    let listen = format!("control:\n  listen: unix:{}", path.display());
    let proxy = TestProxy::start(&listen).await;
    let shown = format!("unix:{}", path.display());
    eventually("the socket is named", async || {
        proxy.control_listeners().any(|name| name == shown)
    })
    .await;
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_has_a_listener_of_its_own() {
    let proxy = TestProxy::plain().await;
    assert_ne!(proxy.control().await.port(), proxy.port());
    let response = proxy.api("GET", "/v1/status?x=1", None).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["version"], env!("CARGO_PKG_VERSION"));
    // The traffic's listener has none of it, and this one none of the traffic.
    let mut client = proxy.client().await;
    assert_eq!(client.get("/v1/status").await.status, 501);
    let missing = proxy.api("GET", "/shop", None).await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(missing.field("cache-control"), Some("no-store"));
    assert_eq!(missing.json()["code"], "NO_SUCH_PATH");
    let wrong = proxy.api("DELETE", "/v1/status", None).await;
    assert_eq!(
        (wrong.status, wrong.field("allow")),
        (405, Some("GET,HEAD"))
    );
    assert_eq!(wrong.json()["status"], 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_and_a_head_has_no_body() {
    let proxy = TestProxy::plain().await;
    let mut client = Client::connect(proxy.control().await).await;
    for _ in 0..3 {
        assert_eq!(client.exchange(status_request(&[])).await.status, 200);
    }
    let head = client
        .exchange(api_request("HEAD", "/v1/status", &[], None))
        .await;
    assert_eq!(head.status, 200);
    assert_ne!(head.field("content-length"), Some("0"));
    assert_eq!(client.exchange(status_request(&[])).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_listener_is_no_target() {
    let proxy = TestProxy::plain().await;
    let port = proxy.control().await.port();
    let body = serde_json::json!({ "prefix": "/a", "port": port }).to_string();
    let response = proxy.register_json(body).await;
    assert_eq!(response.json()["error"], "TARGET_IS_PROXY");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_is_the_port_after_the_traffics() {
    // Two ports in a row that are free; with bad luck they are not any more.
    for _ in 0..1000 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let Some(Ok(second)) = port
            .checked_add(1)
            .map(|next| TcpListener::bind(("127.0.0.1", next)))
        else {
            continue;
        };
        drop(first);
        let taken = run(&[], &format!("port: {port}")).await;
        let text = String::from_utf8_lossy(&taken.stderr).into_owned();
        assert_eq!(taken.status.code(), Some(1), "{text}");
        assert!(
            text.contains("control.listen") && text.contains("taken"),
            "{text}"
        );
        drop(second);
        let directory = tempfile::tempdir().unwrap();
        let mut command = command();
        command.env("PORT", port.to_string());
        let proxy = TestProxy::spawn(command, directory).await;
        assert_eq!(proxy.control().await.port(), port + 1);
        return;
    }
    panic!("no two free ports in a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_off_or_in_several_places() {
    let mut proxy = TestProxy::start("control:\n  listen: off").await;
    assert!(proxy.stop().await.status.success());
    assert_eq!(proxy.control_listeners().count(), 0);
    let proxy = TestProxy::start("control:\n  listen: [127.0.0.1:0, 127.0.0.2:0]").await;
    eventually("both are named", async || {
        proxy.control_listeners().count() == 2
    })
    .await;
    for address in proxy.control_listeners() {
        let mut client = Client::connect(address.parse().unwrap()).await;
        assert_eq!(client.exchange(status_request(&[])).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_others_reach_needs_tokens() {
    let output = run(&[], "port: 0\ncontrol:\n  listen: 0.0.0.0:0").await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for named in ["proxy.yaml:3:11", "control.listen", "control.tokens"] {
        assert!(text.contains(named), "{named}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_its_owners_and_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/control.sock");
    let mut proxy = unix_proxy(&path).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder_mode = std::fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(folder_mode.permissions().mode() & 0o777, 0o700);
    // Whatever the Host: no web page reaches a socket.
    let request = status_request(&[("Host", "evil.example"), ("Connection", "close")]);
    let (status, _, body) = over_unix(&path, &request).await.unwrap();
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    let listen = format!("port: 0\ncontrol:\n  listen: unix:{}", path.display());
    let second = run(&[], &listen).await;
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(
        text.contains("control.sock") && text.contains("answers"),
        "{text}"
    );
    assert!(proxy.stop().await.status.success());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_a_killed_process_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    let mut proxy = unix_proxy(&path).await;
    let request = status_request(&[("Connection", "close")]);
    assert_eq!(over_unix(&path, &request).await.unwrap().0, 200);
    proxy.signal("KILL");
    proxy.ended().await;
    assert!(path.exists());
    let mut proxy = unix_proxy(&path).await;
    assert_eq!(over_unix(&path, &request).await.unwrap().0, 200);
    proxy.stop().await;
    std::fs::write(&path, "mine").unwrap();
    let listen = format!("port: 0\ncontrol:\n  listen: unix:{}", path.display());
    let output = run(&[], &listen).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_and_relays_are_refused() {
    let configuration = "control:\n  listen: 127.0.0.1:0\n  hosts: [proxy.internal]";
    let proxy = TestProxy::start(configuration).await;
    let cases = [
        (&[("Host", "127.0.0.1")], 200, ""),
        (&[("Host", "[::1]:3001")], 200, ""),
        (&[("Host", "Proxy.Internal:3001")], 200, ""),
        (&[("Host", "evil.example")], 403, "FORBIDDEN_HOST"),
        (&[("Host", "192.0.2.1")], 403, "FORBIDDEN_HOST"),
        (&[("Origin", "https://evil.example")], 403, "FORBIDDEN"),
        (&[("Origin", "null")], 403, "FORBIDDEN"),
        (&[("Sec-Fetch-Site", "cross-site")], 403, "FORBIDDEN"),
        (&[("Content-Type", "text/plain")], 403, "FORBIDDEN"),
        (&[("X-Forwarded-For", "127.0.0.1")], 403, "FORBIDDEN"),
    ];
    for (fields, status, code) in cases {
        let mut client = Client::connect(proxy.control().await).await;
        let response = client.exchange(status_request(fields)).await;
        assert_eq!(response.status, status, "{fields:?}: {}", response.text());
        if status != 200 {
            assert_eq!(response.json()["code"], code, "{fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_the_same_limits() {
    let proxy = TestProxy::start("limits:\n  target: 100\ntimeouts:\n  head: 200ms").await;
    let address = proxy.control().await;
    let long = format!("/v1/status?{}", "x".repeat(200));
    let mut client = Client::connect(address).await;
    let response = client.exchange(api_request("GET", &long, &[], None)).await;
    assert_eq!(response.status, 414);
    let mut client = Client::connect(address).await;
    client.send("GET /v1/status HTTP/1.1\r\n").await;
    assert_eq!(client.response().await.status, 408);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_a_stop() {
    let mut proxy = TestProxy::plain().await;
    let mut clients = Vec::new();
    for used in [false, true] {
        let mut client = Client::connect(proxy.control().await).await;
        if used {
            assert_eq!(client.exchange(status_request(&[])).await.status, 200);
        }
        clients.push(client);
    }
    let address = proxy.control().await;
    let ended = proxy.stop().await;
    assert!(ended.status.success() && ended.after < SOON, "{ended:?}");
    for client in &mut clients {
        client.is_closed().await;
    }
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_the_control_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let (traffic, control) = (ReservedPort::new(), ReservedPort::new());
    let configuration = format!(
        "threads: 2\nlisten: ['127.0.0.1:{}']\nupgrade_sock: {}\ncontrol:\n  listen:\n    \
         - 127.0.0.1:{}\n    - unix:{}\n",
        traffic.port(),
        folder.path().join("upgrade.sock").display(),
        control.port(),
        path.display(),
    );
    let (address, request) = (
        format!("127.0.0.1:{}", control.port()).parse().unwrap(),
        status_request(&[("Connection", "close")]),
    );
    drop((traffic, control));
    let mut old = TestProxy::start(&configuration).await;
    eventually("both are named", async || {
        old.control_listeners().count() == 2
    })
    .await;
    let inode = std::fs::metadata(&path).unwrap().ino();
    let mut new = old.upgraded(&configuration).await;
    assert!(old.ended().await.status.success());
    eventually("both are named", async || {
        new.control_listeners().count() == 2
    })
    .await;
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(over_unix(&path, &request).await.unwrap().0, 200);
    assert_eq!(
        Client::connect(address)
            .await
            .exchange(&request)
            .await
            .status,
        200
    );
    assert!(new.stop().await.status.success());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_there_is_what_the_old_process_did_not_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let traffic = ReservedPort::new();
    let configuration = |control: &str| {
        format!(
            "threads: 1\nlisten: ['127.0.0.1:{}']\nupgrade_sock: {}\ncontrol:\n  listen: {control}\n",
            traffic.port(),
            folder.path().join("upgrade.sock").display(),
        )
    };
    let (before, after) = (
        configuration("off"),
        configuration(&format!("unix:{}", path.display())),
    );
    drop(traffic);
    let mut old = TestProxy::start(&before).await;
    let new = old.upgraded(&after).await;
    eventually("the socket is named", async || {
        new.control_listeners().count() == 1
    })
    .await;
    let request = status_request(&[("Connection", "close")]);
    assert_eq!(over_unix(&path, &request).await.unwrap().0, 200);
    assert!(old.ended().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_request_on_a_socket_is_not_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _proxy = unix_proxy(&path).await;
    let call = async |method, target, field: (&str, &str)| {
        let body = (method == "PUT").then(|| serde_json::json!({ "port": 1 }));
        let fields = [field, ("Connection", "close")];
        let request = api_request(method, target, &fields, body.as_ref());
        over_unix(&path, &request).await.unwrap()
    };
    for name in [
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
        "X_Client_IP",
    ] {
        for (method, target) in [("GET", "/v1/status"), ("PUT", "/v1/routes/*/x")] {
            let (status, _, text) = call(method, target, (name, "a")).await;
            assert_eq!(status, 403, "{method} {name}: {text}");
            let is_told = text.contains("FORBIDDEN") && text.contains("relayed");
            assert!(is_told, "{text}");
        }
    }
    let (status, _, text) = call("PUT", "/v1/routes/*/x", ("X-Request-Id", "a")).await;
    assert_eq!(status, 201, "{text}");
}
