//! The command line.

use std::path::PathBuf;
use std::time::Duration;

/// What the load is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// HTTP/1.1 on connections that stay.
    Kept,
    /// HTTP/1.1 on a connection for each request.
    New,
    /// HTTP/2 in cleartext, 100 streams on each connection.
    Http2,
    /// HTTP/1.1 on a TLS connection for each request, without resumption.
    Tls,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::New => "new",
            Self::Http2 => "h2",
            Self::Tls => "tls",
        }
    }
}

const MODES: [Mode; 4] = [Mode::Kept, Mode::New, Mode::Http2, Mode::Tls];

/// What is asked for.
pub(crate) struct Args {
    pub(crate) proxy: PathBuf,
    pub(crate) engine: String,
    pub(crate) modes: Vec<Mode>,
    /// For how long there is too much.
    pub(crate) time: Duration,
    /// The offered rate, as a multiple of the sustained one.
    pub(crate) factor: f64,
    /// The most connections of the load.
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// The share of a core that the proxy has.
    pub(crate) share: f64,
}

impl Args {
    /// Reads the command line; what it does not know ends the process with a usage line.
    pub(crate) fn parse() -> Self {
        let mut args = Self {
            proxy: PathBuf::from("target/release/dynamic-reverse-proxy"),
            engine: "direct".to_owned(),
            modes: MODES.to_vec(),
            time: Duration::from_mins(1),
            factor: 4.0,
            connections: 8000,
            threads: 2,
            share: 0.25,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--bench" {
                continue; // Cargo's.
            }
            let value = words.next().unwrap_or_default();
            let is_known = match word.as_str() {
                "--proxy" => set(&mut args.proxy, Some(value.into())),
                "--engine" => set(&mut args.engine, Some(value)),
                "--mode" => set(&mut args.modes, modes(&value)),
                "--seconds" => set(
                    &mut args.time,
                    value.parse().ok().map(Duration::from_secs_f64),
                ),
                "--factor" => set(&mut args.factor, value.parse().ok()),
                "--connections" => set(&mut args.connections, value.parse().ok()),
                "--share" => set(&mut args.share, value.parse().ok()),
                "--threads" => set(&mut args.threads, value.parse().ok()),
                _ => false,
            };
            if !is_known {
                eprintln!(
                    "overload [--proxy FILE] [--engine direct|pingora] [--mode kept,new,h2,tls] \
                     [--seconds 60] [--factor 4] [--connections 8000] [--threads 2] [--share 0.25]"
                );
                std::process::exit(2);
            }
        }
        args
    }
}

fn set<T>(place: &mut T, value: Option<T>) -> bool {
    let is_some = value.is_some();
    if let Some(value) = value {
        *place = value;
    }
    is_some
}

fn modes(text: &str) -> Option<Vec<Mode>> {
    let mode = |name| MODES.into_iter().find(|mode| mode.name() == name);
    text.split(',').map(mode).collect()
}
