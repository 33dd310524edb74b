//! Durations on the command line: `30s`, `1h30m`.

use std::time::Duration;

/// The longest that the API takes.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// A duration with a unit, zero too, up to 30 days.
pub(super) fn any(text: &str) -> Result<Duration, String> {
    let is_number = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        return Err(format!("it has no unit; write {text}s for seconds"));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a duration such as 500ms, 30s, 2m or 1h30m"))?;
    if duration > LONGEST {
        return Err("it is longer than 30 days; m is minutes, M is months".to_owned());
    }
    Ok(duration)
}

/// Parses a duration above zero.
pub(super) fn positive(text: &str) -> Result<Duration, String> {
    match any(text)? {
        Duration::ZERO => Err("it is zero; write a longer one".to_owned()),
        duration => Ok(duration),
    }
}

/// Parses a duration of at least a second: a lease.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    match any(text)? {
        short if short < Duration::from_secs(1) => {
            Err("a lease is at least 1s, and at most 30d".to_owned())
        }
        duration => Ok(duration),
    }
}

/// As the API reads it: `1h30m`.
pub(super) fn written(duration: Duration) -> String {
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["500ms", "30s", "1h30m", "30d", "0s"] {
            let duration = any(text).unwrap();
            assert_eq!(any(&written(duration)), Ok(duration), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(any("30").unwrap_err().contains("30s"));
        assert!(any("31d").unwrap_err().contains("30 days"));
        assert!(any("soon").unwrap_err().contains("500ms"));
        assert!(any("").is_err());
        assert!(positive("0s").unwrap_err().contains("zero"));
        assert!(lease("500ms").unwrap_err().contains("1s"));
    }
}
