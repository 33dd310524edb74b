//! Whole numbers within bounds: ports, statuses, counts.

use std::fmt::Display;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::text;

/// A port to listen on; 0 is any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, listening_port).map(Self)
    }
}

/// A number that follows from how many descriptors the process may have, unless it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Count {
    /// By the descriptors.
    Auto,
    /// No limit.
    Off,
    /// So many.
    Most(NonZeroU32),
}

pub(super) fn listening_port(text: &str) -> Result<u16, String> {
    within(text, "a port", 0..=u16::MAX)
}

/// A port to connect to.
pub(super) fn target_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    text::parse_with(deserializer, |text| within(text, "a port", 1..=u16::MAX))
}

/// The status of an error answer.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    text::parse_with(deserializer, |text| {
        within(text, "an error status", 400..=599)
    })
}

/// How many fields a head may have: Pingora refuses 256 of its own accord, with another answer.
pub(super) fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    text::parse_with(deserializer, |text| {
        within(text, "a number of fields", 1..=200)
    })
}

/// A limit on what there may be.
pub(super) fn count<'de, D>(deserializer: D) -> Result<Option<usize>, D::Error>
where
    D: Deserializer<'de>,
{
    text::parse_with(deserializer, |text| {
        within(text, "a limit", 1..=1_000_000_000).map(Some)
    })
}

/// How many streams of HTTP/2 may be open at a time.
pub(super) fn streams<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    text::parse_with(deserializer, |text| {
        within(text, "a number of streams", 1..=10_000)
    })
}

/// A number above zero, or none, written `off`.
pub(super) fn or_off<'de, D>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error>
where
    D: Deserializer<'de>,
{
    text::parse_with(deserializer, |text| match text {
        "off" => Ok(None),
        text => above_zero(text, "or off for no limit").map(Some),
    })
}

/// A number above zero; none, written `off`; or, written `auto`, one that follows from the descriptors.
pub(super) fn auto_or_off<'de, D>(deserializer: D) -> Result<Count, D::Error>
where
    D: Deserializer<'de>,
{
    text::parse_with(deserializer, |text| match text {
        "auto" => Ok(Count::Auto),
        "off" => Ok(Count::Off),
        text => above_zero(text, "auto, or off for no limit").map(Count::Most),
    })
}

fn above_zero(text: &str, others: &str) -> Result<NonZeroU32, String> {
    let range = NonZeroU32::MIN..=NonZeroU32::MAX;
    within(text, "a number", range).map_err(|problem| format!("{problem}, {others}"))
}

/// A number of seconds above zero, or none.
pub(super) fn seconds<'de, D>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
}

/// A day: what is waited for longer is not waited for.
const MOST_SECONDS: NonZeroU64 = match NonZeroU64::new(24 * 60 * 60) {
    Some(day) => day,
    None => NonZeroU64::MAX,
};

/// Serde's own error for a zero has no place.
struct Seconds(NonZeroU64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, |text| {
            within(text, "a number of seconds", NonZeroU64::MIN..=MOST_SECONDS).map(Self)
        })
    }
}

fn within<T>(text: &str, what: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + Display + PartialOrd,
{
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "is not {what}: {}; write a whole number from {} to {}",
            text::shown(text),
            range.start(),
            range.end()
        )),
    }
}
