//! What a process and its children have used: time on a processor, and memory.

use std::fs;

use serde::Serialize;

use crate::Result;

/// The length of the kernel's unit of time in `/proc/PID/stat`: `USER_HZ` is 100 on Linux.
const TICK: f64 = 0.01;

/// Time on a processor, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// The time that a process, its threads, its children and the children that have ended have used.
pub(crate) fn cpu(pid: u32) -> Result<Cpu> {
    let mut sum = Cpu::default();
    for pid in tree(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold anything.
        let (_, rest) = stat.rsplit_once(") ").ok_or("a stat without a name")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |place: usize| -> Result<f64> {
            Ok(fields.get(place).ok_or("a short stat")?.parse::<f64>()? * TICK)
        };
        // utime, stime, and both of the children that were waited for.
        sum.user += ticks(11)? + ticks(13)?;
        sum.system += ticks(12)? + ticks(14)?;
    }
    Ok(sum)
}

/// The memory of a process and its children, in bytes; what they share counts once.
pub(crate) fn memory(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in tree(pid) {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let size = line.and_then(|rest| rest.split_whitespace().next());
        sum += size.ok_or("no Pss")?.parse::<u64>()? * 1024;
    }
    Ok(sum)
}

/// A process and its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue; // It has ended meanwhile.
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|word| word.parse::<u32>().ok()),
            );
        }
    }
    found
}
