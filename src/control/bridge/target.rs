//! What the router gets for a request's target.

use http::Uri;

use super::super::REGISTER;
use crate::route::{PathPrefix, RequestPath, RequestTarget};

/// The path and the query as they were sent, also of a target with a scheme and a host (RFC 9112,
/// 3.2.2).
pub(super) fn whole_target(target: &[u8]) -> Option<Uri> {
    let uri = Uri::try_from(target).ok()?;
    let path = uri.path_and_query()?.clone();
    path.as_str().starts_with('/').then(|| Uri::from(path))
}

/// The API's own path for registrations, if the target is the registration path. For any other target it is
/// `/`, which the API answers with 404.
pub(super) fn registration_path(target: &[u8], registration: Option<&PathPrefix>) -> &'static str {
    let path = RequestTarget::parse(target)
        .ok()
        .and_then(|target| target.path());
    let path = path.and_then(|path| RequestPath::parse(path).ok());
    let is_registration = path.zip(registration).is_some_and(|(path, registration)| {
        let path = path.as_str().trim_end_matches('/');
        path.eq_ignore_ascii_case(registration.as_str())
    });
    if is_registration { REGISTER } else { "/" }
}
