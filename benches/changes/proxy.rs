//! The proxy as a process, with a folder of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Result;
use crate::client::{Address, Client, get};

const BINARY: &str = env!("CARGO_BIN_EXE_dynamic-reverse-proxy");

/// What keeps the routes.
#[derive(Clone, Copy)]
pub(crate) enum StoreKind {
    Memory,
    Embedded,
}

impl StoreKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded => "embedded",
        }
    }
}

pub(crate) struct Proxy {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Proxy {
    pub(crate) fn start(store: StoreKind) -> Result<Self> {
        // On a disk, where the store of a real proxy is.
        let folder = TempDir::with_prefix_in("changes-", env!("CARGO_TARGET_TMPDIR"))?;
        let path = folder.path().display();
        let store = match store {
            StoreKind::Memory => "memory".to_owned(),
            StoreKind::Embedded => format!("{{embedded: {{path: {path}/store}}}}"),
        };
        let conf = format!(
            "listen: ['127.0.0.1:0']\nthreads: 2\nstore: {store}\n\
             control: {{listen: 'unix:{path}/control'}}\n\
             limits: {{routes: 2000000, routes_per_owner: 2000000, instances: 2000000,\n\
             \x20 instances_per_owner: 2000000, route_memory: 8GiB}}\n"
        );
        fs::write(folder.path().join("conf.yaml"), conf)?;
        let (child, port) = launch(&folder)?;
        Ok(Self {
            child,
            port,
            folder,
        })
    }

    /// Ends it, by a signal that it heeds or by one that it cannot, and starts it again. How long it
    /// took from there until it answered a request for `path`.
    pub(crate) fn restart(&mut self, kill: bool, path: &str) -> Result<Duration> {
        if kill {
            self.child.kill()?;
        } else {
            let pid = self.child.id().to_string();
            let status = Command::new("kill").arg(&pid).status()?;
            if !status.success() {
                return Err(format!("kill {pid}: {status}").into());
            }
        }
        self.child.wait()?;
        let begin = Instant::now();
        (self.child, self.port) = launch(&self.folder)?;
        Client::connect(&self.traffic())?.ask(&get(path))?;
        Ok(begin.elapsed())
    }

    pub(crate) fn traffic(&self) -> Address {
        Address::Tcp(self.port)
    }

    pub(crate) fn control(&self) -> Address {
        Address::Unix(self.folder.path().join("control"))
    }

    /// The resident memory, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|rest| rest.split_whitespace().next());
        Ok(size.ok_or("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// The memory once it has stopped changing.
    pub(crate) fn settled_memory(&self) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut last = self.memory()?;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.memory()?;
            if now.abs_diff(last) < 256 * 1024 || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// The time that its threads have spent on a processor, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let mut sum = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split(' ').next().ok_or("no time")?.parse::<u64>()?;
        }
        Ok(sum as f64 / 1e9)
    }
}

fn launch(folder: &TempDir) -> Result<(Child, u16)> {
    // The log goes where it would go to: into a file, at the default level.
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))?;
    let mut child = Command::new(BINARY)
        .arg("-c")
        .arg(folder.path().join("conf.yaml"))
        .env_remove("RUST_LOG")
        .env_remove("PORT")
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("no standard output")?;
    BufReader::new(out).read_line(&mut line)?;
    let port = line.trim().rsplit(' ').next();
    if let Some(port) = port.and_then(|port| port.parse().ok()) {
        return Ok((child, port));
    }
    child.wait()?;
    let log = fs::read_to_string(folder.path().join("log"))?;
    Err(format!("the proxy has not started: {log}").into())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the proxy does not end: {error}");
        }
    }
}
