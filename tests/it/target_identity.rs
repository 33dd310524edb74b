//! A target is what it is, not how it is spelt: a path that leads to the proxy itself, or out of the
//! allowed folder, is refused when it is registered, and again when it is connected to.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::support::{Home, Response, TestProxy, eventually};

/// Both engines, as a line of the configuration.
const ENGINES: [&str; 2] = ["engine: direct", "engine: pingora"];

/// An app at a Unix socket.
struct UnixApp(JoinHandle<()>);

impl UnixApp {
    /// Answers every request with a text, and closes behind it.
    fn start(path: &Path, text: &'static str) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        Self(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, text));
            }
        }))
    }
}

impl Drop for UnixApp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn answer(mut stream: UnixStream, text: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let length = text.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}");
    // The proxy may have gone.
    drop(stream.write_all(answer.as_bytes()).await);
}

/// A folder that apps may use, and a proxy whose sockets are beside it and in it.
struct Fixture {
    folder: tempfile::TempDir,
    proxy: TestProxy,
}

impl Fixture {
    async fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        for name in ["apps", "proxy", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let proxy = TestProxy::start(&format!(
            "control:\n  listen: [\"unix:{at}/proxy/control.sock\", \"unix:{at}/apps/control.sock\", \
             127.0.0.1:0]\nupgrade_sock: {at}/apps/upgrade.sock\n\
             targets:\n  allow: [\"unix:{at}/apps\"]\n{more}"
        ))
        .await;
        proxy.control().await;
        Self { folder, proxy }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn register(&self, name: &str) -> Response {
        let body = json!({ "prefix": "/v1", "unix": self.path(name) });
        self.proxy.register_json(body.to_string()).await
    }

    /// Every way in which a target comes into the table, with its statuses.
    async fn is_refused(&self, name: &str, code: &str) {
        let registered = self.register(name).await;
        assert_eq!(registered.error(), code, "{name}: {}", registered.text());
        let target = json!({ "unix": self.path(name) });
        let route = json!({ "host": "*", "prefix": "/v1", "instances": [target] });
        let change = json!({ "op": "put", "host": "*", "prefix": "/v1", "instances": [target] });
        for (method, at, body) in [
            ("PUT", "/v1/routes/*/v1", target.clone()),
            ("PUT", "/v1/routes/*/v1/instances/a", target.clone()),
            ("PUT", "/v1/routes", json!({ "routes": [route] })),
            ("PATCH", "/v1/routes", json!({ "changes": [change] })),
        ] {
            let response = self.proxy.api(method, at, Some(body)).await;
            let said = response.json()["code"].clone();
            assert_eq!(
                said,
                json!(code),
                "{name}: {method} {at}: {}",
                response.text()
            );
        }
        let through = self.proxy.client().await.get("/v1/status").await;
        assert_eq!(through.status, 501, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_own_sockets_are_no_targets_by_any_name() {
    let fixture = Fixture::start("").await;
    let path = |name| fixture.path(name);
    symlink(path("apps/control.sock"), path("apps/soft")).unwrap();
    symlink("control.sock", path("apps/relative")).unwrap();
    symlink("upgrade.sock", path("apps/dangling")).unwrap();
    std::fs::hard_link(path("apps/control.sock"), path("apps/hard")).unwrap();
    std::fs::hard_link(path("proxy/control.sock"), path("apps/brought")).unwrap();
    for name in [
        "apps/control.sock",
        "apps/soft",
        "apps/relative",
        "apps/hard",
        "apps/brought",
        "apps/upgrade.sock",
        "apps/dangling",
    ] {
        fixture.is_refused(name, "TARGET_IS_PROXY").await;
    }
    // Its file has another name now, and it is the same socket.
    std::fs::rename(path("proxy/control.sock"), path("apps/moved")).unwrap();
    fixture.is_refused("apps/moved", "TARGET_IS_PROXY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_does_not_lead_out_of_the_allowed_folder() {
    let fixture = Fixture::start("").await;
    let path = |name| fixture.path(name);
    let _other = UnixApp::start(&path("other/app.sock"), "other");
    let _app = UnixApp::start(&path("apps/app.sock"), "app");
    symlink(path("proxy/control.sock"), path("apps/control")).unwrap();
    symlink("../other/app.sock", path("apps/other")).unwrap();
    symlink("../other", path("apps/folder")).unwrap();
    symlink("../other/later.sock", path("apps/dangling")).unwrap();
    for name in [
        "apps/control",
        "apps/other",
        "apps/folder/app.sock",
        "apps/folder/later.sock",
        "apps/dangling",
    ] {
        fixture.is_refused(name, "TARGET_NOT_ALLOWED").await;
    }
    let text = fixture.register("apps/other").await.message();
    let (says, hides) = (text.contains("a link"), text.contains("other/app.sock"));
    assert!(says && !hides && text.contains("targets.allow"), "{text}");
    // A link within the folder leads nowhere else.
    symlink("app.sock", path("apps/near")).unwrap();
    for name in ["apps/app.sock", "apps/near"] {
        let response = fixture.register(name).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let through = fixture.proxy.client().await.get("/v1").await;
        assert_eq!(through.text(), "app", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_folder_may_be_behind_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("run/apps")).unwrap();
    symlink("run", path("var")).unwrap();
    let _app = UnixApp::start(&path("run/apps/app.sock"), "app");
    let allow = format!(
        "targets: {{allow: [\"unix:{}\"]}}",
        path("var/apps").display()
    );
    let proxy = TestProxy::start(&allow).await;
    for name in ["var/apps/app.sock", "run/apps/app.sock"] {
        let body = json!({ "prefix": "/x", "unix": path(name) });
        let response = proxy.register_json(body.to_string()).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        assert_eq!(proxy.client().await.get("/x").await.text(), "app", "{name}");
    }
    // What is spelt outside is not looked at, wherever it leads.
    symlink("run/apps/app.sock", path("outside")).unwrap();
    let body = json!({ "prefix": "/x", "unix": path("outside") });
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.error(), "TARGET_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_socket_is_not_a_link_that_somebody_has_put_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let allow = format!(
        "targets: {{allow: [\"unix:{}\"]}}",
        path("one.sock").display()
    );
    let proxy = TestProxy::start(&allow).await;
    let _other = UnixApp::start(&path("other.sock"), "other");
    symlink("other.sock", path("one.sock")).unwrap();
    let body = json!({ "prefix": "/x", "unix": path("one.sock") });
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.error(), "TARGET_NOT_ALLOWED");
    // Nor a folder whose sockets would all be allowed.
    std::fs::remove_file(path("one.sock")).unwrap();
    symlink(".", path("one.sock")).unwrap();
    let body = json!({ "prefix": "/x", "unix": path("one.sock/other.sock") });
    let response = proxy.register_json(body.to_string()).await;
    assert_eq!(response.error(), "TARGET_NOT_ALLOWED");
    // An operator who writes one is told so.
    let proxy = TestProxy::start(&allow).await;
    proxy.logged(&["targets.allow", "is a link"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_becomes_forbidden_is_not_connected_to() {
    for engine in ENGINES {
        let fixture = Fixture::start(engine).await;
        let path = |name| fixture.path(name);
        let app = UnixApp::start(&path("apps/app.sock"), "first");
        assert_eq!(fixture.register("apps/app.sock").await.status, 200);
        let get = async || fixture.proxy.client().await.get("/v1/status").await;
        assert_eq!(get().await.text(), "first", "{engine}");
        let _other = UnixApp::start(&path("other/app.sock"), "other");
        drop(app);
        for (link, why) in [
            ("control.sock", "a socket of the proxy itself"),
            ("../proxy/control.sock", "targets.allow"),
            ("../other/app.sock", "targets.allow"),
        ] {
            std::fs::remove_file(path("apps/app.sock")).unwrap();
            symlink(link, path("apps/app.sock")).unwrap();
            let response = get().await;
            let verdict = (500, "UNREACHABLE".to_owned());
            assert_eq!(response.verdict(), verdict, "{engine} {link}");
            let id = response.field("x-request-id").unwrap().to_owned();
            eventually("the log says why", async || {
                let log = fixture.proxy.log();
                log.lines()
                    .any(|line| line.contains(&id) && line.contains(why))
            })
            .await;
        }
        // A new inode at the same path is an app that was started again.
        std::fs::remove_file(path("apps/app.sock")).unwrap();
        let _again = UnixApp::start(&path("apps/app.sock"), "again");
        assert_eq!(get().await.text(), "again", "{engine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_target_that_has_become_forbidden_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("apps")).unwrap();
    let at = folder.path().display();
    let home = Home::new(&format!("targets:\n  allow: [\"unix:{at}/apps\"]\n"));
    let mut proxy = home.start().await;
    let app = UnixApp::start(&path("apps/app.sock"), "app");
    let body = json!({ "prefix": "/x", "unix": path("apps/app.sock") });
    assert_eq!(proxy.register_json(body.to_string()).await.status, 200);
    proxy.stop().await;
    drop(app);
    let _other = UnixApp::start(&path("other.sock"), "other");
    std::fs::remove_file(path("apps/app.sock")).unwrap();
    // Without its socket it stays: the app may come back.
    let mut proxy = home.start().await;
    assert_eq!(proxy.client().await.get("/x").await.status, 500);
    proxy.stop().await;
    symlink(path("other.sock"), path("apps/app.sock")).unwrap();
    let proxy = home.start().await;
    assert_eq!(proxy.client().await.get("/x").await.status, 501);
    proxy.logged(&["is left out", "is a link"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_own_ports_are_no_targets_by_any_address() {
    let proxy = TestProxy::start("targets:\n  allow: [0.0.0.0/0, \"::/0\"]\n").await;
    let control = proxy.control().await.port();
    for port in [control, proxy.port()] {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::ffff:0.0.0.0",
        ] {
            let body = json!({ "prefix": "/v1", "host": host, "port": port });
            let response = proxy.register_json(body.to_string()).await;
            assert_eq!(response.error(), "TARGET_IS_PROXY", "{host}:{port}");
        }
    }
}
