//! `run`: an app on a free port, registered as long as it runs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::support::cli::{Done, Edge, api, client, configuration, token};
use crate::support::{Client, TestProxy, eventually, get, in_time, output_of};

/// An app: `/slow` is answered when the file `go` is there, `/exit` ends it with 7, `SIGUSR1` with 9.
const APP: &str = r#"
import http.server, os, signal, sys, time

signal.signal(signal.SIGUSR1, lambda *arguments: os._exit(9))

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/exit"):
            os._exit(7)
        if self.path.endswith("/slow"):
            open("begun", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        body = os.environ.get("NAME", "app").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ["PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), App).serve_forever()
"#;

/// A running `run`, in a process group of its own as a shell would start it.
struct Run(Child);

impl Run {
    fn start(edge: &Edge, options: &[&str]) -> Self {
        Self::spawn(edge.command(&[]), edge.path().to_owned(), options)
    }

    fn spawn(mut command: Command, place: PathBuf, options: &[&str]) -> Self {
        command
            .args(["run", "--prefix", "/app"])
            .args(options)
            .args(["--", "python3", "-c", APP])
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Self(command.spawn().expect("the binary runs"))
    }

    /// Sends a signal to it, or to its whole group as ctrl-C does.
    fn signal(&self, name: &str, is_for_group: bool) {
        let pid = self.0.id().expect("a running process");
        let target = if is_for_group {
            format!("-{pid}")
        } else {
            pid.to_string()
        };
        let status = std::process::Command::new("kill")
            .args([&format!("-{name}"), "--", &target])
            .status();
        assert!(
            status.expect("kill runs").success(),
            "kill -{name} {target}"
        );
    }

    async fn ended(self) -> Done {
        let output = in_time("the end of run", self.0.wait_with_output()).await;
        output.expect("a status").into()
    }
}

async fn serves(proxy: &TestProxy, text: &str) {
    let address = proxy.address();
    eventually("the app is reached", async || {
        get(address, "/app").await.text() == text
    })
    .await;
}

async fn is_gone(proxy: &TestProxy) {
    assert_eq!(get(proxy.address(), "/app").await.status, 501);
}

/// A client that waits for `/app/slow`, once the app is at it.
async fn slow(edge: &Edge) -> Client {
    let mut client = edge.proxy.client().await;
    client
        .send("GET /app/slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let begun = edge.path().join("begun");
    eventually("the request is with the app", async || begun.exists()).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn it_registers_renews_and_leaves() {
    let edge = Edge::start().await;
    let run = Run::start(&edge, &["--ttl", "1s", "--owner", "me"]);
    serves(&edge.proxy, "app").await;
    let shown = edge.json(&["routes", "get", "/app", "--json"]).await;
    assert_eq!(shown["instances"][0]["ttl"], "1s");
    assert_eq!(shown["instances"][0]["owner"], "me");
    // Three times the lease, and never without it.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert_eq!(get(edge.proxy.address(), "/app").await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.signal("TERM", false);
    let done = run.ended().await;
    assert_eq!(done.code, Some(128 + 15), "{done:?}");
    is_gone(&edge.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_before_it_reaches_the_app() {
    for (signal, is_for_group, code) in [("TERM", false, 143), ("INT", true, 130)] {
        let edge = Edge::start().await;
        let run = Run::start(&edge, &["--drain", "60s", "--ttl", "30s"]);
        serves(&edge.proxy, "app").await;
        let mut client = slow(&edge).await;
        run.signal(signal, is_for_group);
        let address = edge.proxy.address();
        eventually("no new requests", async || {
            get(address, "/app").await.status == 501
        })
        .await;
        std::fs::write(edge.path().join("go"), "").expect("a file");
        assert_eq!(client.response().await.text(), "app");
        let done = run.ended().await;
        assert_eq!(done.code, Some(code), "{signal}: {done:?}");
        edge.run(&["routes", "get", "/app"])
            .await
            .is(3, "NO_SUCH_ROUTE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_goes_through_at_once() {
    let edge = Edge::start().await;
    let run = Run::start(&edge, &["--drain", "60s", "--ttl", "30s"]);
    serves(&edge.proxy, "app").await;
    let _client = slow(&edge).await;
    run.signal("TERM", false);
    let address = edge.proxy.address();
    eventually("no new requests", async || {
        get(address, "/app").await.status == 501
    })
    .await;
    run.signal("TERM", false);
    assert_eq!(run.ended().await.code, Some(143));
    edge.run(&["routes", "get", "/app"])
        .await
        .is(3, "NO_SUCH_ROUTE");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_ends_is_taken_out_and_its_code_passed_on() {
    let edge = Edge::start().await;
    let run = Run::start(&edge, &["--ttl", "1h"]);
    serves(&edge.proxy, "app").await;
    get(edge.proxy.address(), "/app/exit").await;
    assert_eq!(run.ended().await.code, Some(7));
    is_gone(&edge.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_signals_are_passed_on_at_once() {
    for (signal, code) in [("USR1", 9), ("HUP", 129), ("QUIT", 131)] {
        let edge = Edge::start().await;
        let run = Run::start(&edge, &["--ttl", "1h", "--drain", "60s"]);
        serves(&edge.proxy, "app").await;
        run.signal(signal, false);
        let done = run.ended().await;
        assert_eq!(done.code, Some(code), "{signal}: {done:?}");
        is_gone(&edge.proxy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_none_is_told() {
    let edge = Edge::start().await;
    let run = ["run", "--prefix", "/app"];
    let with = |rest: &[&'static str]| [&run[..], rest].concat();
    let done = edge.run(&with(&["--", "sh", "-c", "exit 9"])).await;
    done.is(9, "ended before it listened");
    let done = edge
        .run(&with(&["--ready-timeout", "300ms", "--", "sleep", "60"]))
        .await;
    done.is(1, "$PORT");
    edge.run(&with(&["--", "/no/such/program"]))
        .await
        .is(127, "/no/such/program");
    let port = edge.proxy.port().to_string();
    let taken = [&run[..], &["--port", &port, "--", "sleep", "60"]].concat();
    edge.run(&taken).await.is(1, &port);
    let reserved = ["run", "--prefix", "/register", "--", "python3", "-c", APP];
    edge.run(&reserved).await.is(2, "RESERVED_PREFIX");
    is_gone(&edge.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_in_arguments_and_hosts_are_kept() {
    let edge = Edge::start().await;
    let mut command = edge.command(&[
        "run",
        "--prefix",
        "/app",
        "--req-host-name",
        "a.com",
        "b.com",
    ]);
    command
        .args([
            "--instance",
            "one",
            "--",
            "env",
            "-u",
            "PORT",
            "python3",
            "-c",
            APP,
            "{port}",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .current_dir(edge.path())
        .kill_on_drop(true);
    let run = Run(command.spawn().expect("it runs"));
    let address = edge.proxy.address();
    eventually("it is reached", async || {
        let mut client = Client::connect(address).await;
        let answer = client
            .exchange("GET /app HTTP/1.1\r\nHost: b.com\r\n\r\n")
            .await;
        answer.status == 200
    })
    .await;
    is_gone(&edge.proxy).await;
    // Another instance stays when this one leaves.
    edge.ok(&[
        "routes",
        "put",
        "a.com/app",
        "--port",
        "4321",
        "--instance",
        "two",
    ])
    .await;
    run.signal("TERM", false);
    assert_eq!(run.ended().await.code, Some(143));
    let left = edge.json(&["routes", "get", "a.com/app", "--json"]).await;
    assert_eq!(left["instances"][0]["id"], "two");
    assert_eq!(left["instances"].as_array().map(Vec::len), Some(1));
    edge.run(&["routes", "get", "b.com/app"])
        .await
        .is(3, "NO_SUCH_ROUTE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_restarted_gets_it_back() {
    let mut edge = Edge::start().await;
    let run = Run::start(&edge, &["--ttl", "1s"]);
    serves(&edge.proxy, "app").await;
    edge.restart().await;
    serves(&edge.proxy, "app").await;
    run.signal("TERM", false);
    assert_eq!(run.ended().await.code, Some(143));
    is_gone(&edge.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_comes_later_gets_it_too() {
    let place = tempfile::tempdir().expect("a directory");
    let command = client(&api(place.path()), &[]);
    let run = Run::spawn(command, place.path().to_owned(), &["--ttl", "1s"]);
    let proxy = TestProxy::start(&configuration(place.path())).await;
    serves(&proxy, "app").await;
    run.signal("TERM", false);
    assert_eq!(run.ended().await.code, Some(143));
    is_gone(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_process_takes_over() {
    let edge = Edge::start().await;
    let old = Run::start(&edge, &["--ttl", "1s"]);
    serves(&edge.proxy, "app").await;
    let mut command = edge.command(&[]);
    command.env("NAME", "new");
    let new = Run::spawn(command, edge.path().to_owned(), &["--ttl", "1s"]);
    serves(&edge.proxy, "new").await;
    old.signal("TERM", false);
    assert_eq!(old.ended().await.code, Some(143));
    serves(&edge.proxy, "new").await;
    new.signal("TERM", false);
    assert_eq!(new.ended().await.code, Some(143));
    is_gone(&edge.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_starts_nothing() {
    let command = client(
        "nowhere",
        &["run", "--prefix", "/app", "--", "touch", "/no"],
    );
    Done::from(output_of(command).await).is(2, "DYNAMIC_REVERSE_PROXY_API");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_register_is_enough() {
    let place = tempfile::tempdir().expect("a directory");
    let (token, entry) = token("shop", "register").await;
    let tokens = place.path().join("tokens.yaml");
    std::fs::write(&tokens, format!("tokens:\n{entry}")).expect("a file");
    let file = place.path().join("token");
    std::fs::write(&file, format!("{token}\n")).expect("a file");
    let configuration = format!(
        "control:\n  listen: 127.0.0.1:0\n  tokens: {}\n",
        tokens.display()
    );
    let proxy = TestProxy::start(&configuration).await;
    let api = format!("http://{}", proxy.control().await);

    Done::from(output_of(client(&api, &["routes", "list"])).await).is(5, "--token-file");
    let mut list = client(&api, &["routes", "list", "--token-file"]);
    list.arg(&file);
    Done::from(output_of(list).await).is(5, "FORBIDDEN");
    let mut wrong = client(&api, &["status"]);
    wrong.env("DYNAMIC_REVERSE_PROXY_TOKEN", "drp_wrong");
    Done::from(output_of(wrong).await).is(5, "UNAUTHENTICATED");

    let file = file.to_str().expect("text");
    let options = ["--token-file", file, "--ttl", "1s", "--drain", "1s"];
    let run = Run::spawn(client(&api, &[]), place.path().to_owned(), &options);
    serves(&proxy, "app").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    serves(&proxy, "app").await;
    run.signal("TERM", false);
    let done = run.ended().await;
    assert_eq!(done.code, Some(143), "{done:?}");
    assert!(!done.err.contains("drp_"), "{done:?}");
    assert!(!done.err.contains("drained"), "{done:?}");
    is_gone(&proxy).await;
}
