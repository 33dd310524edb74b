//! Many routes in one change, while traffic goes on.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, json};
use crate::pace::{during, quantile, steady};
use crate::proxy::{Proxy, StoreKind};
use crate::routes::{BATCH, path, puts, set};
use crate::{Plan, Report, Result, app, routes};

/// Requests a second, beside the change.
const RATE: f64 = 1000.0;

pub(crate) fn run(plan: Plan, store: StoreKind, report: &mut Report) -> Result<()> {
    let size = plan.size(BATCH);
    let app = app::start()?;
    let mut took: [Vec<f64>; 3] = Default::default();
    let mut noticed: [Vec<f64>; 3] = Default::default();
    let mut quiet = Vec::new();
    for _ in 0..plan.rounds(3) {
        let proxy = Proxy::start(store)?;
        routes::load(&proxy.control(), 1000, app, "")?;
        let changes = [
            json("PUT", "/v1/routes", &set(0..size, app)),
            // Another target for each, so that all are replaced.
            json(
                "PATCH",
                "/v1/routes",
                &puts(0..size, app, r#","host":"127.0.0.1""#),
            ),
            json("PUT", "/v1/routes", &set(0..1000, app)),
        ];
        let mut control = Client::connect(&proxy.control())?;
        let mut clients = Client::many(&proxy.traffic(), 16)?;
        let request = || crate::client::get(&path(fastrand::usize(0..1000)));
        let (times, windows) = during(
            |done| steady(&mut clients, RATE, done, request),
            || {
                // Connections to the app are made meanwhile.
                thread::sleep(Duration::from_millis(500));
                let before = Instant::now();
                thread::sleep(Duration::from_secs(1));
                let mut windows = vec![(before, Instant::now())];
                for change in &changes {
                    let begin = Instant::now();
                    control.ask(change)?;
                    windows.push((begin, Instant::now()));
                    thread::sleep(Duration::from_millis(300));
                }
                Ok(windows)
            },
        )?;
        let mut windows = windows.into_iter();
        if let Some((begin, end)) = windows.next() {
            quiet.push(times.between(begin, end).quantile(0.99));
        }
        for (((begin, end), took), noticed) in windows.zip(&mut took).zip(&mut noticed) {
            took.push((end - begin).as_secs_f64());
            noticed.push(times.between(begin, end).quantile(0.99));
        }
    }
    let name = store.name();
    let middle = |values: &[f64]| quantile(values.iter().copied(), 0.5);
    let [put, patch, less] = took.each_ref().map(|values| middle(values));
    report.at_most(format!("{size} routes in one PUT, {name}"), put, 2.0, "s");
    report.at_most(
        format!("{size} routes in one PATCH, {name}"),
        patch,
        2.0,
        "s",
    );
    report.at_most(
        format!("{size} routes removed by a PUT, {name}"),
        less,
        2.0,
        "s",
    );
    let [put, patch, less] = noticed.each_ref().map(|values| middle(values));
    report.tell(
        format!("  p99 of the traffic: before, PUT, PATCH, removal, {name}"),
        format!("{:.2}, {put:.2}, {patch:.2}, {less:.2} ms", middle(&quiet)),
    );
    Ok(())
}
