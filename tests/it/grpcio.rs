//! gRPC with a client and a server that are not ours: Python's grpcio, `grpc/client.py` and
//! `grpc/server.py`. `make test` installs it and names its folder in `GRPCIO`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{ClosedPort, Origin, TestProxy, eventually, in_time};

/// How long a run of scenarios may take.
const RUN: Duration = Duration::from_mins(2);

/// A program of the folder `grpc` in the Python that has the packages.
fn python(program: &str) -> Command {
    let folder = std::env::var_os("GRPCIO").expect(
        "GRPCIO names the folder of a Python with grpcio: run `make test`, or \
         `scripts/python-packages tests/it/grpc/requirements.txt /tmp/grpcio` once and then \
         `GRPCIO=/tmp/grpcio cargo test`",
    );
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/grpc");
    let mut command = Command::new(PathBuf::from(folder).join("bin/python"));
    command
        .arg(sources.join(program))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    for name in ["http_proxy", "https_proxy", "grpc_proxy"] {
        command.env_remove(name);
    }
    command
}

/// The app: a server in Python.
struct App {
    child: Child,
    port: u16,
}

impl App {
    async fn start(more: &[PathBuf]) -> Self {
        let mut child = python("server.py").args(more).spawn().expect("Python");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = in_time("the app starts", lines.next_line()).await.unwrap();
        let port = line.expect("the app's port").parse().unwrap();
        Self { child, port }
    }

    /// Tells it to stop.
    async fn stop(&self) {
        let id = self.child.id().expect("a running app").to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(in_time("kill", kill).await.unwrap().success());
    }
}

/// A client in the middle of a scenario.
struct Client {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(address: &str, ca: Option<&Path>, scenarios: &[&str]) -> Self {
        let mut command = python("client.py");
        command.arg(address);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        let mut child = command.args(scenarios).spawn().expect("Python");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self {
            stdin: child.stdin.take().expect("a pipe"),
            child,
            lines,
        }
    }

    /// Waits until it has said so.
    async fn says(&mut self, expected: &str) {
        let line = in_time(expected, self.lines.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(expected));
    }

    async fn go_on(&mut self) {
        self.stdin.write_all(b"go\n").await.expect("a client");
    }

    /// Waits for its end, which has to be a good one.
    async fn succeeds(mut self) {
        let end = tokio::time::timeout(RUN, async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                eprintln!("{line}");
            }
            self.child.wait().await.expect("a status")
        });
        let status = end.await.expect("the client ends in time");
        assert!(
            status.success(),
            "the client ended with {status}; see above"
        );
    }
}

async fn passes(address: &str, ca: Option<&Path>, scenarios: &[&str]) {
    let client = Client::start(address, ca, scenarios);
    client.succeeds().await;
}

/// A proxy in cleartext with the app behind it, that has all of gRPC and short timeouts.
struct Setup {
    proxy: TestProxy,
    app: App,
}

impl Setup {
    async fn new(configuration: &str) -> Self {
        let cleartext = format!("http2: {{cleartext: true}}\n{configuration}");
        let proxy = TestProxy::start(&cleartext).await;
        let app = App::start(&[]).await;
        for prefix in ["/test.App", "/grpc.health.v1.Health"] {
            register(&proxy, prefix, app.port, "h2c", Value::Null).await;
        }
        Self { proxy, app }
    }

    fn address(&self) -> String {
        self.proxy.address().to_string()
    }

    fn client(&self, scenario: &str) -> Client {
        Client::start(&self.address(), None, &[scenario])
    }

    async fn passes(&self, scenarios: &[&str]) {
        passes(&self.address(), None, scenarios).await;
        is_calm(&self.proxy).await;
    }

    /// Takes the app's route away.
    async fn remove(&self, grace: &str) {
        let target = format!("/v1/routes/*/test.App?drain={grace}");
        let removed = self.proxy.api("DELETE", &target, None).await;
        assert!(matches!(removed.status, 200 | 202), "{}", removed.text());
    }
}

async fn register(proxy: &TestProxy, prefix: &str, port: u16, protocol: &str, https: Value) {
    let wish = json!({ "prefix": prefix, "port": port, "protocol": protocol, "https": https });
    let registered = proxy.register_json(wish.to_string()).await;
    assert_eq!(registered.status, 200, "{}", registered.text());
}

/// Waits until nothing is in flight behind any route.
async fn is_calm(proxy: &TestProxy) {
    eventually("nothing is in flight", async || {
        let listed = proxy.api("GET", "/v1/routes", None).await.json();
        let routes = listed["routes"].as_array().expect("routes");
        assert!(!routes.is_empty());
        let in_flight = |route: &Value| route["activity"]["in_flight"].as_u64().expect("a count");
        routes.iter().map(in_flight).sum::<u64>() == 0
    })
    .await;
}

