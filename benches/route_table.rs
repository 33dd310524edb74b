//! The route table from 1 to 1,000,000 routes: what a lookup and a change cost, what a route weighs, and
//! what readers notice of writers.
//!
//! `cargo bench --bench route_table`; about two minutes and 2 GB.

#![allow(clippy::expect_used)] // A fault is to end the bench.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use dynamic_reverse_proxy::route::{
    CaseSensitivity, Generation, HostPattern, Instance, LiveTable, PathPrefix, Route, RouteKey,
    Table, Target,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
const CHANGES_PER_SECOND: u32 = 10_000;

/// Which routes a table has.
#[derive(Clone, Copy)]
enum Kind {
    /// `/user/<name>`, for any host.
    Paths,
    /// Half of them so, and the others `/` or `/app` of a host of their own or of all below it.
    Hosts,
}

fn name() -> String {
    (0..fastrand::usize(6..12))
        .map(|_| fastrand::lowercase())
        .collect()
}

fn route(kind: Kind, number: usize) -> Arc<Route> {
    let name = name();
    let (host, prefix) = match (kind, number % 4) {
        (Kind::Hosts, 1) => (Some(format!("{name}.example.com")), "/".to_owned()),
        (Kind::Hosts, 2) => (Some(format!("{name}.example.com")), "/app".to_owned()),
        (Kind::Hosts, 3) => (Some(format!("*.{name}.example.com")), "/".to_owned()),
        _ => (None, format!("/user/{name}{number}")),
    };
    let host = host.map_or(HostPattern::Any, |h| {
        HostPattern::parse(&h).expect("a host")
    });
    let prefix = PathPrefix::parse(&prefix).expect("a prefix");
    let addresses = ["127.0.0.1:4321", "[::1]:4321"].map(|a| a.parse().expect("an address"));
    let port = NonZeroU16::new(4321).expect("a port");
    let target = Target::new("localhost", port, addresses);
    let instance = Arc::new(Instance::new(target));
    Arc::new(Route::new(
        RouteKey { host, prefix },
        instance,
        Generation(0),
    ))
}

/// A request that the route takes.
fn request(route: &Route) -> (String, String) {
    let host = match &route.host {
        HostPattern::Any => "www.example.com".to_owned(),
        HostPattern::Exact(host) => host.to_string(),
        HostPattern::Wildcard(parent) => format!("www.{parent}"),
    };
    (
        host,
        format!(
            "{}/api/items/17",
            route.prefix.as_str().trim_end_matches('/')
        ),
    )
}

struct Setting {
    live: LiveTable,
    /// Some of its routes, at random, and requests that they take.
    known: Vec<Arc<Route>>,
    requests: Vec<(String, String)>,
    /// Routes that it does not have.
    others: Vec<Arc<Route>>,
}

/// A table that got its routes one by one, as apps register.
fn setting(kind: Kind, size: usize) -> Setting {
    fastrand::seed(7);
    let live = LiveTable::new(Table::new(CaseSensitivity::Insensitive));
    let mut known = Vec::new();
    for number in 0..size {
        let route = route(kind, number);
        if fastrand::usize(0..size) < 50_000 {
            known.push(Arc::clone(&route));
        }
        live.update(|table| table.insert(route));
    }
    fastrand::shuffle(&mut known);
    let requests = known.iter().map(|route| request(route)).collect();
    let others = (0..10_000)
        .map(|number| route(kind, size + number))
        .collect();
    Setting {
        live,
        known,
        requests,
        others,
    }
}

fn operations(criterion: &mut Criterion) {
    for (kind, kind_name) in [(Kind::Paths, "paths"), (Kind::Hosts, "hosts")] {
        for size in SIZES {
            let Setting {
                live,
                known,
                requests,
                others,
            } = setting(kind, size);
            let id = |operation| BenchmarkId::new(format!("{operation}/{kind_name}"), size);
            let mut next = requests.iter().cycle();
            criterion.bench_function_over(id("lookup"), || {
                let (host, path) = next.next().expect("a request");
                black_box(live.load().lookup(host, path)).is_some()
            });
            let mut next = known.iter().cycle();
            criterion.bench_function_over(id("replace"), || {
                let route = next.next().expect("a route");
                live.update(|table| table.insert(Arc::clone(route)))
                    .is_some()
            });
            let mut next = others.iter().cycle();
            criterion.bench_function_over(id("insert and remove"), || {
                let route = next.next().expect("a route");
                live.update(|table| table.insert(Arc::clone(route)));
                live.update(|table| table.remove(&route.key())).is_some()
            });
        }
    }
}

