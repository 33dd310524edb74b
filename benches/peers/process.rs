//! A process that is measured, or that serves those that are: on its core, with a log, and ended with
//! this one, however that ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;

/// Where, and how urgently, a process runs.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) core: usize,
    /// How many cores, from that one on.
    pub(crate) cores: usize,
    pub(crate) realtime: bool,
}

/// What is to be run.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Program {
    pub(crate) fn new<A: Into<String>>(
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            path: path.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The command, on its core. The kernel ends it when the thread that starts it ends: after a
    /// panic, Ctrl-C or SIGKILL too. SIGTERM, because some have children of their own to end.
    pub(crate) fn command(&self, place: Place) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c"]);
        let last = place.core + place.cores - 1;
        command.arg(format!("{}-{last}", place.core));
        if place.realtime {
            command.args(["chrt", "--rr", "1"]);
        }
        command.arg(&self.path).args(&self.arguments);
        command.env_remove("RUST_LOG").env_remove("PORT");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A process that runs, until this is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes into `log`.
    pub(crate) fn start(program: &Program, place: Place, log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let child = program
            .command(place)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// `setpriv`, `taskset` and `chrt` become the program, so this is the program's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub(crate) fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.trim().lines().collect();
        lines
            .get(lines.len().saturating_sub(5)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// An error if it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("it has ended, {status}: {}", self.said()).into()),
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("process {} does not end: {error}", self.child.id());
        }
    }
}
