//! One call of the API.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use indicatif::ProgressBar;
use serde::Serialize;

use super::encode;
use super::error::ClientError;

/// A call, ready to be sent.
pub(in super::super) struct Call {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
    pub(super) progress: Option<ProgressBar>,
}

impl Call {
    pub(in super::super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(in super::super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// A call with a body of JSON.
    pub(in super::super) fn json(
        method: Method,
        path: impl Into<String>,
        body: &impl Serialize,
    ) -> Result<Self, ClientError> {
        let body =
            serde_json::to_vec(body).map_err(|error| ClientError::Request(error.to_string()))?;
        let mut call = Self::new(method, path).field(CONTENT_TYPE, "application/json")?;
        call.body = body.into();
        Ok(call)
    }

    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            target: path.into(),
            fields: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]),
            body: Bytes::new(),
            progress: None,
        }
    }

    /// Adds a parameter to the query.
    pub(in super::super) fn query(mut self, name: &str, value: &str) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&encode::value(value));
        self
    }

    /// Adds a parameter if there is a value.
    pub(in super::super) fn query_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Asks for the answer without the effect.
    pub(in super::super) fn dry_run(self, is_dry: bool) -> Self {
        self.query_if("dry_run", is_dry.then_some("true"))
    }

    /// Sets a field of the head.
    pub(in super::super) fn field(
        mut self,
        name: HeaderName,
        value: &str,
    ) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(value)
            .map_err(|error| ClientError::Request(format!("{name}: {error}")))?;
        self.fields.insert(name, value);
        Ok(self)
    }

    /// Makes the call only if the entity tag still holds (RFC 9110, 13.1.1). Quotes that a shell
    /// has eaten are put back.
    pub(in super::super) fn if_match(self, tag: Option<&str>) -> Result<Self, ClientError> {
        match tag {
            None => Ok(self),
            Some(tag) if tag == "*" || tag.ends_with('"') => self.field(IF_MATCH, tag),
            Some(tag) => self.field(IF_MATCH, &format!("\"{tag}\"")),
        }
    }

    /// Shows on a bar how much of the body has been sent.
    pub(in super::super) fn shown_on(mut self, bar: &ProgressBar) -> Self {
        self.progress = Some(bar.clone());
        self
    }

    /// The size of the body in bytes.
    pub(in super::super) fn size(&self) -> usize {
        self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_joined_and_encoded() {
        let call = Call::delete("/v1/routes/*/a")
            .query_if("none", None)
            .query("drain", "1 s")
            .dry_run(true)
            .dry_run(false);
        assert_eq!(call.target, "/v1/routes/*/a?drain=1%20s&dry_run=true");
    }

    #[test]
    fn entity_tags_get_their_quotes() {
        for (given, sent) in [
            ("7", "\"7\""),
            ("\"7\"", "\"7\""),
            ("*", "*"),
            ("W/\"7\"", "W/\"7\""),
        ] {
            let call = Call::get("/").if_match(Some(given)).unwrap();
            assert_eq!(call.fields[IF_MATCH], sent);
        }
        assert!(Call::get("/").if_match(Some("a\nb")).is_err());
    }
}
