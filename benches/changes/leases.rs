//! A million leases: what they cost while nothing happens, and what a renewal costs beside them.

use std::thread;

use crate::client::Client;
use crate::pace::fast;
use crate::proxy::{Proxy, StoreKind};
use crate::routes::registration;
use crate::{Plan, Report, Result, app, routes};

pub(crate) fn run(plan: Plan, report: &mut Report) -> Result<()> {
    let size = plan.size(1_000_000);
    let app = app::start()?;
    let ttl = r#","ttl":"1h""#;
    for store in [StoreKind::Memory, StoreKind::Embedded] {
        let name = store.name();
        let proxy = Proxy::start(store)?;
        routes::load(&proxy.control(), size, app, ttl)?;
        proxy.settled_memory()?;
        let cpu = proxy.cpu()?;
        // Two times that the store is told the time.
        let time = plan.time(10.0);
        thread::sleep(time);
        let part = (proxy.cpu()? - cpu) / time.as_secs_f64() * 100.0;
        report.at_most(
            format!("CPU of {size} leases that stand, {name}"),
            part,
            1.0,
            "%",
        );
        let mut clients = Client::many(&proxy.traffic(), 32)?;
        let cpu = proxy.cpu()?;
        let time = plan.time(3.0);
        let renewed = fast(&mut clients, time, |_| {
            registration(fastrand::usize(0..size), app, ttl)
        })?;
        let each = (proxy.cpu()? - cpu) / (renewed * time.as_secs_f64()) * 1e6;
        report.tell(
            format!("  renewals beside them, CPU time of one, {name}"),
            format!("{renewed:.0} /s, {each:.0} us"),
        );
    }
    Ok(())
}
