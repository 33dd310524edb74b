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

/// The API's own path for the registration path; any other as it is.
pub(super) fn registration_path(target: &[u8], registration: Option<&PathPrefix>) -> String {
    let path = RequestTarget::parse(target)
        .ok()
        .and_then(|target| target.path());
    let path = path.and_then(|path| RequestPath::parse(path).ok());
    let Some(path) = path.map(|path| path.as_str().to_owned()) else {
        return "/".to_owned();
    };
    let is_registration = registration.is_some_and(|registration| {
        path.trim_end_matches('/')
            .eq_ignore_ascii_case(registration.as_str())
    });
    if is_registration {
        REGISTER.to_owned()
    } else {
        path
    }
}
