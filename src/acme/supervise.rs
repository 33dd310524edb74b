//! Work that begins anew when a fault of our own has ended it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use log::error;

use super::failure::{LONGEST, one_line};

/// How long it is rested after the first fault, and at most: twice as long each time.
const PAUSE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// Does a work until it ends by itself: after a panic it is said, rested, and done again.
pub(super) fn supervise(mut work: impl FnMut(), mut rest: impl FnMut(Duration)) {
    let (mut pause, most) = PAUSE;
    while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) {
        let reason = one_line(said(&*panic), LONGEST);
        error!("ACME: ended by a fault of the proxy's own: {reason}; it begins anew in {pause:?}");
        rest(pause);
        pause = pause.saturating_mul(2).min(most);
    }
}

/// Returns the message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason is known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_begins_anew_and_later_each_time() {
        let (mut times, mut pauses) = (0_u32, Vec::new());
        let work = || {
            times += 1;
            assert!(times > 9, "this is the {times}. time");
        };
        supervise(work, |pause| pauses.push(pause.as_secs() / 60));
        assert_eq!(times, 10);
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
