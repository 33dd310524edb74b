//! What the kernel says about the proxy's process.

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
