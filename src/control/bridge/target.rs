//! The request target that the router gets, from the one that the client has sent.

use http::Uri;

use crate::route::{PathPrefix, RequestPath, RequestTarget};

/// The path and the query as they were sent, also of a target with a scheme and a host (RFC 9112,
/// 3.2.2).
pub(super) fn whole_target(target: &[u8]) -> Option<Uri> {
    let uri = Uri::try_from(target).ok()?;
    let path = uri.path_and_query()?.clone();
    path.as_str().starts_with('/').then(|| Uri::from(path))
}

/// Whether a target is one of the paths for registrations, in any case and whatever its query.
pub(super) fn is_registration(target: &[u8], paths: &[PathPrefix]) -> bool {
    let path = RequestTarget::parse(target)
        .ok()
        .and_then(|target| target.path());
    let Some(Ok(path)) = path.map(RequestPath::parse) else {
        return false;
    };
    let path = path.as_str().trim_end_matches('/');
    paths
        .iter()
        .any(|own| path.eq_ignore_ascii_case(own.as_str()))
}
