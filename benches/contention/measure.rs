//! One piece of work on some threads at a time.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const TIME: Duration = Duration::from_millis(200);
const BATCH: u64 = 256;

/// A piece of work, by its name.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    run: Box<Run<'a>>,
}

type Run<'a> = dyn Fn(usize, &Meter) -> f64 + Sync + 'a;

/// Begins on all threads at once, and ends on all.
pub(crate) struct Meter {
    begin: Barrier,
    is_over: AtomicBool,
}

impl<'a> Case<'a> {
    /// `run` gets the thread's number, makes what it needs, and then calls [`Meter::ns`].
    pub(crate) fn new(name: &str, run: impl Fn(usize, &Meter) -> f64 + Sync + 'a) -> Self {
        Self {
            name: name.to_owned(),
            run: Box::new(run),
        }
    }

    /// The time of one operation, the mean of all threads.
    fn ns(&self, threads: usize) -> f64 {
        let meter = Meter {
            begin: Barrier::new(threads + 1),
            is_over: AtomicBool::new(false),
        };
        let sum: f64 = thread::scope(|scope| {
            let run = |number| {
                pin(number);
                (self.run)(number, &meter)
            };
            let running: Vec<_> = (0..threads)
                .map(|number| scope.spawn(move || run(number)))
                .collect();
            meter.begin.wait();
            thread::sleep(TIME);
            meter.is_over.store(true, Ordering::Relaxed);
            let times = running.into_iter().map(|t| t.join().expect("a thread"));
            times.sum()
        });
        sum / threads as f64
    }
}

impl Meter {
    /// Repeats an operation until the time is over; nanoseconds of the thread's CPU time for one, which
    /// what else the machine does is no part of.
    pub(crate) fn ns<R>(&self, mut operation: impl FnMut() -> R) -> f64 {
        for _ in 0..4 * BATCH {
            black_box(operation());
        }
        self.begin.wait();
        let (begin, mut count) = (CpuTime::now(), 0_u64);
        while !self.is_over.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                black_box(operation());
            }
            count += BATCH;
        }
        begin.elapsed() / count as f64
    }
}

/// What a thread has had of a processor, as the kernel counts it: to a tick, some ms. The clock, where
/// the kernel does not say.
struct CpuTime {
    nanoseconds: Option<u64>,
    clock: Instant,
}

impl CpuTime {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let nanoseconds = stat.as_ref().and_then(|stat| stat.split(' ').next());
        Self {
            nanoseconds: nanoseconds.and_then(|text| text.parse().ok()),
            clock: Instant::now(),
        }
    }

    /// Nanoseconds since then.
    fn elapsed(&self) -> f64 {
        let now = Self::now();
        match now.nanoseconds.zip(self.nanoseconds) {
            Some((now, begin)) => (now - begin) as f64,
            None => self.clock.elapsed().as_nanos() as f64,
        }
    }
}

/// The figures as a table.
pub(crate) struct Report {
    threads: Vec<usize>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let doubled = |threads: &usize| Some(2 * threads).filter(|threads| *threads < cores);
        let mut threads: Vec<_> = std::iter::successors(Some(1), doubled).collect();
        threads.retain(|threads| *threads < cores);
        threads.push(cores);
        Self { threads }
    }

    /// Measures in rounds, in each of which every case has its turn with every number of threads.
    pub(crate) fn group(&self, title: &str, cases: &[Case<'_>]) {
        if cases.is_empty() {
            return;
        }
        let mut times = vec![vec![Vec::new(); self.threads.len()]; cases.len()];
        for _ in 0..ROUNDS {
            for (case, times) in cases.iter().zip(&mut times) {
                for (threads, times) in self.threads.iter().zip(times) {
                    times.push(case.ns(*threads));
                }
            }
        }
        println!("\n{title}: ns for one, the median of {ROUNDS} rounds");
        print!("{:<58}", "threads");
        for threads in &self.threads {
            print!("{threads:>10}");
        }
        println!("  ratio");
        for (case, mut times) in cases.iter().zip(times) {
            let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
            print!("{:<58}", case.name);
            for ns in &medians {
                print!("{ns:>10.1}");
            }
            let ratio = medians.last().zip(medians.first()).map(|(n, one)| n / one);
            println!("{:>7.2}", ratio.unwrap_or(1.0));
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Pins this thread to a core, if `taskset` is there.
fn pin(number: usize) {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let Some(id) = thread.as_ref().and_then(|path| path.file_name()) else {
        return;
    };
    let pinning = Command::new("taskset")
        .args(["-p", "-c", &number.to_string()])
        .arg(id)
        .stdout(Stdio::null())
        .status();
    drop(pinning);
}

/// What the rest is made of: a line that one thread writes, and one that all write.
pub(crate) fn lines() -> Vec<Case<'static>> {
    let shared = AtomicU64::new(0);
    vec![
        Case::new("line: a count of each thread", |_thread, meter| {
            let own = Box::new(Line::default());
            meter.ns(|| own.0.fetch_add(1, Ordering::Relaxed))
        }),
        Case::new("line: a count of all threads", move |_thread, meter| {
            meter.ns(|| shared.fetch_add(1, Ordering::Relaxed))
        }),
    ]
}

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);
