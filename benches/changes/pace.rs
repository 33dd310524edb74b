//! Requests at a pace of their own, whether the answers come or not, and as fast as the answers come.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::Client;

/// How long requests took, each with the time at which it was to be sent.
#[derive(Default)]
pub(crate) struct Times(Vec<(Instant, Duration)>);

impl Times {
    /// The time that this part of the requests does not exceed, in milliseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        quantile(
            self.0.iter().map(|(_, took)| took.as_secs_f64() * 1e3),
            part,
        )
    }

    /// Those of the requests that were to be sent in this time.
    pub(crate) fn between(&self, begin: Instant, end: Instant) -> Self {
        let times = self.0.iter().filter(|(at, _)| (begin..end).contains(at));
        Self(times.copied().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The value that this part of the values does not exceed.
pub(crate) fn quantile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Sends `rate` requests a second over these connections until `done`, each at a time that was fixed
/// before; a request's time counts from there, so that one that holds up the next counts for both.
pub(crate) fn steady(
    clients: &mut [Client],
    rate: f64,
    done: &AtomicBool,
    request: impl Fn() -> Vec<u8> + Sync,
) -> Result<Times> {
    let count = clients.len();
    let step = Duration::from_secs_f64(count as f64 / rate);
    let begin = Instant::now() + Duration::from_millis(20);
    let request = &request;
    let work = |(place, client): (usize, &mut Client)| {
        let mut times = Vec::new();
        let mut at = begin + step.mul_f64(place as f64 / count as f64);
        while !done.load(Ordering::Relaxed) {
            let bytes = request();
            thread::sleep(at.saturating_duration_since(Instant::now()));
            client.ask(&bytes)?;
            times.push((at, at.elapsed()));
            at += step;
        }
        Ok(times)
    };
    let times = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|each| scope.spawn(move || work(each)))
            .collect();
        let times = threads.into_iter().map(|thread| match thread.join() {
            Ok(times) => times,
            Err(_panic) => Err("a client has panicked".into()),
        });
        times.collect::<Result<Vec<_>>>()
    })?;
    Ok(Times(times.into_iter().flatten().collect()))
}

/// Keeps the rate for a time.
pub(crate) fn steady_for(
    clients: &mut [Client],
    rate: f64,
    time: Duration,
    request: impl Fn() -> Vec<u8> + Send + Sync,
) -> Result<Times> {
    during(
        |done| steady(clients, rate, done, request),
        || {
            thread::sleep(time);
            Ok(())
        },
    )
    .map(|(times, ())| times)
}

/// Does something while something else goes on, which ends then.
pub(crate) fn during<B: Send, R>(
    beside: impl FnOnce(&AtomicBool) -> Result<B> + Send,
    work: impl FnOnce() -> Result<R>,
) -> Result<(B, R)> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| beside(&done));
        let result = work();
        done.store(true, Ordering::Relaxed);
        let beside = beside.join();
        let beside = beside.map_err(|_panic| "what goes on beside has panicked")??;
        Ok((beside, result?))
    })
}

/// Sends requests over these connections for a time, each as soon as the one before is answered; how
/// many a second. A request is told its number, which no other has.
pub(crate) fn fast(
    clients: &mut [Client],
    time: Duration,
    request: impl Fn(usize) -> Vec<u8> + Sync,
) -> Result<f64> {
    let count = clients.len();
    let start = Barrier::new(count + 1);
    let (start, request) = (&start, &request);
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(place, client)| {
                scope.spawn(move || -> Result<usize> {
                    start.wait();
                    let begin = Instant::now();
                    let mut number = 0;
                    while begin.elapsed() < time {
                        client.ask(&request(number * count + place))?;
                        number += 1;
                    }
                    Ok(number)
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        let mut sum = 0;
        for thread in threads {
            sum += thread.join().map_err(|_panic| "a client has panicked")??;
        }
        Ok(sum as f64 / begin.elapsed().as_secs_f64())
    })
}
