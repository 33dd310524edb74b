//! What came out, as text.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Seen;
use crate::load::{Offered, Times};

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
    println!("  control   {}", times(&outcome.beside.control));
    println!("  register  {}", times(&outcome.beside.registrations));
    println!("  back to normal after {:.0?}", outcome.recovery);
    for (error, count) in counted(offered.errors.iter().chain(&outcome.beside.errors)) {
        println!("  ERROR {count} x {error}");
    }
}

/// How long answers took since there was a connection for the request, and with the wait for that.
fn print_both(what: &str, all: &[Times]) {
    let part = |part: fn(&Times) -> Duration| all.iter().map(part).collect::<Vec<_>>();
    println!("  {what:9} {}", times(&part(|times| times.connected)));
    println!("  {:9} {}", "  in all", times(&part(|times| times.in_all)));
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
