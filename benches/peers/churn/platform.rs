//! The platform: starts apps, registers them, and has them leave or die.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinSet;

use super::app::Settings;
use super::connection::Connection;
use super::count::{Churn, Identity, Stage};
use super::visitor::{some_time, visit};
use super::{ABSENCE, APPS, LIFETIME, UP_AT_FIRST, VISITORS};
use crate::client::{Address, get};
use crate::peer::Registrar;
use crate::{Result, routes};

/// How long the proxy may take to accept a change, or to lead to an app.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a refused change, or a visit in vain, is repeated.
const AGAIN: Duration = Duration::from_millis(1);
/// How long all the first apps may take to come.
const OPENING: Duration = Duration::from_mins(1);
/// How many of these start at a time.
const AT_A_TIME: usize = 8;

/// The apps of a proxy.
pub(crate) struct Platform {
    pub(crate) front: u16,
    pub(crate) registrar: Registrar,
    pub(crate) closing: AtomicBool,
    stages: Vec<Mutex<Stage>>,
    /// Held during a change where the proxy's API takes one at a time.
    turn: tokio::sync::Mutex<()>,
    /// None while nothing counts.
    churn: Mutex<Option<Churn>>,
    errors: Mutex<Vec<String>>,
}

/// An app that runs.
struct Running {
    child: Child,
    /// It ends when this does.
    _stdin: ChildStdin,
    api: Connection,
    number: usize,
    life: u64,
    port: u16,
}

/// How an app ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It deregisters, then stops.
    Stop,
    /// It is killed, and nobody tells the proxy.
    Death,
}

/// What a platform has seen.
pub(crate) struct Seen {
    pub(crate) churn: Churn,
    pub(crate) errors: Vec<String>,
}

impl Platform {
    pub(crate) fn new(front: u16, registrar: Registrar) -> Arc<Self> {
        Arc::new(Self {
            front,
            registrar,
            closing: AtomicBool::new(false),
            stages: (0..APPS).map(|_| Mutex::new(Stage::Away)).collect(),
            turn: tokio::sync::Mutex::new(()),
            churn: Mutex::new(None),
            errors: Mutex::default(),
        })
    }

    /// Opens with the first apps up, then counts for this long. `measured` is called when that begins and
    /// when it ends.
    pub(crate) async fn run(
        self: Arc<Self>,
        time: Duration,
        mut measured: impl FnMut() -> Result<()>,
    ) -> Result<Seen> {
        let mut apps = JoinSet::new();
        self.open(&mut apps).await?;
        let mut visitors = JoinSet::new();
        for _ in 0..VISITORS {
            visitors.spawn(visit(Arc::clone(&self)));
        }
        // All connections are made, and kept ones used, before anything counts.
        tokio::time::sleep(Duration::from_millis(500)).await;
        *self.churn.lock() = Some(Churn::default());
        measured()?;
        tokio::time::sleep(time).await;
        measured()?;
        let mut churn = self.churn.lock().take().unwrap_or_default();
        churn.first.sort_unstable();
        self.closing.store(true, Ordering::Relaxed);
        visitors.join_all().await;
        // The apps are killed with their tasks.
        apps.shutdown().await;
        let errors = std::mem::take(&mut *self.errors.lock());
        Ok(Seen { churn, errors })
    }

    /// Lets all apps live, and waits until the first ones are up.
    async fn open(self: &Arc<Self>, apps: &mut JoinSet<()>) -> Result<()> {
        let (opened, mut opening) = mpsc::channel(APPS);
        let gate = Arc::new(Semaphore::new(AT_A_TIME));
        for number in 0..APPS {
            let first = (number < UP_AT_FIRST).then(|| (opened.clone(), Arc::clone(&gate)));
            apps.spawn(Arc::clone(self).live(number, first));
        }
        drop(opened);
        let open = async { while opening.recv().await.is_some() {} };
        if tokio::time::timeout(OPENING, open).await.is_err() {
            let errors = std::mem::take(&mut *self.errors.lock());
            let why = errors.first().map_or("", String::as_str);
            return Err(format!("the first apps are not up in a minute: {why}").into());
        }
        Ok(())
    }

    pub(crate) fn stage(&self, app: usize) -> Stage {
        self.stages
            .get(app)
            .map_or(Stage::Away, |stage| *stage.lock())
    }

    fn set(&self, app: usize, to: Stage) {
        if let Some(stage) = self.stages.get(app) {
            *stage.lock() = to;
        }
    }

