//! `registration.allow_users`: which users of this machine may register.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    Origin, ReservedPort, TestProxy, api_request, command, eventually, get, output_of, over_unix,
    registration, request,
};

/// A user that is nobody's here.
const STRANGER: u32 = 54_321;

fn body(port: u16) -> String {
    json!({ "prefix": "/x", "port": port }).to_string()
}

/// The user of the tests.
fn own() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The lines of the audit so far.
fn audit(proxy: &TestProxy) -> Vec<Value> {
    let log = proxy.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().filter_map(|line| line.split_once("audit] "));
    lines
        .map(|(_, line)| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_in_the_list_registers_and_stands_in_the_audit() {
    for (engine, address) in [
        ("direct", "127.0.0.1"),
        ("pingora", "127.0.0.1"),
        ("direct", "[::1]"),
    ] {
        let proxy = TestProxy::start(&format!(
            "engine: {engine}\nlisten: [\"{address}:0\"]\nregistration:\n  allow_users: [{}, {STRANGER}]\n",
            own()
        ))
        .await;
        let at: SocketAddr = format!("{address}:{}", proxy.port()).parse().unwrap();
        let response = request(at, registration(body(4321))).await;
        assert_eq!(
            response.status,
            200,
            "{engine} {address}: {}",
            response.text()
        );
        eventually("the audit", async || !audit(&proxy).is_empty()).await;
        assert_eq!(audit(&proxy)[0]["user"], json!(own().to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_by_the_name_of_the_key() {
    let origin = Origin::saying("app").await;
    for engine in ["direct", "pingora"] {
        let proxy = TestProxy::start(&format!(
            "engine: {engine}\nregistration:\n  allow_users: [{STRANGER}]\n"
        ))
        .await;
        let response = proxy.register_json(body(origin.port())).await;
        assert_eq!(
            response.verdict(),
            (403, "FORBIDDEN".to_owned()),
            "{engine}"
        );
        let text = response.message();
        let names = ["registration.allow_users", &format!("user {}", own())];
        assert!(names.iter().all(|name| text.contains(name)), "{text}");
        assert_eq!(proxy.client().await.get("/x").await.status, 501, "{engine}");
        // Nor does the control API let in what registration keeps out; reading is for everybody.
        let put = proxy
            .api("PUT", "/v1/routes/*/x", Some(json!({ "port": 1 })))
            .await;
        assert_eq!(put.status, 403, "{}", put.text());
        assert!(
            put.text().contains("registration.allow_users"),
            "{}",
            put.text()
        );
        assert_eq!(proxy.api("GET", "/v1/routes", None).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_tell_the_user_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("register.sock");
    for (user, expected) in [(own(), 200), (STRANGER, 403)] {
        let proxy = TestProxy::start(&format!(
            "registration:\n  listen: unix:{}\n  allow_users: [{user}]\n",
            path.display()
        ))
        .await;
        let (status, _, text) = over_unix(&path, &registration(body(4321))).await.unwrap();
        assert_eq!(status, expected, "{user}: {text}");
        if expected == 200 {
            eventually("the audit", async || !audit(&proxy).is_empty()).await;
            assert_eq!(audit(&proxy)[0]["user"], json!(user.to_string()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_control_socket_stands_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let proxy = TestProxy::start(&format!(
        "control:\n  listen: unix:{}\nregistration:\n  allow_users: [{STRANGER}]\n",
        path.display()
    ))
    .await;
    let request = api_request(
        "PUT",
        "/v1/routes/*/x",
        &[("Connection", "close")],
        Some(&json!({ "port": 1 })),
    );
    let (status, _, text) = over_unix(&path, &request).await.unwrap();
    assert_eq!(status, 201, "{text}");
    eventually("the audit", async || !audit(&proxy).is_empty()).await;
    assert_eq!(audit(&proxy)[0]["user"], json!(own().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_user_is_that_user() {
    if own() != 0 {
        return eprintln!("skipped: only root can be another user");
    }
    let proxy = TestProxy::start("registration:\n  allow_users: [root]\n").await;
    let url = format!("http://127.0.0.1:{}/register", proxy.port());
    let post = async |user: u32| {
        let mut curl = tokio::process::Command::new("setpriv");
        curl.args([&format!("--reuid={user}"), "--clear-groups", "curl", "-s"]);
        curl.args([
            "-H",
            "Content-Type: application/json",
            "-d",
            &body(4321),
            &url,
        ]);
        String::from_utf8(output_of(curl).await.stdout).unwrap()
    };
    let text = post(STRANGER).await;
    assert!(text.contains(&format!("user {STRANGER} ")), "{text}");
    let text = post(0).await;
    assert!(text.contains("Registered"), "{text}");
    eventually("the audit", async || !audit(&proxy).is_empty()).await;
    assert_eq!(audit(&proxy)[0]["user"], "root");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_adds_no_field_is_known_by_its_user() {
    if own() != 0 {
        return eprintln!("skipped: only root can be another user");
    }
    let proxy = TestProxy::start("registration:\n  allow_users: [root]\n").await;
    let Some(relay) = Nginx::start(proxy.port()).await else {
        return;
    };
    let relayed = request(relay.address(), registration(body(4321))).await;
    assert_eq!(relayed.verdict(), (403, "FORBIDDEN".to_owned()));
    assert!(
        relayed.message().contains(&format!("user {STRANGER} ")),
        "{}",
        relayed.message()
    );
    // The routes themselves are for everybody.
    let origin = Origin::saying("app").await;
    proxy.register("/x", origin.port()).await;
    assert_eq!(get(relay.address(), "/x").await.text(), "app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_has_closed_is_nobody() {
    let proxy = TestProxy::start(&format!("registration:\n  allow_users: [{}]\n", own())).await;
    // So that it has closed before the kernel is asked.
    proxy.signal("STOP");
    let mut client = proxy.client().await;
    client.send(registration(body(4321))).await;
    drop(client);
    proxy.signal("CONT");
    proxy.logged(&["nobody holds the other end"]).await;
    assert_eq!(proxy.client().await.get("/x").await.status, 501);
    assert!(audit(&proxy).is_empty());
}

/// nginx as most people write it, as a user of its own.
struct Nginx {
    port: ReservedPort,
    _child: tokio::process::Child,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// One that leads to a port; none, with a word on it, where it is not installed.
    async fn start(leads_to: u16) -> Option<Self> {
        let (port, folder) = (ReservedPort::new(), tempfile::tempdir().unwrap());
        std::os::unix::fs::chown(folder.path(), Some(STRANGER), None).unwrap();
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{}; location / {{ \
             proxy_pass http://127.0.0.1:{leads_to}; }} }} }}\n",
            port.port()
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let mut command = tokio::process::Command::new("setpriv");
        command
            .args([
                &format!("--reuid={STRANGER}"),
                "--clear-groups",
                "nginx",
                "-p",
            ])
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("setpriv runs");
        let address = SocketAddr::from(([127, 0, 0, 1], port.port()));
        let mut is_there = true;
        eventually("nginx listens", async || {
            is_there = child.try_wait().unwrap().is_none();
            !is_there || tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        if !is_there {
            eprintln!("skipped: nginx is not installed");
            return None;
        }
        Some(Self {
            port,
            _child: child,
            _folder: folder,
        })
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port.port()).into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_list_nobody_is_asked_for() {
    let proxy = TestProxy::plain().await;
    assert_eq!(proxy.register_json(body(4321)).await.status, 200);
    eventually("the audit", async || !audit(&proxy).is_empty()).await;
    assert_eq!(audit(&proxy)[0].get("user"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    for list in ["[nobody-of-this-name]", "[]", "[\"\"]"] {
        std::fs::write(&path, format!("registration:\n  allow_users: {list}\n")).unwrap();
        let mut command = command();
        command.arg("check").arg("--conf").arg(&path);
        let output = output_of(command).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{list}: {text}");
        let names = ["proxy.yaml:2:", "registration.allow_users"];
        assert!(
            names.iter().all(|name| text.contains(name)),
            "{list}: {text}"
        );
    }
}
