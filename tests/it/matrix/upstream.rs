//! Upstreams that do what a case says: the listener, what they note, and HTTP/1.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::case::{Asked, Case, Script, Step};
use super::pair::Upstream;
use super::upstream_http2;
use super::wire::{Framing, Head, Io, Wire};
use crate::support::eventually;

/// How long to wait for the end of a connection.
const END: Duration = Duration::from_secs(5);

/// A scripted upstream, until it is dropped.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    /// What a registration says of where it is and how it is spoken to.
    pub(crate) target: Value,
    task: JoinHandle<()>,
    _folder: TempDir,
}

/// What all connections of an upstream know.
pub(crate) struct Shared {
    pub(crate) cases: Arc<Vec<Case>>,
    /// What was asked, by the name of the case.
    asked: Mutex<HashMap<String, Vec<Asked>>>,
}

/// One request as it is being noted.
#[derive(Clone)]
pub(crate) struct Note {
    shared: Arc<Shared>,
    name: String,
    at: usize,
}

impl Server {
    /// Starts an upstream; with TLS, one has to say who it is.
    pub(crate) async fn start(
        upstream: Upstream,
        cases: &Arc<Vec<Case>>,
        tls: Arc<ServerConfig>,
    ) -> Self {
        let shared = Arc::new(Shared {
            cases: Arc::clone(cases),
            asked: Mutex::default(),
        });
        let folder = tempfile::tempdir().expect("a folder");
        let (target, task) = if upstream == Upstream::Unix {
            let path = folder.path().join("app.sock");
            let listener = UnixListener::bind(&path).expect("a socket");
            (
                json!({ "unix": path }),
                tokio::spawn(accept_unix(listener, Arc::clone(&shared))),
            )
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("an address").port();
            let acceptor = upstream.has_tls().then(|| TlsAcceptor::from(tls));
            let task = accept_tcp(listener, acceptor, upstream.is_http2(), Arc::clone(&shared));
            (target(upstream, port), tokio::spawn(task))
        };
        Self {
            shared,
            target,
            task,
            _folder: folder,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn target(upstream: Upstream, port: u16) -> Value {
    let tls = json!({ "profile": "own" });
    match upstream {
        Upstream::Http1 | Upstream::Unix => json!({ "port": port }),
        Upstream::Https => json!({ "port": port, "protocol": "http1", "https": tls }),
        Upstream::H2c => json!({ "port": port, "protocol": "h2c" }),
        Upstream::H2Tls => json!({ "port": port, "protocol": "h2", "https": tls }),
    }
}

async fn accept_unix(listener: UnixListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(Io::Unix(stream), Arc::clone(&shared)));
    }
}

async fn accept_tcp(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    is_http2: bool,
    shared: Arc<Shared>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // Small writes in a row must not wait for each other.
            drop(stream.set_nodelay(true));
            let io = match acceptor {
                None => Io::Tcp(stream),
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => Io::Tls(Box::new(stream)),
                    Err(_) => return,
                },
            };
            if is_http2 {
                upstream_http2::serve(io, shared).await;
            } else {
                serve(io, shared).await;
            }
        });
    }
}

impl Shared {
    /// The case that a request target names: `/m/NAME`, with whatever behind it.
    pub(crate) fn case(&self, target: &str) -> Option<&Case> {
        let (_, name) = target.split_once("/m/")?;
        let name = name.split(['/', '?']).next()?;
        self.cases.iter().find(|case| case.name == name)
    }

    /// Notes a request whose head has come.
    pub(crate) fn note(self: &Arc<Self>, asked: Asked) -> Note {
        let name = self.case(&asked.target).map_or("next", |case| case.name);
        let mut all = self.asked.lock();
        let requests = all.entry(name.to_owned()).or_default();
        requests.push(asked);
        Note {
            shared: Arc::clone(self),
            name: name.to_owned(),
            at: requests.len() - 1,
        }
    }

    /// What was asked in a case, in order, once the upstream is done with it.
    pub(crate) async fn asked(&self, name: &str) -> Vec<Asked> {
        let mut asked = Vec::new();
        eventually("the upstream is done", async || {
            let all = self.asked.lock();
            asked = all.get(name).cloned().unwrap_or_default();
            asked.iter().all(|asked| !asked.is_awaiting)
        })
        .await;
        asked
    }
}

