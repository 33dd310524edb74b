//! A million routes: to make them, to keep them in memory, to find them.

use std::time::Instant;

use crate::client::{Client, get};
use crate::pace::steady_for;
use crate::proxy::{Proxy, StoreKind};
use crate::routes::path;
use crate::{Plan, Report, Result, app, routes};

pub(crate) fn run(plan: Plan, report: &mut Report) -> Result<()> {
    let size = plan.size(1_000_000);
    let app = app::start()?;
    for store in [StoreKind::Memory, StoreKind::Embedded] {
        let name = store.name();
        let mut proxy = Proxy::start(store)?;
        let before = proxy.memory()?;
        let begin = Instant::now();
        routes::load(&proxy.control(), size, app, "")?;
        let took = begin.elapsed().as_secs_f64();
        report.tell(
            format!("{size} routes in batches, {name}"),
            format!("{took:.1} s"),
        );
        let each = proxy.settled_memory()?.saturating_sub(before) / size as u64;
        report.tell(format!("  memory of each, {name}"), format!("{each} B"));
        let mut clients = Client::many(&proxy.traffic(), 32)?;
        let request = || get(&path(fastrand::usize(0..size)));
        steady_for(&mut clients, 2000.0, plan.time(1.0), request)?;
        let times = steady_for(&mut clients, 2000.0, plan.time(3.0), request)?;
        report.tell(
            format!("  p50 and p99 of requests to all of them, {name}"),
            format!("{:.2}, {:.2} ms", times.quantile(0.5), times.quantile(0.99)),
        );
        if let StoreKind::Embedded = store {
            let again = proxy.restart(false, &path(size - 1))?.as_secs_f64();
            report.tell(
                format!("  start with them until the first answer, {name}"),
                format!("{again:.2} s"),
            );
        }
    }
    Ok(())
}
