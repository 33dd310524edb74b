//! The proxy as its users have it: the binary, a configuration file, signals.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::{Client, Response, api_request, engine, eventually, in_time};

/// What the proxy says once it accepts connections.
const STARTED: &str = "Reverse Proxy started, listening on port ";

/// A running proxy, killed when it is dropped. Its log is shown when the test fails.
pub(crate) struct TestProxy {
    child: Child,
    pid: u32,
    port: u16,
    started: String,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
    _directory: TempDir,
}

/// How a proxy ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) after: Duration,
    /// What it said on standard output after it had started.
    pub(crate) stdout: Vec<String>,
}

impl TestProxy {
    /// Starts a proxy with a configuration. It listens on a free port and has one thread, unless
    /// the configuration says otherwise.
    pub(crate) async fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("proxy.yaml");
        std::fs::write(&path, with_defaults(configuration)).expect("a file");
        let mut command = command();
        command.arg("--conf").arg(&path);
        Self::spawn(command, directory).await
    }

    /// Starts a proxy with the defaults alone.
    pub(crate) async fn plain() -> Self {
        Self::start("").await
    }

    /// Starts a prepared command; `directory` lives as long as the proxy.
    pub(crate) async fn spawn(mut command: Command, directory: TempDir) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("the binary runs");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("standard error");
        let log_reader = tokio::spawn(keep(stderr, Arc::clone(&log)));
        let stdout = child.stdout.take().expect("standard output");
        let mut proxy = Self {
            pid: child.id().expect("a running process"),
            child,
            port: 0,
            started: String::new(),
            stdout: None,
            log,
            log_reader: Some(log_reader),
            _directory: directory,
        };
        proxy
            .wait_until_started(BufReader::new(stdout).lines())
            .await;
        proxy
    }

    async fn wait_until_started(&mut self, mut lines: Lines<BufReader<ChildStdout>>) {
        loop {
            let line = in_time("the proxy starts", lines.next_line())
                .await
                .expect("text");
            let line = line.unwrap_or_else(|| panic!("the proxy ended: {}", self.log()));
            if let Some(port) = line.strip_prefix(STARTED) {
                let port = port.split(' ').next().and_then(|port| port.parse().ok());
                self.port = port.expect("a port");
                self.started = line;
                self.stdout = Some(lines);
                return;
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where clients on this machine reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where its (first) TCP listener of the control API is.
    pub(crate) async fn control(&self) -> SocketAddr {
        let mut address = None;
        eventually("the control API is listened on", async || {
            address = self
                .control_listeners()
                .find_map(|shown| shown.parse().ok());
            address.is_some()
        })
        .await;
        address.expect("an address")
    }

    /// The control listeners as the log names them, `127.0.0.1:3001` or `unix:/path`.
    pub(crate) fn control_listeners(&self) -> impl Iterator<Item = String> + use<> {
        let log = self.log();
        let shown: Vec<_> = log
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| line.trim_end().split_once("control API on "))
            .map(|(_, shown)| shown.to_owned())
            .collect();
        shown.into_iter()
    }

    /// A request to the control API with a body of JSON, or none.
    pub(crate) async fn api(&self, method: &str, target: &str, body: Option<Value>) -> Response {
        let request = api_request(method, target, &[], body.as_ref());
        Client::connect(self.control().await)
            .await
            .exchange(request)
            .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The line that says that it has started.
    pub(crate) fn started(&self) -> &str {
        &self.started
    }

    /// The log so far. What was written a moment ago may still be missing: [`logged`](Self::logged) waits.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A new process that has taken the sockets over (hot upgrade), with this configuration. What is in
    /// flight goes on in this one.
    pub(crate) async fn upgraded(&self, configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("proxy.yaml");
        std::fs::write(&file, configuration).expect("a file");
        let mut command = command();
        command.args(["-u", "-c"]).arg(&file);
        let new = tokio::spawn(Self::spawn(command, directory));
        self.signal("QUIT");
        new.await.expect("it starts")
    }

    /// Waits until the log has all of these words in one line, which it returns.
    pub(crate) async fn logged(&self, words: &[&str]) -> String {
        let mut found = None;
        eventually(&format!("the log says {words:?}"), async || {
            let log = self.log();
            let mut lines = log.lines();
            let line = lines.find(|line| words.iter().all(|word| line.contains(word)));
            found = line.map(str::to_owned);
            found.is_some()
        })
        .await;
        found.unwrap_or_default()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address()).await
    }

    /// Registers a port for a prefix, which has to succeed.
    pub(crate) async fn register(&self, prefix: &str, port: u16) {
        let body = serde_json::json!({ "prefix": prefix, "port": port }).to_string();
        let response = self.register_json(body).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// Sends a body to the registration path.
    pub(crate) async fn register_json(&self, body: impl AsRef<[u8]>) -> Response {
        self.client().await.exchange(registration(body)).await
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.pid.to_string()])
            .status();
        assert!(
            status.expect("kill runs").success(),
            "kill -{name} {}",
            self.pid
        );
    }

    /// Tells the proxy to stop and waits for its end.
    pub(crate) async fn stop(&mut self) -> Ended {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> Ended {
        let begin = Instant::now();
        let status = in_time("the proxy ends", self.child.wait())
            .await
            .expect("a status");
        let after = begin.elapsed();
        let mut stdout = Vec::new();
        if let Some(mut lines) = self.stdout.take() {
            while let Ok(Some(line)) = in_time("its output ends", lines.next_line()).await {
                stdout.push(line);
            }
        }
        if let Some(reader) = self.log_reader.take() {
            in_time("its log ends", reader)
                .await
                .expect("the log is read");
        }
        Ended {
            status,
            after,
            stdout,
        }
    }

    /// Whether the process has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.and_then(|size| size.parse().ok()).expect("VmRSS")
    }

    /// How many descriptors are open.
    pub(crate) fn open_files(&self) -> usize {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.pid));
        listed.expect("a running process").count()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of the proxy on port {}:\n{}---",
                self.port,
                self.log()
            );
        }
    }
}

