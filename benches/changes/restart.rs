//! From the start of the process to the first answer of an app, with the routes of the store.

use crate::pace::quantile;
use crate::proxy::{Proxy, StoreKind};
use crate::routes::{BATCH, path};
use crate::{Plan, Report, Result, app, routes};

pub(crate) fn run(plan: Plan, report: &mut Report) -> Result<()> {
    let size = plan.size(BATCH);
    let app = app::start()?;
    let mut proxy = Proxy::start(StoreKind::Embedded)?;
    routes::load(&proxy.control(), size, app, "")?;
    for (kill, how) in [(false, "after a stop"), (true, "after a crash")] {
        let times = (0..plan.rounds(5)).map(|_| proxy.restart(kill, &path(size - 1)));
        let times = times.collect::<Result<Vec<_>>>()?;
        let middle = quantile(times.iter().map(std::time::Duration::as_secs_f64), 0.5);
        report.at_most(
            format!("start with {size} routes until the first answer, {how}"),
            middle,
            1.0,
            "s",
        );
    }
    Ok(())
}
