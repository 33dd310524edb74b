//! The machine: its cores, who runs where, and what it is.

use std::fs;
use std::process::Command;
use std::str::FromStr;

use serde::Serialize;

use crate::Result;

/// Which core is whose.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    /// Of the load and the origin.
    pub(crate) load: usize,
}

impl Cores {
    /// The first two.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        if count < 2 {
            return Err("a proxy and its load need a core each; this machine has one".into());
        }
        Ok(Self { proxy: 0, load: 1 })
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Vec<usize> = text
            .split(',')
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers.as_slice() {
            &[proxy, load] => Ok(Self { proxy, load }),
            _ => Err("two numbers of cores, such as 0,1".to_owned()),
        }
    }
}

/// Puts this process, and all that it starts from now on, on a core.
pub(crate) fn pin_self(core: usize) -> Result<()> {
    let pid = std::process::id().to_string();
    run("taskset", &["-acp", &core.to_string(), &pid]).map(drop)
}

/// This process, the load, before others. Not at a real-time priority: it never sleeps, and the kernel
/// would stop it for the twentieth part of each second.
pub(crate) fn hurry_self() -> Result<()> {
    let pid = std::process::id().to_string();
    run("renice", &["-n", "-20", "-p", &pid]).map(drop)
}

/// What the measurements were made on, for the results.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) date: String,
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn here() -> Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        // This process is on one core by now, so it cannot be asked how many there are.
        let cores = processor
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
        Ok(Self {
            processor: processor.to_owned(),
            cores,
            kernel: run("uname", &["-sr"])?,
            date: run("date", &["-u", "+%Y-%m-%d %H:%M UTC"])?,
            // Not every copy of the source is a repository.
            commit: run("git", &["describe", "--always", "--dirty"]).unwrap_or_default(),
        })
    }
}

/// The standard output of a command, or its standard error if that is all it says.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let out = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let err = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(format!("{program} {}: {err}", arguments.join(" ")).into());
    }
    Ok(if out.is_empty() { err } else { out })
}
