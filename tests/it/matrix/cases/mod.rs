//! The cases, by what they are about.

mod cuts;
mod early;
mod fields;
mod framing;
mod garbage;
mod http2;
mod interim;
mod limits;
mod requests;
mod routes;
mod upgrades;

use super::case::{Case, Outcome};

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let parts = [
        framing::cases(),
        interim::cases(),
        fields::cases(),
        requests::cases(),
        early::cases(),
        cuts::cases(),
        garbage::cases(),
        http2::cases(),
        limits::cases(),
        upgrades::cases(),
        routes::cases(),
    ];
    let cases: Vec<Case> = parts.into_iter().flatten().collect();
    let mut names: Vec<_> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    cases
}

/// A response of the upstream that arrives whole; `is_sized` says whether its length was known.
fn passes(status: u16, body: &str, is_sized: bool) -> Outcome {
    Outcome::Passes {
        status,
        body: body.into(),
        is_sized,
    }
}

/// The proxy's reply when the upstream response is malformed.
fn invalid() -> Outcome {
    Outcome::Own(500, "INVALID_RESPONSE")
}
