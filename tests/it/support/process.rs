//! What the kernel says about the proxy's process.

use std::time::Duration;

use super::{TestProxy, eventually};

impl TestProxy {
    /// The most resident memory that it ever had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        size.and_then(|size| size.parse().ok()).expect("VmHWM")
    }

    /// How long its threads have run on a processor.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("a running process");
        // utime and stime, in hundredths of a second: proc_pid_stat(5). The name may hold spaces.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum();
        Duration::from_millis(ticks * 10)
    }

    /// Waits until no more descriptors are open than at a moment before.
    pub(crate) async fn is_back_at(&self, base: usize) {
        let mut now = 0;
        let what = format!("back at {base} descriptors");
        eventually(&what, async || {
            now = self.open_files();
            now <= base
        })
        .await;
    }
}
