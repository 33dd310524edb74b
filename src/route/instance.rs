//! An instance of an app: one of the targets that a route has.

use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::Target;
use super::activity::Flight;

/// The serial number of the newest instance.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// The end of a drain that is over.
const OVER: u64 = 1;

/// The name of an instance within its route: 1 to 64 of the characters that need no escape in a URL
/// (RFC 3986, 2.3), so that it can stand in one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(Arc<str>);

/// Why a text is not an instance's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "an instance's id has 1 to 64 letters, digits, `-`, `_`, `.` or `~`, and is not `.` or `..`"
)]
pub struct InstanceIdError;

/// One target of a route, from the time it joined.
///
/// What each request asks for stands in front, as in a [`Route`](super::Route).
#[derive(Debug)]
#[repr(C)]
pub struct Instance {
    flight: Flight,
    /// When its drain ends, on the registry's clock; 0 while it is ready.
    drain_ends: AtomicU64,
    /// A number that no other instance of this process has, not even one of the same name.
    pub serial: u64,
    /// Where requests go.
    pub target: Target,
    /// Its name within the route.
    pub id: InstanceId,
    /// Whose it is, if anybody said.
    pub owner: Option<Arc<str>>,
    /// When it joined.
    pub since: SystemTime,
    /// Until when, if not for good.
    pub lease: Option<Lease>,
}

/// An instance's time, which is renewed without a change of the route. In milliseconds, on the
/// registry's clock.
#[derive(Debug)]
pub struct Lease {
    ttl: u64,
    ends: AtomicU64,
}

impl InstanceId {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InstanceIdError`].
    pub fn parse(text: &str) -> Result<Self, InstanceIdError> {
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        let is_dots = text.bytes().all(|byte| byte == b'.');
        if (1..=64).contains(&text.len()) && text.bytes().all(is_unreserved) && !is_dots {
            Ok(Self(text.into()))
        } else {
            Err(InstanceIdError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// `default`: the one instance of a route whose registration names none.
impl Default for InstanceId {
    fn default() -> Self {
        static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| "default".into());
        Self(Arc::clone(&DEFAULT))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Instance {
    /// An instance for good, without an owner; the fields say the rest.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            id: InstanceId::default(),
            owner: None,
            target,
            serial: NEWEST.fetch_add(1, Ordering::SeqCst) + 1,
            since: SystemTime::now(),
            lease: None,
            flight: Flight::default(),
            drain_ends: AtomicU64::new(0),
        }
    }

    /// The serial number of the newest instance of this process; 0 without any. Those to come have higher
    /// ones.
    #[must_use]
    pub fn newest() -> u64 {
        NEWEST.load(Ordering::SeqCst)
    }

    /// A request begins its way to this instance.
    pub fn begin(&self) {
        self.flight.begin();
    }

    /// A request that began has ended.
    pub fn end(&self) {
        self.flight.end();
    }

    /// How many requests are on their way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.flight.count()
    }

    /// When its drain ends, on the registry's clock; `None` while it is ready.
    ///
    /// The mark and the count of requests are written and read in one order that all threads agree on:
    /// a request that begins and then sees no mark is seen by whoever marks and then counts.
    #[must_use]
    pub fn drain_ends(&self) -> Option<u64> {
        match self.drain_ends.load(Ordering::SeqCst) {
            0 => None,
            ends => Some(ends),
        }
    }

    /// Marks it as draining until `ends`, on the registry's clock.
    pub fn drain_until(&self, ends: u64) {
        self.drain_ends.store(ends.max(2), Ordering::SeqCst);
    }

    /// Marks its drain as over: what is in flight is cut from now on.
    pub fn end_drain(&self) {
        self.drain_ends.store(OVER, Ordering::SeqCst);
    }

    /// Whether its drain is over, and nothing may begin there or go on.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.drain_ends.load(Ordering::SeqCst) == OVER
    }

    /// The length of its lease.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.lease.as_ref().map(Lease::ttl)
    }
}

/// Equal in what was asked for: name, owner, target and the lease's length.
impl PartialEq for Instance {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.owner == other.owner
            && self.target == other.target
            && self.ttl() == other.ttl()
    }
}

impl Eq for Instance {}

impl Lease {
    /// A lease of this length that ends at a time of the registry's clock.
    #[must_use]
    pub fn new(ttl: Duration, ends: u64) -> Self {
        Self {
            ttl: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            ends: AtomicU64::new(ends),
        }
    }

    /// How long it is from one renewal to its end.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl)
    }

    /// When it ends unless it is renewed, in milliseconds of the registry's clock.
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.ends.load(Ordering::Relaxed)
    }

    /// When it would end if it were renewed at `now`.
    #[must_use]
    pub fn renewed(&self, now: u64) -> u64 {
        now.saturating_add(self.ttl)
    }

    /// Lets it end at another time.
    pub fn extend(&self, ends: u64) {
        self.ends.store(ends, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_can_stand_in_a_url() {
        for good in ["a", "default", "web-1", "a_b.c~d", &"x".repeat(64)] {
            assert_eq!(InstanceId::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            " ",
            "a/b",
            "a b",
            "ä",
            ".",
            "..",
            "a%20",
            &"x".repeat(65),
        ] {
            assert!(InstanceId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
