//! Values that a field cannot have, wherever a body has the field: the code that a registration gets for it, a
//! pointer to it, and words that say what to write.

use crate::support::{Response, TestProxy, problem, request};

const SET: (&str, &str) = ("PUT", "/v1/routes");
const CHANGES: (&str, &str) = ("PATCH", "/v1/routes");
const ROUTE: (&str, &str) = ("PUT", "/v1/routes/*/a");
const INSTANCE: (&str, &str) = ("PUT", "/v1/routes/*/a/instances/b");

async fn send(proxy: &TestProxy, (method, target): (&str, &str), body: &str) -> Response {
    let length = body.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    request(proxy.control().await, text).await
}

/// Values that a field of an instance cannot have; the code, the field, and what is said.
const VALUES: [(&str, &str, &str, &str); 23] = [
    (
        r#"{"port": 0}"#,
        "INVALID_PORT",
        "/port",
        "0 is not a port; write a number from 1 to 65535",
    ),
    (
        r#"{"port": -1}"#,
        "INVALID_PORT",
        "/port",
        "-1 is not a port; write",
    ),
    (
        r#"{"port": 65536}"#,
        "INVALID_PORT",
        "/port",
        "65536 is not a port; write",
    ),
    (
        r#"{"port": 1.0}"#,
        "INVALID_PORT",
        "/port",
        "1.0 is not a port; write",
    ),
    (
        r#"{"port": 1e300}"#,
        "INVALID_PORT",
        "/port",
        "1e+300 is not a port; write",
    ),
    (
        r#"{"port": 123456789012345678901234567890}"#,
        "INVALID_PORT",
        "/port",
        "is not a port; write",
    ),
    (
        r#"{"port": "1"}"#,
        "INVALID_PORT",
        "/port",
        "\"1\" is not a port; write",
    ),
    (
        r#"{"port": [1]}"#,
        "INVALID_PORT",
        "/port",
        "[1] is not a port; write",
    ),
    (
        r#"{"port": 1, "host": 1}"#,
        "INVALID_HOST",
        "/host",
        "1 is not a string; write",
    ),
    (
        r#"{"port": 1, "owner": {}}"#,
        "INVALID_OWNER",
        "/owner",
        "{} is not a string; write",
    ),
    (
        r#"{"port": 1, "ttl": true}"#,
        "INVALID_TTL",
        "/ttl",
        "true is not a string; write",
    ),
    (
        r#"{"port": 1, "id": 7}"#,
        "INVALID_INSTANCE",
        "/id",
        "7 is not a string; write",
    ),
    (
        r#"{"unix": ["/x"]}"#,
        "INVALID_UNIX",
        "/unix",
        "is not a string; write",
    ),
    (
        r#"{"port": 1, "protocol": 2}"#,
        "INVALID_PROTOCOL",
        "/protocol",
        "2 is not a string; write",
    ),
    (
        r#"{"port": 1, "https": "yes"}"#,
        "INVALID_HTTPS",
        "/https",
        "\"yes\" is not true, false, or an object with server_name and profile",
    ),
    (
        r#"{"port": 1, "https": [null, null]}"#,
        "INVALID_HTTPS",
        "/https",
        "is not true, false, or",
    ),
    (
        r#"{"port": 1, "https": {"server_name": 7}}"#,
        "INVALID_HTTPS",
        "/https/server_name",
        "7 is not a string; write",
    ),
    (
        r#"{"port": 1, "https": {"server_name": "a b"}}"#,
        "INVALID_HTTPS",
        "/https/server_name",
        "\"a b\" is not a host name",
    ),
    (
        r#"{"port": 1, "https": {"profile": "none"}}"#,
        "INVALID_HTTPS",
        "/https/profile",
        "\"none\" is none of the names in `targets.tls`",
    ),
    (
        r#"{"port": 1, "https": {"sni": "x"}}"#,
        "INVALID_HTTPS",
        "/https/sni",
        "expected `server_name` or `profile`",
    ),
    (
        r#"{"port": 1, "https": {"profile": "a", "profile": "b"}}"#,
        "INVALID_BODY",
        "/https",
        "duplicate field `profile`",
    ),
    // Too much to be looked at again.
    (
        r#"{"port": MANY}"#,
        "INVALID_BODY",
        "/port",
        "expected a port",
    ),
    (
        r#"{"host": "\u0000", "port": 0}"#,
        "INVALID_PORT",
        "/port",
        "0 is not a port",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_field_cannot_have_gets_the_code_of_a_registration() {
    let proxy = TestProxy::plain().await;
    let many = format!("[{}1]", "[],".repeat(2000));
    let entry = r#""host": "*", "prefix": "/a""#;
    for (instance, code, place, said) in VALUES {
        let instance = instance.replace("MANY", &many);
        let mut bodies = vec![
            (
                ROUTE,
                "",
                format!(r#"{{"instances": [{{"port": 1}}, {instance}]}}"#),
            ),
            (INSTANCE, "", instance.clone()),
            (
                SET,
                "/routes/1",
                format!(
                    r#"{{"routes": [{{{entry}, "instances": []}}, {{{entry}, "instances": [{{"port": 1}}, {instance}]}}]}}"#
                ),
            ),
            (
                CHANGES,
                "/changes/0/instance",
                format!(r#"{{"changes": [{{"op": "join", {entry}, "instance": {instance}}}]}}"#),
            ),
        ];
        // The route's own id is another matter.
        if !instance.contains("id") {
            bodies.push((ROUTE, "", instance.clone()));
        }
        for (write, at, body) in bodies {
            // The set's first entry has no instances, which is found later than what cannot be read.
            let at = if body.contains("instances") {
                format!("{at}/instances/1")
            } else {
                at.to_owned()
            };
            let response = send(&proxy, write, &body).await;
            let document = problem(&response, (400, code));
            let detail = document["detail"].as_str().unwrap();
            assert_eq!(
                document["pointer"],
                format!("{at}{place}"),
                "{body}: {document}"
            );
            assert!(detail.contains(said), "{body}: {document}");
            assert!(!detail.contains("u16"), "{document}");
        }
    }
    assert_eq!(proxy.look("/v1/status").await["generation"], 0);
}
