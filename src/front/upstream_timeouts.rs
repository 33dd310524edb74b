//! How long an origin may be silent.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How long the origin may keep this request waiting; shared with the proxy's phases, which see
/// the connection only as `&dyn IO`. Milliseconds, 0 for no limit.
#[derive(Debug, Default)]
pub(crate) struct UpstreamTimeouts {
    first_byte: AtomicU32,
    between_bytes: AtomicU32,
    /// Whether the answer has begun; interim responses do not count.
    answered: AtomicBool,
}

impl UpstreamTimeouts {
    /// Sets both limits for the request in progress.
    pub(crate) fn set(&self, first_byte: Option<Duration>, between_bytes: Option<Duration>) {
        self.first_byte.store(millis(first_byte), Ordering::Relaxed);
        self.between_bytes
            .store(millis(between_bytes), Ordering::Relaxed);
    }

    /// From now on the pauses within the answer count.
    pub(crate) fn begin_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether the answer has begun.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Forgets the request before.
    pub(super) fn reset(&self) {
        self.set(None, None);
        self.answered.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.first_byte.load(Ordering::Relaxed) | self.between_bytes.load(Ordering::Relaxed) != 0
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        let field = if self.is_answered() {
            &self.between_bytes
        } else {
            &self.first_byte
        };
        match field.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis.into())),
        }
    }
}

fn millis(limit: Option<Duration>) -> u32 {
    limit.map_or(0, |limit| {
        u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)
    })
}

/// The origin has been silent for longer than the configuration allows.
#[derive(Debug, thiserror::Error)]
#[error("the origin was silent for {after:?}")]
pub(crate) struct UpstreamSilent {
    after: Duration,
}

impl UpstreamSilent {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after }
    }
}
