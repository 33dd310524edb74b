//! What changes of the routes cost, and what the traffic notices of them: the real program as a process
//! of its own, changed and asked over sockets, beside the limits that it has to keep.
//!
//! `cargo bench --bench changes`, about four minutes. `-- batch steady` runs what is named so, `--
//! --quick` takes smaller tables and less time, and does not prove the limits. What is going on goes to
//! standard error, the table to standard output.
//!
//! Client and app run beside the proxy on the same cores, so what they need is a part of the figures.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It prints its figures.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // Figures for people, of three digits.

mod app;
mod batch;
mod client;
mod leases;
mod million;
mod pace;
mod proxy;
mod register;
mod restart;
mod routes;
mod steady;

use std::time::Duration;

use proxy::StoreKind;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    quick: bool,
}

impl Plan {
    /// A time, or a third of it.
    fn time(self, full: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { full / 3.0 } else { full })
    }

    /// A number of routes, or a tenth of it.
    fn size(self, full: usize) -> usize {
        if self.quick { full / 10 } else { full }
    }

    /// A number of rounds, or a third of it.
    fn rounds(self, full: usize) -> usize {
        if self.quick { full.div_ceil(3) } else { full }
    }
}

/// The figures, as they come.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// A figure that has no limit.
    fn tell(&mut self, what: impl Into<String>, figure: impl Into<String>) {
        self.row(what.into(), figure.into(), String::new(), "");
    }

    /// A figure that has to be at most `limit`.
    fn at_most(&mut self, what: impl Into<String>, figure: f64, limit: f64, unit: &str) {
        let holds = if figure <= limit { "yes" } else { "NO" };
        let figure = format!("{figure:.3} {unit}");
        self.row(what.into(), figure, format!("<= {limit} {unit}"), holds);
    }

    /// A figure that has to be at least `limit`.
    fn at_least(&mut self, what: impl Into<String>, figure: f64, limit: f64, unit: &str) {
        let holds = if figure >= limit { "yes" } else { "NO" };
        let figure = format!("{figure:.0} {unit}");
        self.row(what.into(), figure, format!(">= {limit} {unit}"), holds);
    }

    fn row(&mut self, what: String, figure: String, limit: String, holds: &str) {
        eprintln!("  {what}: {figure}  {limit} {holds}");
        self.rows.push([what, figure, limit, holds.to_owned()]);
    }

    fn print(&self) {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(String::len).max().unwrap_or(0)
        };
        let (what, figure, limit) = (width(0), width(1), width(2));
        println!(
            "{:what$}  {:>figure$}  {:>limit$}  holds",
            "", "figure", "limit"
        );
        for [name, value, bound, holds] in &self.rows {
            println!("{name:what$}  {value:>figure$}  {bound:>limit$}  {holds}");
        }
    }
}

type Measure = fn(Plan, &mut Report) -> Result<()>;

fn main() -> Result<()> {
    let measures: [(&str, Measure); 7] = [
        ("batch", |plan, report| {
            batch::run(plan, StoreKind::Memory, report)?;
            batch::run(plan, StoreKind::Embedded, report)
        }),
        ("register", |plan, report| {
            register::run(plan, StoreKind::Memory, report)?;
            register::run(plan, StoreKind::Embedded, report)
        }),
        ("steady-memory", |plan, report| {
            steady::run(plan, StoreKind::Memory, report)
        }),
        ("steady-embedded", |plan, report| {
            steady::run(plan, StoreKind::Embedded, report)
        }),
        ("million", million::run),
        ("restart", restart::run),
        ("leases", leases::run),
    ];
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = Plan {
        quick: arguments.iter().any(|argument| argument == "--quick"),
    };
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let mut report = Report::default();
    for (name, measure) in measures {
        if names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str())) {
            eprintln!("{name}");
            measure(plan, &mut report)?;
        }
    }
    if report.rows.is_empty() {
        let known = measures.map(|(name, _)| name).join(", ");
        return Err(format!("there is nothing of that name; there are: {known}").into());
    }
    report.print();
    Ok(())
}
