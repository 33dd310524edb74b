//! The answer to a call.

use bytes::Bytes;
use http::HeaderMap;
use serde::de::DeserializeOwned;

use super::error::ClientError;

/// A whole answer of a call that was carried out.
pub(in super::super) struct Answer {
    pub(in super::super) fields: HeaderMap,
    pub(in super::super) body: Bytes,
}

impl Answer {
    /// The answer as JSON of a known shape.
    pub(in super::super) fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::NotTheApi(error.to_string()))
    }

    /// A field of the answer's head, if it is text.
    pub(in super::super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }
}
