//! A process that has a share of a core: by a control group where there is one, else by stopping it for the
//! rest of the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a period is of which a process may run for its share, in microseconds.
const PERIOD: u32 = 100_000;

/// Holds a process until it is dropped.
pub(crate) enum Hold {
    Group(PathBuf, u32),
    Signals(Arc<AtomicBool>, Option<JoinHandle<()>>),
}

impl Hold {
    pub(crate) fn to(share: f64, pid: u32) -> Self {
        let quota = (f64::from(PERIOD) * share) as u32;
        let name = format!("overload-{pid}");
        let version2 = Path::new("/sys/fs/cgroup").join(&name);
        let version1 = Path::new("/sys/fs/cgroup/cpu").join(&name);
        // What else runs on the machine does not make the share smaller.
        let quota2 = [
            ("cpu.weight", "10000".to_owned()),
            ("cpu.max", format!("{quota} {PERIOD}")),
        ];
        let quota1 = [
            ("cpu.shares", "100000".to_owned()),
            ("cpu.cfs_period_us", PERIOD.to_string()),
            ("cpu.cfs_quota_us", quota.to_string()),
        ];
        if group(&version2, &quota2, pid) {
            return Self::Group(version2, pid);
        }
        if group(&version1, &quota1, pid) {
            return Self::Group(version1, pid);
        }
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = Arc::clone(&done);
            move || stop_and_go(pid, quota, &done)
        });
        Self::Signals(done, Some(thread))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Group(..) => "held by a control group",
            Self::Signals(..) => "stopped for a part of each 100 ms",
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        match self {
            Self::Group(folder, pid) => {
                let root = folder.parent().map(|root| root.join("cgroup.procs"));
                if let Some(root) = root {
                    complain(fs::write(root, pid.to_string()));
                }
                complain(fs::remove_dir(folder));
            }
            Self::Signals(done, thread) => {
                done.store(true, Ordering::Relaxed);
                if let Some(thread) = thread.take() {
                    drop(thread.join());
                }
            }
        }
    }
}

fn complain(done: std::io::Result<()>) {
    if let Err(error) = done {
        eprintln!("a control group is left behind: {error}");
    }
}

/// Makes a control group with these settings, and puts the process there; whether that worked.
fn group(folder: &Path, settings: &[(&str, String)], pid: u32) -> bool {
    if fs::create_dir(folder).is_err() {
        return false;
    }
    let has_settings = settings.iter().all(|(file, value)| {
        folder.join(file).exists() && fs::write(folder.join(file), value).is_ok()
    });
    if has_settings && fs::write(folder.join("cgroup.procs"), pid.to_string()).is_ok() {
        return true;
    }
    complain(fs::remove_dir(folder));
    false
}

fn stop_and_go(pid: u32, quota: u32, done: &AtomicBool) {
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &pid.to_string()]).status();
        sent.is_ok_and(|status| status.success())
    };
    while !done.load(Ordering::Relaxed) && signal("-STOP") {
        thread::sleep(Duration::from_micros((PERIOD - quota).into()));
        signal("-CONT");
        thread::sleep(Duration::from_micros(quota.into()));
    }
}
