//! The results: kept as JSON, shown as tables and charts.

pub(crate) mod chart;
pub(crate) mod panels;
pub(crate) mod table;

use std::path::Path;

use serde::Serialize;

use crate::Result;
use crate::args::Args;
use crate::churn::count::Churn;
use crate::load::closed::Closed;
use crate::machine::{Cores, Machine};
use crate::measure::Cpu;
use crate::peer::{BARE, NGINX, NGINX_TRIXIE, OURS};
use crate::stats::Spread;

/// All of a run.
#[derive(Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) cores: Cores,
    /// The arguments of the command line.
    pub(crate) command: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// Names and versions.
    pub(crate) peers: Vec<(&'static str, String)>,
    pub(crate) scenarios: Vec<ScenarioResult>,
}

/// A scenario's.
#[derive(Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What CPU time is told for.
    pub(crate) unit: &'static str,
    pub(crate) rows: Vec<Row>,
    /// Who was not measured, and why.
    pub(crate) left_out: Vec<(&'static str, String)>,
}

/// A peer's.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) peer: &'static str,
    /// The peer's version, in short.
    pub(crate) version: String,
    pub(crate) samples: Vec<Sample>,
    pub(crate) latencies: Vec<Latency>,
    /// What became of the requests in each round, where apps come and go.
    pub(crate) churn: Vec<Churn>,
    /// At the end, in bytes (PSS).
    pub(crate) memory: u64,
    /// Of a connection that is idle, in bytes.
    pub(crate) each: Option<f64>,
    /// CPU time, to nginx's, to the bare proxy's, to this proxy's, and to its own under easier conditions,
    /// in the same rounds.
    pub(crate) to_nginx: Option<Spread>,
    pub(crate) to_nginx_trixie: Option<Spread>,
    pub(crate) to_bare: Option<Spread>,
    /// Where apps come and go.
    pub(crate) to_ours: Option<Spread>,
    pub(crate) to_own: Option<Spread>,
}

/// A round of the closed load.
#[derive(Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Cpu,
    /// A round with any does not count.
    pub(crate) errors: Vec<String>,
}

/// A round at a fixed rate: quantiles in microseconds.
#[derive(Serialize)]
pub(crate) struct Latency {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Sample {
    pub(crate) fn new(round: usize, closed: &Closed) -> Self {
        let mut errors = closed.errors.clone();
        if errors.is_empty() && closed.requests == 0 {
            errors.push("no answer at all".to_owned());
        }
        Self {
            round,
            requests: closed.requests,
            seconds: closed.seconds,
            cpu: closed.cpu,
            errors,
        }
    }

    pub(crate) fn failed(round: usize, error: String) -> Self {
        Self {
            round,
            requests: 0,
            seconds: 0.0,
            cpu: Cpu::default(),
            errors: vec![error],
        }
    }

    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// CPU time of a request, in microseconds.
    pub(crate) fn micros(&self) -> f64 {
        self.cpu.total() * 1e6 / self.requests as f64
    }

    /// How busy the proxy's core was, at most 1.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.total() / self.seconds
    }
}

impl Row {
    pub(crate) fn new(name: String, peer: &'static str) -> Self {
        Self {
            name,
            peer,
            version: String::new(),
            samples: Vec::new(),
            latencies: Vec::new(),
            churn: Vec::new(),
            memory: 0,
            each: None,
            to_nginx: None,
            to_nginx_trixie: None,
            to_bare: None,
            to_ours: None,
            to_own: None,
        }
    }

    /// The rounds that count.
    pub(crate) fn good(&self) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.errors.is_empty())
    }

    pub(crate) fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.good().map(figure))
    }

    /// Ratios to another's CPU time, of rounds that count for both.
    fn ratio(&self, base: &Self) -> Option<Spread> {
        let ratios = self.good().filter_map(|sample| {
            let base = base.good().find(|other| other.round == sample.round)?;
            Some(sample.micros() / base.micros())
        });
        Spread::of(ratios)
    }
}

impl ScenarioResult {
    /// Leaves a peer out, with a word.
    pub(crate) fn leave_out(&mut self, peer: &'static str, why: &str) {
        let why = why.trim().replace(['\n', '\r'], " ");
        self.left_out.push((peer, why.chars().take(200).collect()));
    }

    /// Works out the ratios.
    pub(crate) fn compare(&mut self) {
        let to = |rows: &[Row], name: &str| -> Vec<Option<Spread>> {
            let base = rows.iter().find(|row| row.name == name);
            rows.iter()
                .map(|row| row.ratio(base?).filter(|_| row.name != name))
                .collect()
        };
        let to_nginx = to(&self.rows, NGINX);
        let to_nginx_trixie = to(&self.rows, NGINX_TRIXIE);
        let to_bare = to(&self.rows, BARE);
        let to_ours = to(&self.rows, OURS);
        let to_own: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let with_one = with_one_route(row.peer);
                let named = |name: &str| self.rows.iter().find(|other| other.name == name);
                let own = named(&with_one).or_else(|| named(row.peer))?;
                row.ratio(own).filter(|_| row.name != own.name)
            })
            .collect();
        let nginx = to_nginx.into_iter().zip(to_nginx_trixie);
        let ours = to_ours.into_iter().zip(to_own);
        let ratios = nginx.zip(to_bare).zip(ours);
        for (row, ((nginx, bare), ours)) in self.rows.iter_mut().zip(ratios) {
            (row.to_nginx, row.to_nginx_trixie) = nginx;
            row.to_bare = bare;
            (row.to_ours, row.to_own) = ours;
            if row.churn.is_empty() {
                row.to_ours = None;
            }
        }
    }

    /// Puts the versions of the peers into the rows.
    pub(crate) fn name_versions(&mut self, peers: &[(&'static str, String)]) {
        for row in &mut self.rows {
            let version = peers.iter().find(|(name, _)| *name == row.peer);
            let version = version.map_or("", |(_, version)| short(version));
            version.clone_into(&mut row.version);
        }
    }
}

/// The number in what a program says of its version, without what the distribution adds; empty if there is
/// none.
pub(crate) fn short(version: &str) -> &str {
    let mut words = version
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'));
    let number = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let end = |other: char| matches!(other, '-' | '+' | '~' | ',');
    number.and_then(|word| word.split(end).next()).unwrap_or("")
}

/// The name of a peer's row where it has only one route, beside its row with many.
pub(crate) fn with_one_route(peer: &str) -> String {
    format!("{peer}, one route")
}

impl Results {
    /// Writes the JSON.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(folder.join("results.json"), text + "\n")?;
        Ok(())
    }
}

/// Writes what is for people, and says where it is.
pub(crate) fn finish(results: &Results, args: &Args) -> Result<()> {
    results.write(&args.out)?;
    let mut folders = vec![args.out.as_path()];
    folders.extend(args.charts.as_deref());
    for folder in folders {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("results.md"), table::markdown(results))?;
        chart::draw(results, folder)?;
        panels::draw(results, folder)?;
    }
    println!("{}", table::plain(results));
    println!("results: {}", args.out.canonicalize()?.display());
    Ok(())
}