/// An authority, `ca.pem`, and what it has signed: `localhost.pem` and `localhost.key`.
fn certificates() -> TempDir {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = "authority of the test";
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("ca.pem", issuer.pem());
    write("localhost.pem", certificate.pem());
    write("localhost.key", key.serialize_pem());
    folder
}

/// What is the same whoever speaks TLS.
const CALLS: [&str; 11] = [
    "kinds",
    "statuses",
    "denied",
    "metadata",
    "compression",
    "large",
    "deadlines",
    "cancels",
    "hundred",
    "pings",
    "healthy",
];

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_cleartext() {
    Setup::new("").await.passes(&CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_tls_on_both_sides() {
    let folder = certificates();
    let path = |name: &str| folder.path().join(name);
    let at = folder.path().display();
    let proxy = TestProxy::start(&format!(
        "tls:\n  listen: [\"127.0.0.1:0\"]\n  certificates:\n  - name: own\n    \
         certificate: {at}/localhost.pem\n    key: {at}/localhost.key\n\
         targets:\n  tls:\n  - {{name: own, ca: {at}/ca.pem}}\n"
    ))
    .await;
    let app = App::start(&[path("localhost.key"), path("localhost.pem")]).await;
    let https = json!({ "profile": "own" });
    register(&proxy, "/", app.port, "h2", https).await;
    let found = || {
        let log = proxy.log();
        let line = log
            .lines()
            .find_map(|line| line.split_once("TLS on 127.0.0.1:"));
        line.map(|(_, port)| port.trim().to_owned())
    };
    eventually("TLS is listened on", async || found().is_some()).await;
    let address = format!("127.0.0.1:{}", found().expect("a port"));
    passes(&address, Some(&path("ca.pem")), &CALLS).await;
    is_calm(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_takes_the_place_of_the_proxys_own_limits() {
    let short = "timeouts: {first_byte: 1s, between_bytes: 1s, client_body: 1s}";
    Setup::new(short).await.passes(&["quiet"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_ends_its_calls() {
    let setup = Setup::new("").await;
    let mut client = setup.client("vanishes");
    client.says("in flight").await;
    client.go_on().await;
    client.succeeds().await;
    is_calm(&setup.proxy).await;
    let mut after = setup.client("cancels");
    after.says("cancels: ok").await;
    after.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_killed_is_unavailable() {
    let mut setup = Setup::new("").await;
    let mut client = setup.client("killed");
    client.says("in flight").await;
    in_time("the app's end", setup.app.child.kill())
        .await
        .unwrap();
    client.go_on().await;
    client.succeeds().await;
    is_calm(&setup.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_finish_while_their_app_stops() {
    let setup = Setup::new("").await;
    let mut client = setup.client("stopped");
    client.says("in flight").await;
    setup.app.stop().await;
    client.go_on().await;
    client.says("finished").await;
    client.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_finish_while_their_route_drains() {
    let setup = Setup::new("").await;
    let mut client = setup.client("stopped");
    client.says("in flight").await;
    setup.remove("30s").await;
    client.go_on().await;
    client.says("finished").await;
    client.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_outlive_a_drain_are_told() {
    let setup = Setup::new("").await;
    let mut client = setup.client("drained");
    client.says("in flight").await;
    setup.remove("100ms").await;
    client.go_on().await;
    client.succeeds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxys_own_failures_are_statuses() {
    let setup = Setup::new("").await;
    let closed = ClosedPort::new();
    register(
        &setup.proxy,
        "/absent.App",
        closed.port(),
        "h2c",
        Value::Null,
    )
    .await;
    let page = Origin::start(|mut visit| async move {
        while visit.request().await.is_some() {
            visit.answer(404, "<h1>no such page</h1>").await;
        }
    })
    .await;
    register(&setup.proxy, "/page.App", page.port(), "http1", Value::Null).await;
    setup.passes(&["absent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_resets_its_streams_is_understood() {
    let setup = Setup::new("").await;
    let port = resetting().await;
    for prefix in ["/reset.before", "/reset.within"] {
        register(&setup.proxy, prefix, port, "h2c", Value::Null).await;
    }
    setup.passes(&["resets"]).await;
}

/// An app that resets each stream with the error code that its path names.
async fn resetting() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(reset_all(stream));
        }
    });
    port
}

async fn reset_all(stream: TcpStream) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(reset(request.map(drop), respond));
    }
}

async fn reset(request: Request<()>, mut respond: SendResponse<Bytes>) {
    let (service, code) = request.uri().path().rsplit_once('/').unwrap();
    let reason = Reason::from(code.parse::<u32>().unwrap());
    if service == "/reset.before" {
        respond.send_reset(reason);
        return;
    }
    let mut head = Response::new(());
    let media_type = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", media_type);
    let mut answer = respond.send_response(head, false).unwrap();
    // One whole message of one byte.
    answer
        .send_data(Bytes::from_static(b"\0\0\0\0\x01x"), false)
        .unwrap();
    // What is queued would be dropped with the stream.
    tokio::time::sleep(Duration::from_millis(50)).await;
    answer.send_reset(reason);
}
