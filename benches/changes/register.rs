//! Apps that register one by one, and renew their leases, over connections that stay.

use crate::client::Client;
use crate::pace::fast;
use crate::proxy::{Proxy, StoreKind};
use crate::routes::registration;
use crate::{Plan, Report, Result, app};

const CONNECTIONS: usize = 32;

pub(crate) fn run(plan: Plan, store: StoreKind, report: &mut Report) -> Result<()> {
    let app = app::start()?;
    let limit = match store {
        StoreKind::Memory => 5000.0,
        StoreKind::Embedded => 2000.0,
    };
    let name = store.name();
    let proxy = Proxy::start(store)?;
    let mut clients = Client::many(&proxy.traffic(), CONNECTIONS)?;
    let made = fast(&mut clients, plan.time(4.0), |number| {
        registration(number, app, "")
    })?;
    report.at_least(format!("registrations, {name}"), made, limit, "/s");
    let leased = |number: usize| registration(number % 1024, app, r#","ttl":"1h""#);
    // The first of each gives it the lease.
    fast(&mut clients, plan.time(1.0), leased)?;
    let cpu = proxy.cpu()?;
    let time = plan.time(4.0);
    let renewed = fast(&mut clients, time, leased)?;
    let each = (proxy.cpu()? - cpu) / (renewed * time.as_secs_f64()) * 1e6;
    report.at_least(format!("renewals of a lease, {name}"), renewed, limit, "/s");
    report.tell(
        format!("  CPU time of a renewal, {name}"),
        format!("{each:.0} us"),
    );
    Ok(())
}
