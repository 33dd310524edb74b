//! Durations as people write them: `500ms`, `10s`, `2m`, `1h30m`.

use std::time::Duration;

use serde::{Deserializer, de::Error};

use super::text;

/// Longer is always a mistake, mostly `M` (months) for `m` (minutes).
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Any duration, zero too.
pub(super) fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text::parse_with(deserializer, parse)
}

/// A duration above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    text::parse_with(deserializer, |text| {
        if text == "off" {
            return Err("cannot be off; write a duration such as 10s".to_owned());
        }
        non_zero(parse(text)?, "write a longer one")
    })
}

/// A duration above zero, or none, written `off`.
pub(super) fn or_off<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
    D::Error: Error,
{
    text::parse_with(deserializer, |text| match text {
        "off" => Ok(None),
        text => non_zero(parse(text)?, "write a longer one, or off for no limit").map(Some),
    })
}

fn parse(text: &str) -> Result<Duration, String> {
    let shown = text::shown(text);
    let is_number = text.parse().is_ok_and(f64::is_finite);
    if is_number && !text.starts_with('-') {
        return Err(format!(
            "has no unit: {shown}; write {text}s for seconds, or another unit of ms, s, m, h, d"
        ));
    }
    if text.starts_with('-') {
        return Err(format!(
            "is negative: {shown}; write a duration such as 10s"
        ));
    }
    let duration = humantime::parse_duration(text).map_err(|error| {
        log::trace!("{text:?} as a duration: {error}");
        format!("is not a duration: {shown}; write one such as 500ms, 10s, 2m or 1h30m")
    })?;
    if duration > LONGEST {
        return Err(format!(
            "is longer than 30 days: {shown}; m is minutes, M is months"
        ));
    }
    Ok(duration)
}

fn non_zero(duration: Duration, remedy: &str) -> Result<Duration, String> {
    if duration.is_zero() {
        return Err(format!("is zero; {remedy}"));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, expected) in [
            ("500ms", Duration::from_millis(500)),
            ("10s", Duration::from_secs(10)),
            ("0.5s", Duration::from_millis(500)),
            ("2m", Duration::from_mins(2)),
            ("1h30m", Duration::from_mins(90)),
            ("1h 30m", Duration::from_mins(90)),
            ("30d", LONGEST),
            ("0s", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("10", "has no unit"),
            ("1.5", "has no unit"),
            ("0", "has no unit"),
            ("-1s", "is negative"),
            ("-1", "is negative"),
            ("soon", "is not a duration"),
            ("", "is not a duration"),
            ("10 parsecs", "is not a duration"),
            ("inf", "is not a duration"),
            ("s", "is not a duration"),
            ("10M", "is longer than 30 days"),
            ("99999999999999999999s", "is not a duration"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
