//! Moments: as seconds, and as text. Whatever comes from the network or the disk, nothing here panics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999: what comes later has no text in RFC 3339.
const LAST: u64 = 253_402_300_799;

/// Seconds since 1970; what was before is at its beginning.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The moment so many seconds after 1970, or the last that can be shown.
pub(super) fn at(seconds: u64) -> SystemTime {
    let since = Duration::from_secs(seconds.min(LAST));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// A moment as in RFC 3339; one that has no text there is shown as the first, or the last, that has.
pub(super) fn shown(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at(seconds(time))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_moment_can_be_shown() {
        let century = Duration::from_hours(24 * 365 * 100);
        assert_eq!(shown(UNIX_EPOCH - century), "1970-01-01T00:00:00Z");
        assert_eq!(shown(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(shown(at(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(shown(at(u64::MAX)), "9999-12-31T23:59:59Z");
        assert_eq!(shown(UNIX_EPOCH + 1000 * century), "9999-12-31T23:59:59Z");
    }
}
