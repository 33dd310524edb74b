//! The body of a request, whole and within its limits.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::registry::RegisterError;

/// Limits on the body of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// The most bytes.
    pub(crate) size: usize,
    /// The total time from the head on.
    pub(crate) time: Duration,
    /// The keys of the configuration that set them.
    pub(crate) keys: [&'static str; 2],
}

impl BodyLimits {
    fn too_large(&self) -> RegisterError {
        let ([key, _], limit) = (self.keys, self.size);
        RegisterError::TooLarge { limit, key }
    }

    fn too_slow(&self) -> RegisterError {
        let ([_, key], after) = (self.keys, self.time);
        RegisterError::TooSlow { after, key }
    }
}

/// The whole body, within its limits. Of one that says itself that it is too long nothing is waited for.
pub(super) async fn collect(
    fields: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Bytes, RegisterError> {
    let length = fields.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    let length: Option<u64> = length.and_then(|text| text.parse().ok());
    if length.is_some_and(|length| length > limits.size as u64) {
        return Err(limits.too_large());
    }
    let length = length.and_then(|length| usize::try_from(length).ok());
    let whole = whole(Limited::new(body, limits.size), length.unwrap_or(0));
    match tokio::time::timeout(limits.time, whole).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(limits.too_large()),
        // Whoever feeds it has written why.
        Ok(Err(_broken)) => Err(RegisterError::Truncated),
        Err(_elapsed) => Err(limits.too_slow()),
    }
}

/// All bytes of a body in one piece. Each frame is dropped once it is copied, so that a large body is not
/// in memory twice.
async fn whole(mut body: Limited<Body>, length: usize) -> Result<Bytes, axum::BoxError> {
    let mut whole = Vec::with_capacity(length);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.into())
}