/// A registration as an app sends it.
pub(crate) fn registration(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The binary, in an environment that says nothing to it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dynamic-reverse-proxy"));
    for name in ["PORT", "port", "RUST_LOG", "STATE_DIRECTORY"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
pub(crate) async fn output_of(mut command: Command) -> Output {
    command.stdin(Stdio::null()).kill_on_drop(true);
    in_time("the command ends", command.output())
        .await
        .expect("the binary runs")
}

/// Runs the binary with a configuration file and arguments before `--conf`, to its end.
pub(crate) async fn run(arguments: &[&str], configuration: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("proxy.yaml");
    std::fs::write(&path, configuration).expect("a file");
    let mut command = command();
    command.args(arguments).arg("--conf").arg(&path);
    output_of(command).await
}

/// What every test's proxy has unless its configuration says otherwise.
fn with_defaults(configuration: &str) -> String {
    let has = |key: &str| configuration.lines().any(|line| line.starts_with(key));
    let mut text = String::new();
    if !has("port:") && !has("listen:") {
        text.push_str("port: 0\n");
    }
    if !has("control:") && (has("port:") || has("listen:")) {
        // The port after the traffic's may be anybody's.
        text.push_str("control:\n  listen: 127.0.0.1:0\n");
    }
    if !has("threads:") {
        text.push_str("threads: 1\n");
    }
    if !has("overload:") {
        // Tests run beside each other on few cores: what waits for the processor is no fault.
        text.push_str("overload: {target: off}\n");
    }
    if let Some(engine) = engine::chosen().filter(|_| !has("engine:")) {
        writeln!(text, "engine: {engine}").expect("a string grows");
    }
    writeln!(text, "{configuration}").expect("a string grows");
    text
}

async fn keep(mut stderr: ChildStderr, log: Arc<Mutex<String>>) {
    let mut piece = [0; 8192];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let text = String::from_utf8_lossy(&piece[..read]);
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&text);
    }
}