impl Note {
    /// Adds to the note.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Asked)) {
        let mut all = self.shared.asked.lock();
        let noted = all.get_mut(&self.name).and_then(|all| all.get_mut(self.at));
        change(noted.expect("a note"));
    }
}

/// A connection of HTTP/1: requests one after the other.
async fn serve(io: Io, shared: Arc<Shared>) {
    let mut wire = Wire::new(io);
    while let Some(head) = wire.head().await {
        let asked = head.and_then(|head| asked(&head));
        let asked = asked.unwrap_or_else(|fault| Asked {
            fault: Some(fault),
            ..Asked::default()
        });
        let script = shared
            .case(&asked.target)
            .and_then(|case| case.http1.clone());
        let script = script.unwrap_or_else(next);
        let mut request = Request {
            framing: asked.framing.unwrap_or(Framing::None),
            body: Vec::new(),
            note: shared.note(asked),
            wire,
        };
        if script.reads_body {
            request.read_body().await;
        }
        for step in &script.steps {
            if request.step(step).await.is_break() {
                return request.leave(step).await;
            }
        }
        wire = request.wire;
    }
}

/// What is answered to the request that follows that of a case.
fn next() -> Script {
    Script {
        reads_body: true,
        steps: vec![Step::Send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext".to_vec(),
        )],
    }
}

fn asked(head: &Head) -> Result<Asked, String> {
    let (method, rest) = head.line.split_once(' ').ok_or(head.line.clone())?;
    let (target, version) = rest.rsplit_once(' ').ok_or(head.line.clone())?;
    let hosts = head.fields.all("host");
    Ok(Asked {
        method: method.to_owned(),
        target: target.to_owned(),
        version: match version {
            "HTTP/1.1" => "HTTP/1.1",
            "HTTP/1.0" => "HTTP/1.0",
            _ => return Err(format!("version {version:?}")),
        },
        authority: hosts.into_iter().map(str::to_owned).collect(),
        fields: head.fields.clone(),
        // RFC 9112, 6.3: a request without any framing has no body.
        framing: Some(head.framing(Framing::None)?),
        ..Asked::default()
    })
}

/// A request of HTTP/1 that is being answered.
struct Request {
    wire: Wire<Io>,
    framing: Framing,
    body: Vec<u8>,
    note: Note,
}

impl Request {
    async fn read_body(&mut self) {
        let read = self.wire.body(self.framing).await;
        self.note.update(|asked| match read {
            Ok((body, is_whole)) => {
                self.body.clone_from(&body);
                asked.body = body;
                asked.is_whole = is_whole;
            }
            Err(fault) => asked.fault = Some(fault),
        });
    }

    async fn send(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        if self.wire.io.write_all(bytes).await.is_err() || self.wire.io.flush().await.is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// One step; after the last of a connection, it is left.
    async fn step(&mut self, step: &Step) -> ControlFlow<()> {
        match step {
            Step::Send(bytes) => self.send(bytes).await,
            Step::ReadBody => {
                self.read_body().await;
                ControlFlow::Continue(())
            }
            Step::ReadSome(count) => {
                self.wire.bytes(*count).await;
                ControlFlow::Continue(())
            }
            Step::EchoBody => {
                let body = std::mem::take(&mut self.body);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                self.send(&[head.as_bytes(), &body].concat()).await
            }
            Step::Echo => loop {
                let piece = self.wire.piece().await;
                if piece.is_empty() {
                    return ControlFlow::Break(());
                }
                self.send(&piece).await?;
            },
            Step::Drip(bytes) => loop {
                self.send(bytes).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
            Step::AwaitEnd => {
                self.note.update(|asked| asked.is_awaiting = true);
                // Bytes are those of another request: the connection is closed, so that its client need not wait.
                let next = timeout(END, self.wire.piece()).await;
                let has_ended = next.is_ok_and(|bytes| bytes.is_empty());
                self.note.update(|asked| {
                    asked.has_ended = Some(has_ended);
                    asked.is_awaiting = false;
                });
                ControlFlow::Break(())
            }
            Step::Close | Step::Drop | Step::Truncate | Step::Reset => ControlFlow::Break(()),
        }
    }

    /// Ends the connection as the last step says.
    async fn leave(mut self, step: &Step) {
        match step {
            Step::Close => {
                drop(self.wire.io.shutdown().await);
                drop(timeout(END, self.wire.rest()).await);
            }
            Step::Truncate => self.wire.io.truncate().await,
            Step::Reset => self.wire.io.reset(),
            _ => {}
        }
    }
}
