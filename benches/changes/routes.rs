//! The routes, and what is sent to make them.

use std::fmt::Write;

use crate::Result;
use crate::client::{Address, Client, json};

/// As many routes in one change as make the body of no more than the default limit.
pub(crate) const BATCH: usize = 100_000;

/// The prefix of a route.
pub(crate) fn prefix(number: usize) -> String {
    format!("/user/{number:07}")
}

/// A request that a route takes.
pub(crate) fn path(number: usize) -> String {
    format!("/user/{number:07}/items/17")
}

/// The whole set of these routes.
pub(crate) fn set(numbers: std::ops::Range<usize>, port: u16) -> String {
    let mut body = String::from(r#"{"routes":["#);
    for (place, number) in numbers.enumerate() {
        let (comma, prefix) = (if place == 0 { "" } else { "," }, prefix(number));
        // Writing to a String cannot fail.
        write!(
            body,
            r#"{comma}{{"host":"*","prefix":"{prefix}","instances":[{{"port":{port}}}]}}"#
        )
        .unwrap_or(());
    }
    body + "]}"
}

/// A list of changes that puts each of these routes; `more` stands in each instance.
pub(crate) fn puts(numbers: std::ops::Range<usize>, port: u16, more: &str) -> String {
    let mut body = String::from(r#"{"changes":["#);
    for (place, number) in numbers.enumerate() {
        let (comma, prefix) = (if place == 0 { "" } else { "," }, prefix(number));
        write!(
            body,
            r#"{comma}{{"op":"put","host":"*","prefix":"{prefix}","instances":[{{"port":{port}{more}}}]}}"#
        )
        .unwrap_or(());
    }
    body + "]}"
}

/// Makes this many routes.
pub(crate) fn load(control: &Address, count: usize, port: u16, more: &str) -> Result<()> {
    let mut client = Client::connect(control)?;
    for begin in (0..count).step_by(BATCH) {
        let body = puts(begin..count.min(begin + BATCH), port, more);
        client.ask(&json("PATCH", "/v1/routes", &body))?;
    }
    Ok(())
}

/// The body of a registration.
pub(crate) fn registration(number: usize, port: u16, more: &str) -> Vec<u8> {
    let prefix = prefix(number);
    let body = format!(r#"{{"prefix":"{prefix}","port":{port}{more}}}"#);
    json("POST", "/register", &body)
}
