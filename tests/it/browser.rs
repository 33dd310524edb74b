//! A real browser, Debian's Chromium without a window, on a page behind the proxy: TLS, HTTP/2,
//! requests from scripts, events, and a WebSocket.

use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::support::{Origin, OriginConnection, TestProxy, in_time};
use crate::tls::{Authority, tls_port};

/// The page does everything that it can, and then says what it has seen.
const PAGE: &str = r#"<!doctype html><title>test</title><link rel=stylesheet href=/style.css>
<script>
const seen = {};
const say = () => fetch("/report", { method: "POST", body: JSON.stringify(seen) });
const numbers = async () => {
  const all = [...Array(60).keys()].map(n => fetch("/data/" + n).then(answer => answer.json()));
  return (await Promise.all(all)).reduce((sum, { number }) => sum + number, 0);
};
const upload = async () => {
  const body = new Uint8Array(300000).fill(7);
  return (await (await fetch("/upload", { method: "PUT", body })).json()).length;
};
const events = () => new Promise((done, fail) => {
  const source = new EventSource("/events"), got = [];
  source.onmessage = ({ data }) => { got.push(data); if (data === "3") { source.close(); done(got.join()); } };
  source.onerror = () => fail("an event stream broke");
});
const socket = () => new Promise((done, fail) => {
  const socket = new WebSocket("wss://" + location.host + "/ws"), large = "x".repeat(1 << 20);
  socket.onopen = () => { socket.send("hello"); socket.send(large); };
  let count = 0;
  socket.onmessage = ({ data }) => {
    if (++count === 1 && data !== "hello" || count === 2 && data !== large) fail("another message");
    if (count === 2) socket.close(4001, "enough");
  };
  socket.onclose = ({ code, reason, wasClean }) => done([code, reason, wasClean].join());
  socket.onerror = () => fail("a WebSocket broke");
});
addEventListener("load", async () => {
  for (const [name, work] of Object.entries({ numbers, upload, events, socket })) {
    try { seen[name] = await work(); } catch (error) { seen[name] = "failed: " + error; }
  }
  const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  seen.protocols = [...new Set(entries.map(entry => entry.nextHopProtocol))].join();
  seen.styled = getComputedStyle(document.body).color;
  seen.secure = isSecureContext;
  await say();
});
</script><body>hello</body>"#;

async fn answer(visit: &mut OriginConnection, kind: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    drop(visit.offer(format!("{head}\r\n{body}")).await);
}

async fn serve(mut visit: OriginConnection, reports: mpsc::UnboundedSender<Value>) {
    while let Some(request) = visit.request().await {
        let path = request.target();
        if let Some(number) = path.strip_prefix("/data/") {
            let body = format!("{{\"number\":{number}}}");
            answer(&mut visit, "application/json", &body).await;
            continue;
        }
        match path {
            "/" => answer(&mut visit, "text/html", PAGE).await,
            "/style.css" => answer(&mut visit, "text/css", "body { color: rgb(1, 2, 3) }").await,
            "/upload" => {
                let body = format!("{{\"length\":{}}}", request.body.len());
                answer(&mut visit, "application/json", &body).await;
            }
            "/events" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                            Transfer-Encoding: chunked\r\n\r\n";
                visit.send(head).await;
                for number in 1..=3 {
                    visit.send_chunk(&format!("data: {number}\n\n")).await;
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                // The browser closes it.
                drop(visit.rest().await);
            }
            "/report" => {
                answer(&mut visit, "text/plain", "thanks").await;
                let report = serde_json::from_slice(&request.body).expect("JSON");
                // A second report is nobody's.
                drop(reports.send(report));
            }
            _ => visit.answer(404, "").await,
        }
    }
}

/// The base64 of the SHA-256 of a certificate's key, as Chromium wants it.
async fn fingerprint(authority: &Authority) -> String {
    let shell = "openssl x509 -in shop.pem -pubkey -noout | openssl pkey -pubin -outform der \
                 | openssl dgst -sha256 -binary | openssl base64";
    let output = Command::new("sh")
        .args(["-c", shell])
        .current_dir(authority.path())
        .output();
    let output = in_time("openssl", output).await.expect("openssl");
    String::from_utf8(output.stdout)
        .expect("base64")
        .trim()
        .to_owned()
}

fn chromium(profile: &std::path::Path, key: &str, url: &str) -> Child {
    Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .arg("--host-resolver-rules=MAP shop.test 127.0.0.1, EXCLUDE localhost")
        .arg(format!("--ignore-certificate-errors-spki-list={key}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        // Keeps the page open without a window.
        .args(["--remote-debugging-port=0", url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromium is installed")
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_is_served() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let (sender, mut reports) = mpsc::unbounded_channel();
    let app = Origin::start(move |visit| serve(visit, sender.clone())).await;
    let sockets = Origin::start(|mut visit| async move {
        let accepted = tokio_tungstenite::accept_async(&mut visit.stream).await;
        let mut socket = accepted.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let proxy = TestProxy::start(&authority.configuration("shop", "threads: 2\n")).await;
    proxy.register("/", app.port()).await;
    proxy.register("/ws", sockets.port()).await;
    let port = tls_port(&proxy).await;
    let profile = tempfile::tempdir().expect("a folder");
    let key = fingerprint(&authority).await;
    let url = format!("https://shop.test:{port}/");
    let mut browser = chromium(profile.path(), &key, &url);
    let report = tokio::time::timeout(std::time::Duration::from_mins(1), reports.recv()).await;
    browser.kill().await.expect("an end");
    let report = report.expect("the page reports").expect("a report");
    assert_eq!(
        report,
        json!({
            "numbers": 59 * 60 / 2,
            "upload": 300_000,
            "events": "1,2,3",
            "socket": "4001,enough,true",
            "protocols": "h2",
            "styled": "rgb(1, 2, 3)",
            "secure": true,
        })
    );
    for request in app.requests() {
        assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    }
}
