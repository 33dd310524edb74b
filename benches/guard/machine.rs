//! What counts: whether it can count here, and the versions of what has a part in the figures.

use std::process::Command;

use serde::Deserialize;

use crate::Result;

/// The tools that the figures depend on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// The compiler of the proxy.
    pub(crate) rustc: String,
    /// The compiler of jemalloc and of the cryptography.
    pub(crate) cc: String,
    /// The C library, whose copying is a part of every request.
    pub(crate) libc: String,
    pub(crate) valgrind: String,
}

impl Versions {
    pub(crate) fn named(&self) -> [(&'static str, &str); 4] {
        [
            ("rustc", &self.rustc),
            ("cc", &self.cc),
            ("libc", &self.libc),
            ("valgrind", &self.valgrind),
        ]
    }
}

/// Why it cannot count here, if so.
pub(crate) fn unfit() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        let here = std::env::consts::ARCH;
        return Some(format!("the figures are for x86_64, and this is {here}"));
    }
    // Cryptography and searches choose their code by what the processor has; valgrind passes on that.
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_else(|_| String::new());
    if !processor.split_whitespace().any(|flag| flag == "avx2") {
        return Some("the figures are for processors with AVX2, and this one has none".to_owned());
    }
    None
}

/// Puts this process, and what it starts from now on, onto one processor: threads that wake each other
/// then take turns in nearly the same order every time.
pub(crate) fn pin() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    // Ranges and numbers: "0-3,8".
    let last = allowed.and_then(|list| list.trim().rsplit(['-', ',']).next());
    let last = last.ok_or("/proc/self/status does not name processors")?;
    let own = std::process::id().to_string();
    first_line(
        "taskset",
        &["--all-tasks", "--cpu-list", "--pid", last, &own],
    )
    .map(drop)
}

pub(crate) fn versions() -> Result<Versions> {
    Ok(Versions {
        rustc: first_line("rustc", &["--version"])?,
        cc: first_line("cc", &["--version"])?,
        libc: first_line("getconf", &["GNU_LIBC_VERSION"])?,
        valgrind: first_line("valgrind", &["--version"])?,
    })
}

fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let said = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(format!("{program}: {}: {}", said.status, why.trim()).into());
    }
    let text = String::from_utf8(said.stdout)?;
    Ok(text.lines().next().unwrap_or("").replace('"', "'"))
}