    /// Counts something, if it counts now.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Churn)) {
        if let Some(churn) = &mut *self.churn.lock() {
            count(churn);
        }
    }

    /// An app comes and goes for ever; a first one comes at once, and says when it is up.
    async fn live(self: Arc<Self>, number: usize, mut first: Option<(Sender<()>, Arc<Semaphore>)>) {
        for life in 1.. {
            let come = async {
                // All drop here what is theirs of the opening.
                let first = first.take();
                let _place = if let Some((_, gate)) = &first {
                    gate.acquire().await.ok()
                } else {
                    tokio::time::sleep(some_time(&ABSENCE)).await;
                    None
                };
                self.come(number, life).await
            };
            let lived = match come.await {
                Ok(running) => self.stay(running).await,
                Err(error) => Err(error),
            };
            if let Err(error) = lived {
                self.errors.lock().push(error.to_string());
                self.set(number, Stage::Dead);
            }
        }
    }

    /// Starts an app, registers it, and visits it for the first time.
    async fn come(&self, number: usize, life: u64) -> Result<Running> {
        let (child, stdin, port) = start(Identity { app: number, life }).await?;
        let api = Connection::new(self.registrar.register.clone());
        let mut running = Running {
            child,
            _stdin: stdin,
            api,
            number,
            life,
            port,
        };
        let begun = Instant::now();
        self.register(&mut running).await?;
        self.set(number, Stage::Up { life });
        self.first_visit(number).await?;
        self.count(|churn| {
            churn.starts += 1;
            churn.add_first(begun.elapsed());
        });
        Ok(running)
    }

    /// Asks until the app answers.
    async fn first_visit(&self, number: usize) -> Result<()> {
        let mut connection = Connection::new(Address::Tcp(self.front));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let response = connection.ask(&get(&routes::path(number))).await;
            let identity = response.ok().and_then(|got| Identity::read(&got.body));
            if identity.is_some_and(|identity| identity.app == number) {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(format!("no response of app {number} in 10 s after its registration").into())
    }

    /// The app is up for a while, then leaves or dies.
    async fn stay(&self, mut running: Running) -> Result<()> {
        let lifetime = LIFETIME.mul_f32(-(1.0 - fastrand::f32()).ln());
        let ends = Instant::now() + lifetime;
        let pace = self.registrar.ttl.map_or(lifetime, |ttl| ttl / 3);
        loop {
            let left = ends.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(pace)).await;
            if left <= pace {
                break;
            }
            self.register(&mut running).await?;
        }
        let end = if fastrand::bool() {
            End::Stop
        } else {
            End::Death
        };
        self.end(running, end).await
    }

    async fn end(&self, mut running: Running, end: End) -> Result<()> {
        let (number, life) = (running.number, running.life);
        if end == End::Stop {
            self.set(number, Stage::Leaving { life });
            let mut api = Connection::new(self.registrar.deregister.clone());
            let request = (self.registrar.deregistration)(number);
            // A 404: its registration has lapsed.
            self.change(&mut api, &[request], true).await?;
            self.count(|churn| churn.stops += 1);
            running.signal(Signal::SIGTERM)?;
        } else {
            self.set(number, Stage::Dead);
            self.count(|churn| churn.deaths += 1);
            running.signal(Signal::SIGKILL)?;
        }
        running.child.wait().await?;
        if end == End::Stop {
            self.set(number, Stage::Away);
        }
        Ok(())
    }

    async fn register(&self, running: &mut Running) -> Result<()> {
        let requests = (self.registrar.registrations)(running.number, running.port);
        self.change(&mut running.api, &requests, false).await
    }

    /// Has the proxy make a change: by the first of these requests that is not answered by 404, which is
    /// good as well if `absent` says so, and again until one is accepted.
    async fn change(&self, api: &mut Connection, requests: &[Vec<u8>], absent: bool) -> Result<()> {
        let _turn = if self.registrar.one_at_a_time {
            Some(self.turn.lock().await)
        } else {
            None
        };
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            for request in requests {
                match api.ask(request).await {
                    Ok(response) if (200..300).contains(&response.status) => return Ok(()),
                    Ok(response) if response.status == 404 && absent => return Ok(()),
                    Ok(response) if response.status == 404 => "404".clone_into(&mut last),
                    Ok(response) => {
                        let said = String::from_utf8_lossy(&response.body);
                        last = format!("{} {said}", response.status);
                        break;
                    }
                    Err(fault) => {
                        last = format!("{fault:?}");
                        break;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(format!("a change was not accepted in 10 s: {last}").into())
    }
}

impl Running {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().ok_or("an app has ended by itself")?;
        kill(Pid::from_raw(pid.cast_signed()), signal)?;
        Ok(())
    }
}

/// Starts an app, and waits until it listens.
async fn start(identity: Identity) -> Result<(Child, ChildStdin, u16)> {
    let settings = serde_json::to_string(&Settings { identity })?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--app", &settings])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take().ok_or("no input")?;
    let said = child.stdout.take().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).await?;
    let port = line
        .trim()
        .parse()
        .map_err(|error| format!("an app says {line:?} and not its port: {error}"))?;
    Ok((child, stdin, port))
}