trait BenchOver {
    fn bench_function_over(&mut self, id: BenchmarkId, operation: impl FnMut() -> bool);
}

impl BenchOver for Criterion {
    fn bench_function_over(&mut self, id: BenchmarkId, mut operation: impl FnMut() -> bool) {
        self.bench_with_input(id, &(), |bencher, ()| {
            bencher.iter(|| assert!(operation(), "the route was not there"));
        });
    }
}

fn resident_bytes() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

/// What a route weighs, itself with key and target included. Asked first, while the heap is clean.
fn bytes_per_route(kind: Kind) -> Option<(usize, Setting)> {
    let before = resident_bytes()?;
    let setting = setting(kind, 1_000_000);
    let now = resident_bytes()?;
    Some((
        now.saturating_sub(before) / setting.live.load().len().max(1),
        setting,
    ))
}

/// Lookups per second, all readers together, and the changes per second beside them.
fn lookups_per_second(setting: &Setting, readers: usize, with_changes: bool) -> (f64, f64) {
    let done = AtomicBool::new(false);
    let started = Instant::now();
    let (lookups, changes) = thread::scope(|scope| {
        let readers: Vec<_> = (0..readers)
            .map(|reader| {
                scope.spawn({
                    let done = &done;
                    move || read(setting, reader, done)
                })
            })
            .collect();
        let writer = with_changes.then(|| scope.spawn(|| write(setting, &done)));
        thread::sleep(Duration::from_secs(2));
        done.store(true, Ordering::Relaxed);
        let lookups: usize = readers
            .into_iter()
            .map(|r| r.join().expect("a reader"))
            .sum();
        (lookups, writer.map_or(0, |w| w.join().expect("the writer")))
    });
    let seconds = started.elapsed().as_secs_f64();
    (count(lookups) / seconds, count(changes) / seconds)
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn read(setting: &Setting, reader: usize, done: &AtomicBool) -> usize {
    let mut lookups = 0;
    let requests = setting.requests.iter().cycle().skip(reader * 1_000);
    for (host, path) in requests {
        assert!(setting.live.load().lookup(host, path).is_some());
        lookups += 1;
        if lookups % 1_024 == 0 && done.load(Ordering::Relaxed) {
            break;
        }
    }
    lookups
}

/// Replaces, inserts and removes at a steady pace, in small bursts.
fn write(setting: &Setting, done: &AtomicBool) -> usize {
    let started = Instant::now();
    let mut changes = 0;
    let live = &setting.live;
    for (known, other) in setting.known.iter().zip(&setting.others).cycle() {
        live.update(|table| table.insert(Arc::clone(known)));
        live.update(|table| table.insert(Arc::clone(other)));
        live.update(|table| table.remove(&other.key()));
        changes += 3;
        if done.load(Ordering::Relaxed) {
            break;
        }
        let due = Duration::from_secs(1) / CHANGES_PER_SECOND * u32::try_from(changes).unwrap_or(0);
        if let Some(early) = due.checked_sub(started.elapsed())
            && early > Duration::from_millis(1)
        {
            thread::sleep(early);
        }
    }
    changes
}

fn concurrency(setting: &Setting, size: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for readers in [1, 2] {
        for with_changes in [false, true] {
            let (lookups, changes) = lookups_per_second(setting, readers, with_changes);
            lines.push(format!(
                "{size} routes, {readers} reader(s), {changes:>6.0} changes/s: {lookups:>9.0} lookups/s"
            ));
        }
    }
    lines
}

#[allow(clippy::print_stdout)] // A bench prints.
fn main() {
    let mut report = Vec::new();
    if let Some((bytes, setting)) = bytes_per_route(Kind::Paths) {
        report.push(format!("1000000 routes: {bytes} bytes per route"));
        report.extend(concurrency(&setting, 1_000_000));
    }
    report.extend(concurrency(&setting(Kind::Paths, 100_000), 100_000));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    operations(&mut criterion);
    criterion.final_summary();
    for line in report {
        println!("{line}");
    }
}
