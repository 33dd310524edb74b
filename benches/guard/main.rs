//! The guard: how many instructions a request costs the real program, counted by valgrind's callgrind,
//! beside the figures in `figures.yaml`. A change of more than 5 % either way has to be owned.
//!
//! `make guard` compares, `make guard-accept` stores. By hand: `cargo bench --profile dev --bench guard
//! -- --check --binary target/guard/dynamic-reverse-proxy`, which takes names of scenarios too, or the
//! beginnings of names. `--self-test` proves that it finds what it has to find, without valgrind.
//!
//! How it counts, and how to read it: `README.md` beside this file.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It prints its figures.

mod client;
mod count;
mod figures;
mod http2;
mod machine;
mod origin;
mod proxy;
mod report;
mod scenario;
mod self_test;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use figures::Figures;
use scenario::Scenario;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/guard/figures.yaml");

#[derive(Parser)]
#[allow(clippy::struct_excessive_bools)] // One for each option.
struct Arguments {
    /// Compare with the stored figures, and fail if one has changed: what is done by default
    #[arg(long)]
    check: bool,
    /// Store the figures
    #[arg(long, conflicts_with_all = ["check", "scenarios"])]
    accept: bool,
    /// See that wrong figures are found, without counting
    #[arg(long, conflicts_with_all = ["check", "accept"])]
    self_test: bool,
    /// The program whose instructions are counted
    #[arg(long, required_unless_present = "self_test")]
    binary: Option<PathBuf>,
    /// Only the scenarios whose names begin so
    scenarios: Vec<String>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.binary {
        Some(binary) if !arguments.self_test => run(&arguments, binary),
        _ => self_test::run().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as it was, or has been accepted.
fn run(arguments: &Arguments, binary: &Path) -> Result<bool> {
    if let Some(reason) = machine::unfit() {
        println!("skipped: {reason}");
        return Ok(true);
    }
    let wanted = chosen(&arguments.scenarios)?;
    // A fault of the file is to be seen before minutes of counting.
    let stored = if arguments.accept {
        None
    } else {
        Some(read(FIGURES).map_err(|error| format!("{FIGURES}: {error}"))?)
    };
    machine::pin()?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guard");
    fs::create_dir_all(&folder)?;
    let mut now = Figures::new(machine::versions()?);
    for scenario in &wanted {
        let counted = count::count(scenario, binary, &folder)
            .map_err(|error| format!("{}: {error}", scenario.name))?;
        eprintln!("{:<16} {counted}", scenario.name);
        now.instructions
            .insert(scenario.name.to_owned(), counted.instructions);
    }
    let Some(stored) = stored else {
        fs::write(FIGURES, now.text())?;
        println!("stored in {FIGURES}: commit it with the reason");
        return Ok(true);
    };
    let whole = wanted.len() == scenario::ALL.len();
    let report = report::Report::new(&stored, &now, whole);
    print!("{}", report.table());
    if report.is_good() {
        return Ok(true);
    }
    eprint!("{}", report.fault(&folder));
    Ok(false)
}

fn read(path: &str) -> Result<Figures> {
    Figures::parse(&fs::read_to_string(path)?)
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    let begins = |scenario: &&Scenario| {
        let mut beginnings = names.iter();
        names.is_empty() || beginnings.any(|name| scenario.name.starts_with(name.as_str()))
    };
    let wanted: Vec<Scenario> = scenario::ALL.iter().filter(begins).copied().collect();
    if wanted.is_empty() {
        let known: Vec<_> = scenario::ALL.iter().map(|known| known.name).collect();
        let known = known.join(", ");
        return Err(format!("there is no scenario of that name; there are: {known}").into());
    }
    Ok(wanted)
}
