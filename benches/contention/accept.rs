//! What a new connection costs workers that accept from one socket: how many of them it wakes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

const CONNECTIONS: u32 = 300;

/// What the workers tell.
#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    is_over: AtomicBool,
    threads: Mutex<Vec<PathBuf>>,
}

impl Counts {
    /// How often the workers' threads have been woken after they had gone to sleep, and the
    /// nanoseconds that they have had of a processor.
    fn sums(&self) -> (u64, u64) {
        let threads = self.threads.lock();
        let wakes = threads.iter().map(|thread| sleeps(thread)).sum();
        (wakes, threads.iter().map(|thread| cpu_time(thread)).sum())
    }
}

/// Workers that have nothing else to do, and a connection every 3 ms.
pub(crate) fn report() {
    println!("\naccept: threads that wake for one connection, all of them idle before");
    for workers in [1, 2, 4, 16, 64] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a port");
        let counts = Arc::<Counts>::default();
        let running: Vec<_> = (0..workers)
            .map(|_| {
                let (listener, counts) = (listener.try_clone(), Arc::clone(&counts));
                thread::spawn(move || work(listener.expect("a copy"), &counts))
            })
            .collect();
        thread::sleep(Duration::from_millis(300));
        let before = counts.sums();
        for _ in 0..CONNECTIONS {
            connect(address);
            thread::sleep(Duration::from_millis(3));
        }
        let after = counts.sums();
        let wakes = (after.0 - before.0) as f64 / f64::from(CONNECTIONS);
        let cpu = (after.1 - before.1) as f64 / f64::from(CONNECTIONS) / 1e3;
        let accepted = counts.accepted.load(Ordering::Relaxed);
        assert_eq!(accepted, u64::from(CONNECTIONS));
        println!("{workers:>4} workers{wakes:>10.2} wakes{cpu:>10.1} us of CPU time");
        counts.is_over.store(true, Ordering::Relaxed);
        while !running.iter().all(thread::JoinHandle::is_finished) {
            connect(address);
            thread::sleep(Duration::from_millis(1));
        }
        for worker in running {
            worker.join().expect("a worker");
        }
    }
}

fn connect(address: SocketAddr) {
    drop(TcpStream::connect(address).expect("a connection"));
}

/// A worker as Pingora has it: a runtime of one thread, and a copy of the listening socket.
fn work(listener: TcpListener, counts: &Counts) {
    let thread = std::fs::read_link("/proc/thread-self").expect("a thread");
    counts.threads.lock().push(thread);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while !counts.is_over.load(Ordering::Relaxed) {
            drop(listener.accept().await.expect("a connection"));
            counts.accepted.fetch_add(1, Ordering::Relaxed);
        }
    });
}

fn told(thread: &Path, file: &str) -> String {
    let path = Path::new("/proc").join(thread).join(file);
    std::fs::read_to_string(path).expect("a thread")
}

/// The nanoseconds that a thread has had of a processor.
fn cpu_time(thread: &Path) -> u64 {
    let times = told(thread, "schedstat");
    let time = times.split(' ').next().expect("a time");
    time.parse().expect("a number")
}

/// How often a thread has gone to sleep of its own will.
fn sleeps(thread: &Path) -> u64 {
    let status = told(thread, "status");
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let count = count.expect("a count of switches");
    count.trim().parse().expect("a number")
}
