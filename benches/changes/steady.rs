//! What traffic notices of a thousand changes a second.

use crate::client::{Client, get, json};
use crate::pace::{during, quantile, steady, steady_for};
use crate::proxy::{Proxy, StoreKind};
use crate::routes::{BATCH, path, prefix};
use crate::{Plan, Report, Result, app, routes};

/// Requests a second: far less than would keep the machine busy.
const RATE: f64 = 2000.0;
const CHANGES: f64 = 1000.0;
/// The routes that the requests are for: few enough that the connections to their apps are kept. The
/// others change.
const ASKED: usize = 64;

pub(crate) fn run(plan: Plan, store: StoreKind, report: &mut Report) -> Result<()> {
    let size = plan.size(BATCH);
    let app = app::start()?;
    let proxy = Proxy::start(store)?;
    routes::load(&proxy.control(), size, app, "")?;
    let mut clients = Client::many(&proxy.traffic(), 32)?;
    let mut controls = Client::many(&proxy.control(), 8)?;
    let request = || get(&path(fastrand::usize(0..ASKED)));
    let change = || {
        // Another owner each time, so that each is a change.
        let body = format!(r#"{{"port":{app},"owner":"{}"}}"#, fastrand::u32(..));
        let place = prefix(fastrand::usize(ASKED..size));
        json("PUT", &format!("/v1/routes/*{place}"), &body)
    };
    steady_for(&mut clients, RATE, plan.time(2.0), request)?;
    let (mut without, mut with, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut spent = 0.0;
    let time = plan.time(2.0);
    for _ in 0..plan.rounds(9) {
        let before = proxy.cpu()?;
        let times = steady_for(&mut clients, RATE, time, request)?;
        without.push(times.quantile(0.99));
        let between = proxy.cpu()?;
        let (made, times) = during(
            |done| steady(&mut controls, CHANGES, done, change),
            || steady_for(&mut clients, RATE, time, request),
        )?;
        with.push(times.quantile(0.99));
        changes.push(made);
        spent += (proxy.cpu()? - between) - (between - before);
        eprintln!(
            "  p99 {:.3} ms, {:.3} ms with {} changes",
            without.last().unwrap_or(&f64::NAN),
            with.last().unwrap_or(&f64::NAN),
            changes.last().map_or(0, crate::pace::Times::len),
        );
    }
    let middle = |values: &[f64]| quantile(values.iter().copied(), 0.5);
    let ratios: Vec<f64> = with.iter().zip(&without).map(|(a, b)| a / b).collect();
    let range = |values: &[f64]| {
        let (least, most) = (
            quantile(values.iter().copied(), 0.0),
            quantile(values.iter().copied(), 1.0),
        );
        format!("{least:.2} to {most:.2}")
    };
    let name = store.name();
    report.at_most(
        format!("p99 with {CHANGES} changes/s to without, {name}"),
        middle(&ratios),
        1.1,
        "times",
    );
    report.tell(format!("  in the rounds, {name}"), range(&ratios));
    report.tell(
        format!("  p99 without, with, {name}"),
        format!("{:.3}, {:.3} ms", middle(&without), middle(&with)),
    );
    let count: usize = changes.iter().map(crate::pace::Times::len).sum();
    report.tell(
        format!("  CPU time of a change, {name}"),
        format!("{:.0} us", spent / count as f64 * 1e6),
    );
    report.tell(
        format!("  p50 of a change, {name}"),
        format!(
            "{:.2} ms",
            quantile(changes.iter().map(|times| times.quantile(0.5)), 0.5)
        ),
    );
    Ok(())
}
