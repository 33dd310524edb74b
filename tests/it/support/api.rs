//! Calls of the control API. Whatever it says of an error has to be a problem document, and every
//! answer has to say which generation it is of.

use serde_json::{Value, json};

use super::{Client, Response, TestProxy, api_request};

impl TestProxy {
    /// One call, with fields of its own.
    pub(crate) async fn call(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response {
        let request = api_request(method, target, fields, body);
        let mut client = Client::connect(self.control().await).await;
        client.exchange(request).await
    }

    /// The document of a GET that has to succeed.
    pub(crate) async fn look(&self, target: &str) -> Value {
        answer(&self.api("GET", target, None).await, 200)
    }

    /// The document of a write that has to succeed with this status.
    pub(crate) async fn write(
        &self,
        method: &str,
        target: &str,
        body: Option<Value>,
        status: u16,
    ) -> Value {
        answer(&self.api(method, target, body).await, status)
    }

    /// The problem of a call that has to be refused so.
    pub(crate) async fn refused(
        &self,
        method: &str,
        target: &str,
        body: Option<Value>,
        verdict: (u16, &str),
    ) -> Value {
        let response = self.api(method, target, body).await;
        problem(&response, verdict)
    }

    /// Everything that a change could change: generation and routes.
    pub(crate) async fn table(&self) -> Value {
        let mut table = self.look("/v1/routes").await;
        for route in table["routes"].as_array_mut().expect("routes") {
            // What goes on by itself.
            let route = route.as_object_mut().expect("a route");
            route.remove("activity");
            for instance in route["instances"].as_array_mut().expect("instances") {
                instance.as_object_mut().expect("one").remove("expires_in");
            }
        }
        table
    }
}

/// The number that an answer bears.
pub(crate) fn generation(response: &Response) -> u64 {
    let field = response.field("x-route-generation");
    field
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no generation: {response:?}"))
}

/// The entity tag of an answer.
pub(crate) fn etag(response: &Response) -> String {
    let tag = response.field("etag");
    tag.unwrap_or_else(|| panic!("no tag: {response:?}")).into()
}

/// The document of an answer that succeeded.
pub(crate) fn answer(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{}", response.text());
    assert_eq!(response.field("content-type"), Some("application/json"));
    let document = response.json();
    if let Some(number) = document["generation"].as_u64() {
        // What is only tried would be one more.
        let tried = u64::from(document["dry_run"] == true);
        assert!(number <= generation(response) + tried, "{response:?}");
    }
    document
}

/// The problem document (RFC 9457) of an answer, which is checked to be one.
pub(crate) fn problem(response: &Response, verdict: (u16, &str)) -> Value {
    assert!(response.is_whole, "{response:?}");
    assert_eq!(
        response.field("content-type"),
        Some("application/problem+json"),
        "{}",
        response.text()
    );
    assert_eq!(response.field("cache-control"), Some("no-store"));
    let document = response.json();
    let (status, code) = verdict;
    let said = (response.status, document["code"].as_str());
    assert_eq!(said, (status, Some(code)), "{document}");
    assert_eq!(document["status"], json!(status), "{document}");
    assert_eq!(document["type"], "about:blank", "{document}");
    assert!(document["title"].is_string(), "{document}");
    assert!(status < 500 || [503, 507].contains(&status), "{document}");
    let detail = document["detail"].as_str().expect("a detail");
    let is_sentence = detail.ends_with('.') && !detail.ends_with("..") && detail.len() > 10;
    assert!(is_sentence, "{detail}");
    generation(response);
    document
}
