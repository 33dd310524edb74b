//! gRPC on the data path: which requests are calls, and how long they may take.

use std::time::Duration;

use http::HeaderName;

use super::Timeouts;
use super::in_flight::InFlight;
use super::record::Record;
use crate::route::Protocol;

/// The field in which a call says how long it may take.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How much longer than its deadline a call may be silent: the client and the app both know the
/// deadline, and theirs is the word on it as long as they live.
const MARGIN: Duration = Duration::from_secs(5);

/// No deadline is further off: as much as the front's limits hold.
const FURTHEST: Duration = Duration::from_millis(u32::MAX as u64);

/// The times that an exchange may take; a call may say so itself, if its app can be one of gRPC: nobody
/// else's client is to say how long it may take. Also whether it does.
pub(super) fn timeouts(record: &Record, timeouts: Timeouts) -> (Timeouts, bool) {
    let speaks_http2 =
        |in_flight: &InFlight| in_flight.route().target().protocol != Protocol::Http1;
    let deadline = record
        .request()
        .filter(|_| record.in_flight.as_ref().is_some_and(speaks_http2))
        .filter(|request| request.is_grpc())
        .and_then(|request| timeout(request.fields().get(&TIMEOUT)?));
    match deadline {
        Some(deadline) if deadline <= timeouts.grpc_deadline => (timeouts.until(deadline), true),
        _ => (timeouts, false),
    }
}

/// At most eight digits and a unit, as the protocol has it; anything else is no timeout, and left to
/// the app.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(3600 * number)),
        b'M' => Some(Duration::from_secs(60 * number)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

impl Timeouts {
    /// The limits of a call with a deadline: until then either side may be silent for as long as it
    /// likes, and no longer.
    pub(super) fn until(self, deadline: Duration) -> Self {
        let silence = Some(deadline.saturating_add(MARGIN).min(FURTHEST));
        Self {
            first_byte: silence,
            between_bytes: silence,
            client_body: silence,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        let cases = [
            ("1H", Some(Duration::from_hours(1))),
            ("2M", Some(Duration::from_mins(2))),
            ("30S", Some(Duration::from_secs(30))),
            ("499m", Some(Duration::from_millis(499))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0S", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            ("123456789S", None),
        ];
        for (value, expected) in cases {
            assert_eq!(timeout(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_deadline_takes_the_place_of_the_limits_on_silence() {
        let limits = Timeouts::default().until(Duration::from_secs(1));
        let six = Some(Duration::from_secs(6));
        assert_eq!(
            (limits.first_byte, limits.between_bytes, limits.client_body),
            (six, six, six)
        );
        assert_eq!(limits.send, Timeouts::default().send);
        let longest = timeout(b"99999999H").unwrap();
        let limits = Timeouts::default().until(longest);
        assert_eq!(limits.first_byte, Some(FURTHEST));
    }
}
