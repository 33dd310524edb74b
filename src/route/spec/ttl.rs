//! The length of a lease or of a drain, as it is written.

use std::time::Duration;

use thiserror::Error;

/// The shortest lease.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest lease: what stays for longer stays for good.
const LONGEST: Duration = Duration::from_hours(30 * 24);
/// The longest drain.
const LONGEST_DRAIN: Duration = Duration::from_hours(24);

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TtlError {
    /// The text is not a length of time.
    #[error("{0} is not a length of time; write a number and a unit, such as \"30s\" or \"5m\"")]
    NotATime(String),
    /// It is too short.
    #[error("{0} is shorter than 1s, the shortest lease")]
    TooShort(String),
    /// It is too long.
    #[error("{0} is longer than 30d; leave the lease out for a route that stays")]
    TooLong(String),
    /// It is too long for a drain.
    #[error("{0} is longer than 24h, the longest drain")]
    TooLongDrain(String),
}

/// Reads the length of a lease: 1 second to 30 days.
///
/// # Errors
/// [`TtlError`].
pub fn parse_ttl(text: &str) -> Result<Duration, TtlError> {
    let ttl = parse(text)?;
    if ttl < SHORTEST {
        return Err(TtlError::TooShort(shown(text)));
    }
    if ttl > LONGEST {
        return Err(TtlError::TooLong(shown(text)));
    }
    Ok(ttl)
}

/// Reads the length of a drain: up to 24 hours, and 0s to cut at once.
///
/// # Errors
/// [`TtlError`].
pub fn parse_drain(text: &str) -> Result<Duration, TtlError> {
    let drain = parse(text)?;
    if drain > LONGEST_DRAIN {
        return Err(TtlError::TooLongDrain(shown(text)));
    }
    Ok(drain)
}

fn parse(text: &str) -> Result<Duration, TtlError> {
    humantime::parse_duration(text.trim()).map_err(|error| {
        log::debug!("{text:?} is not a duration: {error}");
        TtlError::NotATime(shown(text))
    })
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units_and_bounds() {
        assert_eq!(parse_ttl("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_ttl(" 1h30m "), Ok(Duration::from_mins(90)));
        assert_eq!(parse_ttl("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(parse_ttl("30d"), Ok(LONGEST));
        for bad in [
            "",
            "soon",
            "30",
            "-1s",
            "1 year ago",
            "1s;",
            "99999999999999999999s",
        ] {
            assert!(
                matches!(parse_ttl(bad), Err(TtlError::NotATime(_))),
                "{bad}"
            );
        }
        for short in ["0s", "0", "999ms", "1ns"] {
            assert!(parse_ttl(short).is_err(), "{short}");
        }
        assert!(matches!(parse_ttl("1year"), Err(TtlError::TooLong(_))));
        assert_eq!(parse_drain("0s"), Ok(Duration::ZERO));
        assert!(parse_drain("25h").is_err());
    }
}
