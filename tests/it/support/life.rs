//! What the tests of a route's life need: one connection to the control API, a reader of events, and
//! proxies that come back to the same state.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::process::Command;

use super::{Client, Response, TestProxy, api_request, command, eventually, wire::Wire};

/// A connection to the control API that is used again and again.
pub(crate) struct Api(Client);

impl Api {
    pub(crate) async fn of(proxy: &TestProxy) -> Self {
        Self::at(proxy.control().await).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        Self(Client::connect(address).await)
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        target: &str,
        body: Option<Value>,
    ) -> Response {
        let request = api_request(method, target, &[], body.as_ref());
        self.0.exchange(request).await
    }

    /// Runs the command, which has to succeed.
    pub(crate) async fn ok(&mut self, method: &str, target: &str, body: Option<Value>) -> Value {
        let response = self.call(method, target, body).await;
        let status = response.status;
        assert!(
            (200..300).contains(&status),
            "{method} {target}: {status} {}",
            response.text()
        );
        response.json()
    }

    pub(crate) async fn put(&mut self, target: &str, body: Value) -> Value {
        self.ok("PUT", target, Some(body)).await
    }

    pub(crate) async fn delete(&mut self, target: &str) -> Value {
        self.ok("DELETE", target, None).await
    }

    /// What is at a path; `None` if nothing is.
    pub(crate) async fn get(&mut self, target: &str) -> Option<Value> {
        let response = self.call("GET", target, None).await;
        if response.status == 404 {
            return None;
        }
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        Some(response.json())
    }

    /// Waits until what is at a path is as it should be.
    pub(crate) async fn until(&mut self, target: &str, is_so: impl Fn(&Option<Value>) -> bool) {
        let mut last = None;
        let what = format!("{target} is as it should be");
        eventually(&what, async || {
            last = self.get(target).await;
            is_so(&last)
        })
        .await;
    }

    /// Waits until nothing is at a path.
    pub(crate) async fn until_gone(&mut self, target: &str) {
        self.until(target, Option::is_none).await;
    }
}

/// A reader of `GET /v1/events`.
pub(crate) struct Reader {
    client: Client,
    text: String,
}

/// One event as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Told {
    /// The number in its id.
    pub(crate) fn number(&self) -> u64 {
        let number = self.id.split_once('-').map(|(_, number)| number.parse());
        number.expect("an id").expect("a number")
    }
}

impl Reader {
    /// Follows the events from now on.
    pub(crate) async fn of(proxy: &TestProxy) -> Self {
        Self::after(proxy, None).await
    }

    /// Follows them from the one behind this id.
    pub(crate) async fn after(proxy: &TestProxy, last: Option<&str>) -> Self {
        Self::at(proxy, "/v1/events", last).await
    }

    /// Follows the events, and renewals of leases.
    pub(crate) async fn of_renewals(proxy: &TestProxy) -> Self {
        Self::at(proxy, "/v1/events?renewals=true", None).await
    }

    async fn at(proxy: &TestProxy, target: &str, last: Option<&str>) -> Self {
        let client = Client::connect(proxy.control().await).await;
        let mut reader = Self::asking(client, target, last).await;
        let head = reader.client.response_head().await.expect("an answer");
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        // Whoever has seen the first words misses nothing that comes later.
        while !reader.text.contains("retry:") {
            reader.more().await;
        }
        reader
    }

    /// One that has asked, and does not read.
    pub(crate) async fn hanging(proxy: &TestProxy) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 * 1024).expect("SO_RCVBUF");
        let stream = socket.connect(proxy.control().await).await;
        let wire = Wire::new(stream.expect("the proxy accepts"));
        Self::asking(Client::on(wire), "/v1/events", None).await
    }

    async fn asking(mut client: Client, target: &str, last: Option<&str>) -> Self {
        let fields: Vec<_> = last.iter().map(|id| ("Last-Event-ID", *id)).collect();
        client.send(api_request("GET", target, &fields, None)).await;
        Self {
            client,
            text: String::new(),
        }
    }

    /// Reads the head of the answer of one that hung.
    pub(crate) async fn wake(&mut self) {
        self.client.response_head().await.expect("an answer");
    }

    async fn more(&mut self) {
        let chunk = self.client.chunk().await.expect("an open connection");
        assert!(!chunk.is_empty(), "the stream has ended");
        self.text.push_str(&String::from_utf8_lossy(&chunk));
    }

    /// The next piece, which is no event.
    pub(crate) async fn comment(&mut self) -> String {
        self.text.clear();
        self.more().await;
        std::mem::take(&mut self.text)
    }

    /// Reads until the connection ends.
    pub(crate) async fn ends(&mut self) {
        drop(self.client.rest().await);
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Told {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                let text = std::mem::replace(&mut self.text, rest);
                if let Some(told) = told(&text) {
                    return told;
                }
            }
            self.more().await;
        }
    }

    /// The next event, which has to be this one.
    pub(crate) async fn expect(&mut self, name: &str) -> Told {
        let told = self.next().await;
        assert_eq!(told.name, name, "{told:?}");
        told
    }

    /// The next events, which have to be these.
    pub(crate) async fn expect_all(&mut self, names: &[&str]) -> Vec<Told> {
        let mut all = Vec::new();
        for name in names {
            all.push(self.expect(name).await);
        }
        all
    }
}

/// An event, unless it is a comment or the time to come back after.
fn told(text: &str) -> Option<Told> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::to_owned)
    };
    Some(Told {
        id: field("id: ").unwrap_or_default(),
        name: field("event: ")?,
        data: serde_json::from_str(&field("data: ")?).expect("JSON"),
    })
}

/// A folder with the state of one proxy after the other.
pub(crate) struct Home {
    folder: TempDir,
    configuration: String,
}

impl Home {
    /// A folder for an embedded store, and what else the configuration says.
    pub(crate) fn new(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let configuration = format!(
            "port: 0\ncontrol:\n  listen: 127.0.0.1:0\n{}{configuration}",
            Self::store(folder.path())
        );
        Self {
            folder,
            configuration,
        }
    }

    /// The lines of a configuration that keeps its routes in a folder.
    pub(crate) fn store(folder: &std::path::Path) -> String {
        format!(
            "state_directory: {}\nstore:\n  embedded:\n    path: routes.redb\n",
            folder.display()
        )
    }

    /// The file of the store.
    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("routes.redb")
    }

    /// Another configuration from the next start on, without the store's lines.
    pub(crate) fn set(&mut self, configuration: &str) {
        self.configuration = format!("{}{configuration}", Self::store(self.folder.path()));
    }

    /// The command that starts a proxy with this state.
    pub(crate) fn command(&self) -> Command {
        let path = self.folder.path().join("proxy.yaml");
        std::fs::write(&path, &self.configuration).expect("a file");
        let mut command = command();
        command.arg("--conf").arg(&path);
        command
    }

    /// Starts a proxy with this state.
    pub(crate) async fn start(&self) -> TestProxy {
        let directory = tempfile::tempdir().expect("a directory");
        TestProxy::spawn(self.command(), directory).await
    }
}
