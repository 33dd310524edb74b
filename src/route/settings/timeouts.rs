//! How long the app of a route may take.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;

use super::setting::{Setting, by_text};
use crate::route::object::group;
use crate::route::texts::{custom, describe_text};
use crate::route::{FieldError, Group, clip_value};

/// The longest limit: more is a mistake, mostly `M` (months) for `m` (minutes).
const LONGEST: Duration = Duration::from_hours(30 * 24);

group! {
    /// How long the app of a route may take. A limit that is left out is as `timeouts` of the configuration says.
    #[derive(Copy)]
    pub struct RouteTimeouts {
        /// To connect to a target.
        connect: Timeout, RouteTimeouts::CODE;
        /// From the end of the request to the target's first byte.
        first_byte: TimeoutOrOff, RouteTimeouts::CODE;
        /// Between two reads of the target's response.
        between_bytes: TimeoutOrOff, RouteTimeouts::CODE;
    }
}

/// A limit on a time: more than zero, and at most 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(Duration);

/// A limit on a time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutOrOff(Option<Timeout>);

by_text!(Timeout);
by_text!(TimeoutOrOff);

describe_text!(
    Timeout,
    "A length of time with a unit, more than `0s` and up to `30d`: `500ms`, `10s`, `1h30m`.",
    |text| custom(text, "timeout").examples(["10s"])
);

describe_text!(
    TimeoutOrOff,
    "A length of time with a unit, more than `0s` and up to `30d`; `off` for no limit.",
    |text| custom(text, "timeout-or-off").examples(["10s", "off"])
);

impl Timeout {
    /// The limit.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl TimeoutOrOff {
    /// The limit, if there is one.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        self.0.map(Timeout::duration)
    }
}

impl Setting for RouteTimeouts {
    const CODE: &'static str = "INVALID_TIMEOUTS";
    const HELP: &'static str = "How long the app may take: connect=2s,first_byte=60s,between_bytes=off, each \
        with a unit, or off but for connect; by default what `timeouts` of the proxy's configuration says";
    const VALUE: &'static str = "LIMITS";
    const KEYS: &'static [&'static str] = Self::NAMES;

    fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the limits of `newer`, and those of `self` that `newer` leaves out.
    fn overridden_by(&self, newer: &Self) -> Self {
        Self {
            connect: newer.connect.or(self.connect),
            first_byte: newer.first_byte.or(self.first_byte),
            between_bytes: newer.between_bytes.or(self.between_bytes),
        }
    }
}

/// `connect=2s,first_byte=off`.
impl FromStr for RouteTimeouts {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let refuse = |problem: String| FieldError::new("timeouts", Self::CODE, problem);
        let mut timeouts = Self::default();
        for part in text.split(',').map(str::trim) {
            let Some((name, value)) = part.split_once('=') else {
                let part = clip_value(part);
                let problem = format!("{part:?} is not a limit; write one such as first_byte=60s");
                return Err(refuse(problem));
            };
            if !Self::NAMES.contains(&name) {
                let (name, known) = (clip_value(name), Self::NAMES.join(", "));
                return Err(refuse(format!(
                    "there is no {name:?}; the limits are {known}"
                )));
            }
            let set = timeouts.set(name, &Value::from(value));
            set.map_err(|error| refuse(error.to_string()))?;
        }
        Ok(timeouts)
    }
}

impl fmt::Display for RouteTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("connect", self.connect.map(|limit| limit.to_string())),
            ("first_byte", self.first_byte.map(|limit| limit.to_string())),
            (
                "between_bytes",
                self.between_bytes.map(|limit| limit.to_string()),
            ),
        ];
        let limits = limits.into_iter();
        let set: Vec<String> = limits
            .filter_map(|(name, limit)| Some(format!("{name}={}", limit?)))
            .collect();
        f.write_str(&set.join(","))
    }
}

/// A length of time with a unit.
impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = clip_value(text);
        if text == "off" {
            return Err("cannot be off; write a length of time such as \"2s\"".to_owned());
        }
        let limit = humantime::parse_duration(text).map_err(|error| {
            log::debug!("{text:?} as a length of time: {error}");
            format!("{shown:?} is not a length of time; write a number and a unit, such as \"10s\"")
        })?;
        if limit.is_zero() {
            return Err(format!(
                "{shown:?} is no time at all; write more than 0s, and at most 30d"
            ));
        }
        if limit > LONGEST {
            return Err(format!(
                "{shown:?} is longer than 30 days, the longest limit; m is minutes, M is months"
            ));
        }
        Ok(Self(limit))
    }
}

/// A length of time with a unit, or `off`.
impl FromStr for TimeoutOrOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            text => text.parse().map(|limit| Self(Some(limit))),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = humantime::format_duration(self.0).to_string();
        f.write_str(&text.replace(' ', ""))
    }
}

impl fmt::Display for TimeoutOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(limit) => limit.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_they_are_read() {
        for (text, json) in [
            ("connect=2s", r#"{"connect":"2s"}"#),
            (
                "connect=500ms,first_byte=off,between_bytes=1h30m",
                r#"{"connect":"500ms","first_byte":"off","between_bytes":"1h30m"}"#,
            ),
        ] {
            let timeouts: RouteTimeouts = text.parse().unwrap();
            assert_eq!(timeouts.to_string(), text);
            assert_eq!(serde_json::to_string(&timeouts).unwrap(), json);
            let read: RouteTimeouts = serde_json::from_str(json).unwrap();
            assert_eq!(read, timeouts);
        }
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", "not a limit"),
            ("connect", "not a limit"),
            ("connect=off", "cannot be off"),
            ("first_byte=0s", "no time at all"),
            ("first_byte=10", "a number and a unit"),
            ("first_byte=31d", "30 days"),
            ("conect=1s", "connect, first_byte, between_bytes"),
        ] {
            let error = text.parse::<RouteTimeouts>().expect_err(text).to_string();
            let is_told = error.starts_with("timeouts: ") && error.contains(why);
            assert!(is_told, "{text}: {error}");
        }
    }

    #[test]
    fn a_limit_overrides_its_own_kind_alone() {
        let parse = |text: &str| text.parse::<RouteTimeouts>().unwrap();
        let (old, new) = (parse("connect=1s,first_byte=2s"), parse("first_byte=off"));
        assert_eq!(old.overridden_by(&new), parse("connect=1s,first_byte=off"));
    }
}
