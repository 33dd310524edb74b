//! What threads pay for what they share: the work of a request and of a connection on state that all
//! workers of the proxy have, on one thread, two, and so on to all cores. Beside it the same work as it
//! would be with counts and locks that all threads write: what sharing costs on this machine.
//!
//! `cargo bench --bench contention`, about two minutes; `-- hold visit` measures what is named so. Each
//! thread is pinned to a core of its own, where `taskset` is installed.

#![allow(clippy::print_stdout)] // It prints its figures.
#![allow(clippy::expect_used)] // A fault is to end the bench.
#![allow(clippy::cast_precision_loss)] // Figures for people, of three digits.

mod accept;
mod connection;
mod measure;
mod request;
mod runtime;

use measure::{Case, Report};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(&**wanted));
    let report = Report::new();
    let setting = request::Setting::new();
    let groups: [(&str, Vec<Case<'_>>); 5] = [
        ("one line of memory", measure::lines()),
        ("a request's route", setting.routes()),
        ("what else a request asks", runtime::cases()),
        ("a request's shared work, all of it", setting.requests()),
        ("a connection, or a stream of HTTP/2", connection::cases()),
    ];
    for (title, cases) in groups {
        let cases = cases.into_iter().filter(|case| is_wanted(&case.name));
        let cases: Vec<_> = cases.collect();
        report.group(title, &cases);
    }
    let mut beside = setting.routes();
    beside.extend(setting.requests());
    beside.retain(|case| is_wanted(&case.name));
    if !beside.is_empty() {
        let title = "the same beside 1,000 changes a second of other routes";
        setting.while_others_change(|| report.group(title, &beside));
    }
    if is_wanted("accept") {
        accept::report();
    }
}
