//! The load bench: the proxy beside what one would pick instead, in interleaved rounds, each proxy
//! alone on one core and the load with the origin on another.
//!
//! `make bench`, or `cargo bench --bench peers -- --help`. The method and the results are in
//! `benches/README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It prints its figures.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // Figures for people, of three digits.

mod args;
mod bare;
mod churn;
#[path = "../changes/client.rs"]
#[allow(dead_code)] // Not all of it is used here.
mod client;
mod identity;
mod load;
mod machine;
mod measure;
mod origin;
mod peer;
mod process;
mod progress;
mod relay;
mod report;
#[path = "../changes/routes.rs"]
#[allow(dead_code)] // Not all of it is used here.
mod routes;
mod scenario;
mod self_test;
mod stats;

use clap::Parser;

/// The allocator of the proxy itself, for the bare proxy that this program can be.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    // The bare proxy, the relay and the apps are this program too, each in a process of its own.
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("--bare") => bare::serve(&words.next().ok_or("--bare takes its settings")?),
        Some("--app") => churn::app::serve(&words.next().ok_or("--app takes its settings")?),
        Some("--self-test") => self_test::run(),
        Some("--relay") => relay::serve(&words.next().ok_or("--relay takes its settings")?),
        _ => scenario::run(args::Args::parse()),
    }
}
