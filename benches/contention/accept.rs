//! What a new connection costs workers that accept from one socket: how many of them it wakes.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const CONNECTIONS: u32 = 300;

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    in_vain: AtomicU64,
    is_over: AtomicBool,
}

/// Workers that have nothing else to do, and a connection every 3 ms.
pub(crate) fn report() {
    println!("\naccept: workers that are woken in vain for a connection, all of them idle");
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
        thread::sleep(Duration::from_millis(200));
        for _ in 0..CONNECTIONS {
            connect(address);
            thread::sleep(Duration::from_millis(3));
        }
        let (accepted, in_vain) = (&counts.accepted, &counts.in_vain);
        assert_eq!(accepted.load(Ordering::Relaxed), u64::from(CONNECTIONS));
        let each = in_vain.load(Ordering::Relaxed) as f64 / f64::from(CONNECTIONS);
        println!("{workers:>4} workers{each:>10.2}");
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while !counts.is_over.load(Ordering::Relaxed) {
            let mut is_woken = false;
            let accepted = poll_fn(|context| {
                let polled = listener.poll_accept(context);
                if polled.is_pending() && is_woken {
                    counts.in_vain.fetch_add(1, Ordering::Relaxed);
                }
                is_woken = true;
                polled
            });
            drop(accepted.await.expect("a connection"));
            counts.accepted.fetch_add(1, Ordering::Relaxed);
        }
    });
}
