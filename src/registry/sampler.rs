//! Which failures are kept: only so many of one code in a second.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// The time for which failures are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts failures by their code, of which there are few. By default all are kept.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// How many of one code are kept in a second.
    most: Option<NonZeroU32>,
    windows: HashMap<&'static str, Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// How many were kept since then.
    kept: u32,
    /// How many were not, since the last that was.
    suppressed: u64,
}

impl Sampler {
    pub(super) fn new(most: Option<NonZeroU32>) -> Self {
        Self {
            most,
            windows: HashMap::new(),
        }
    }

    /// Whether a failure is kept: then how many of its code were not, since the last that was.
    pub(super) fn admit(&mut self, code: &'static str, now: Instant) -> Option<u64> {
        let Some(most) = self.most else {
            return Some(0);
        };
        let window = self.windows.entry(code).or_insert(Window {
            began: now,
            kept: 0,
            suppressed: 0,
        });
        if now.saturating_duration_since(window.began) >= WINDOW {
            window.began = now;
            window.kept = 0;
        }
        if window.kept >= most.get() {
            window.suppressed += 1;
            return None;
        }
        window.kept += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_one_code_are_kept_in_a_second_and_the_rest_counted() {
        let mut sampler = Sampler::new(NonZeroU32::new(2));
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let cases = [
            ("A", 0, Some(0)),
            ("A", 10, Some(0)),
            ("A", 20, None),
            ("B", 30, Some(0)),
            ("A", 999, None),
            ("A", 1000, Some(2)),
            ("B", 1010, Some(0)),
            ("A", 1020, Some(0)),
            ("A", 1030, None),
            ("A", 9000, Some(1)),
        ];
        for (code, millis, expected) in cases {
            assert_eq!(
                sampler.admit(code, at(millis)),
                expected,
                "{code} at {millis}"
            );
        }
    }

    #[test]
    fn by_default_all_are_kept() {
        let mut sampler = Sampler::default();
        let kept = (0..100).all(|_| sampler.admit("A", Instant::now()) == Some(0));
        assert!(kept);
    }
}
