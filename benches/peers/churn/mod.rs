//! A platform and its visitors: apps that start, stop and die at random behind a proxy, and clients
//! that ask for them over connections that stay.

pub(crate) mod app;
pub(crate) mod connection;
pub(crate) mod count;
pub(crate) mod platform;
pub(crate) mod visitor;

use std::ops::Range;
use std::time::Duration;

/// How many apps there are; each is up or away.
pub(crate) const APPS: usize = 200;
/// How many of them are up when the visitors come: as many as are up later, on average.
pub(crate) const UP_AT_FIRST: usize = 125;
/// How many clients ask, each over a connection of its own.
pub(crate) const VISITORS: usize = 100;
/// How long an app is up, on average; exponentially distributed, so that it ends at any time.
pub(crate) const LIFETIME: Duration = Duration::from_secs(10);
/// How long it is away, at least and at most.
pub(crate) const ABSENCE: Range<f32> = 1.0..11.0;
/// How long a visitor pauses between two requests, in seconds.
pub(crate) const PAUSE: Range<f32> = 0.0..0.1;
/// The ports that apps listen on, each on one at random that is free: a port is soon used again.
pub(crate) const PORTS: Range<u16> = 18_000..19_024;
