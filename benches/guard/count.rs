//! The count itself: some requests to warm up, then several slices of requests, each counted alone.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::client::Client;
use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::{Result, origin};

/// Pools, buffers and caches are as they stay after these.
const WARM_UP: usize = 300;
const SLICES: usize = 5;
/// In each slice.
const REQUESTS: u64 = 200;

pub(crate) struct Counted {
    /// For one request, in the slice with the fewest. What is not the request's own only adds: the
    /// clock of Pingora's timers, which ticks 100 times a second however long a request takes, watches
    /// on files, the allocator's housekeeping.
    pub(crate) instructions: u64,
    /// In the slice with the most.
    most: u64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, most } = self;
        write!(
            f,
            "{instructions} instructions for a request; {most} at most"
        )
    }
}

/// Counts a scenario, and leaves callgrind's file of it in the folder.
pub(crate) fn count(scenario: &Scenario, binary: &Path, folder: &Path) -> Result<Counted> {
    let origin = origin::start(scenario)?;
    let mut proxy = Proxy::start(scenario, binary, origin)?;
    let mut client = Client::connect(scenario, &proxy, origin)?;
    client.ask()?;
    proxy.look()?;
    for _ in 0..WARM_UP {
        client.ask()?;
    }
    proxy.zero()?;
    let (mut least, mut most) = (u64::MAX, 0);
    for _ in 0..SLICES {
        for _ in 0..REQUESTS {
            client.ask()?;
        }
        let file = proxy.dump()?;
        let sum = total(&fs::read_to_string(&file)?)?;
        if sum < least {
            let name = format!("{}.callgrind", scenario.name);
            fs::copy(&file, folder.join(name))?;
        }
        least = least.min(sum);
        most = most.max(sum);
    }
    Ok(Counted {
        instructions: least / REQUESTS,
        most: most / REQUESTS,
    })
}

/// What callgrind counted in all.
fn total(file: &str) -> Result<u64> {
    let line = file.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(line
        .ok_or("callgrind has counted nothing")?
        .trim()
        .parse()?)
}
