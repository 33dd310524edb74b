//! The signals that a supervisor passes on.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

/// The signals that are passed on to the app.
const PASSED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// The signals that this process gets.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Takes all signals that are passed on, except those that whoever started this process wants
    /// to be ignored (`nohup`): the app inherits that.
    pub(super) fn take() -> io::Result<Self> {
        let ignored = std::fs::read_to_string("/proc/self/status")
            .as_deref()
            .map_or(0, ignored);
        PASSED
            .into_iter()
            .filter(|signal| !is_in(ignored, *signal))
            .map(|signal| {
                let kind = SignalKind::from_raw(signal as i32);
                Ok((signal, unix::signal(kind)?))
            })
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (signal, source) in &mut self.0 {
                if source.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether a signal asks for an orderly end.
pub(super) fn is_stop(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT)
}

/// The mask of ignored signals in the kernel's account of a process.
fn ignored(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn is_in(mask: u64, signal: Signal) -> bool {
    let bit = (signal as i32).saturating_sub(1);
    mask.checked_shr(bit.unsigned_abs())
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        let mask = ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n");
        assert!(is_in(mask, Signal::SIGHUP));
        assert!(is_in(mask, Signal::SIGPIPE));
        assert!(!is_in(mask, Signal::SIGINT));
        assert_eq!(ignored(""), 0);
    }
}
