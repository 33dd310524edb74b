//! What came out, as text.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Asked, Seen};
use crate::load::{Offered, Times};

/// A longer answer is counted by the second that its request was due in.
const LATE: Duration = Duration::from_secs(1);

/// What one run has shown.
pub(crate) struct Outcome {
    /// Requests a second.
    pub(crate) sustained: f64,
    pub(crate) rate: f64,
    pub(crate) offered: Offered,
    pub(crate) beside: Seen,
    pub(crate) recovery: Duration,
    /// How many requests the proxy says that it has shed.
    pub(crate) shed: u64,
}

pub(crate) fn print(outcome: &Outcome) {
    let offered = &outcome.offered;
    println!(
        "  sustained {:.0}/s, offered {:.0}/s, not sent {}",
        outcome.sustained, outcome.rate, offered.not_sent
    );
    print_both("served", &offered.served);
    print_both("shed", &offered.shed);
    if !offered.refused.is_empty() {
        print_both("refused", &offered.refused);
    }
    println!(
        "  shed by the proxy's own count {}, without Retry-After {}",
        outcome.shed, offered.without_retry_after
    );
    print_asked("control", &outcome.beside.control);
    print_asked("register", &outcome.beside.registrations);
    println!("  back to normal after {:.0?}", outcome.recovery);
    for (error, count) in counted(offered.errors.iter().chain(&outcome.beside.errors)) {
        println!("  ERROR {count} x {error}");
    }
}

/// How long answers took since there was a connection for the request, and with the wait for that.
fn print_both(what: &str, all: &[Times]) {
    let part = |part: fn(&Times) -> Duration| all.iter().map(part).collect::<Vec<_>>();
    println!("  {what:10} {}", times(&part(|times| times.answer)));
    if all.iter().any(|times| times.is_resent) {
        let taken = all.iter().filter(|times| !times.is_resent);
        let taken: Vec<_> = taken.map(|times| times.answer).collect();
        println!("    accepted {}", times(&taken));
    }
    let connects: Vec<_> = all.iter().filter_map(|times| times.connect).collect();
    if !connects.is_empty() {
        println!("    connect  {}", times(&connects));
    }
    println!("    in all   {}", times(&part(|times| times.in_all)));
    print_late(all);
}

/// Within which seconds of the load those were due whose answers took too long, though the connection was
/// accepted at once.
fn print_late(all: &[Times]) {
    let mut seconds = BTreeMap::new();
    for times in all {
        if times.answer > LATE && !times.is_resent {
            *seconds.entry(times.due.as_secs()).or_insert(0_u32) += 1;
        }
    }
    if !seconds.is_empty() {
        println!("    over {LATE:?}, by the second: {seconds:?}");
    }
}

fn print_asked(what: &str, all: &[Asked]) {
    let connects: Vec<_> = all.iter().map(|asked| asked.connect).collect();
    let answers: Vec<_> = all.iter().map(|asked| asked.answer).collect();
    println!("  {what:10} {}", times(&answers));
    println!("    connect  {}", times(&connects));
}

fn times(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |share: f64| {
        let index = (sorted.len() as f64 * share) as usize;
        sorted
            .get(index.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let (half, most, worst) = (at(0.5), at(0.99), at(1.0));
    format!(
        "{:>8}: p50 {half:.1?}, p99 {most:.1?}, max {worst:.1?}",
        sorted.len()
    )
}

fn counted<'a>(errors: impl Iterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for error in errors {
        *counts.entry(error.as_str()).or_insert(0) += 1;
    }
    counts
}
