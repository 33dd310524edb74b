//! A visitor: asks for one app after the other over a connection that stays, with pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connection::Connection;
use super::count::judge;
use super::platform::Platform;
use super::{APPS, PAUSE};
use crate::client::{Address, get};
use crate::routes;

/// A time of the range, in seconds, at random.
pub(crate) fn some_time(range: &std::ops::Range<f32>) -> Duration {
    Duration::from_secs_f32(range.start + fastrand::f32() * (range.end - range.start))
}

/// Asks until the platform is closed.
pub(crate) async fn visit(platform: Arc<Platform>) {
    let mut connection = Connection::new(Address::Tcp(platform.front));
    while !platform.closing.load(Ordering::Relaxed) {
        tokio::time::sleep(some_time(&PAUSE)).await;
        let app = fastrand::usize(0..APPS);
        let before = platform.stage(app);
        let result = connection.ask(&get(&routes::path(app))).await;
        let stages = [before, platform.stage(app)];
        let verdict = judge(app, stages, &result, platform.registrar.no_route);
        platform.count(|churn| {
            churn.add(verdict);
            churn.closed += std::mem::take(&mut connection.closed);
        });
    }
}
