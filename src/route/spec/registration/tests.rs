//! Registrations that are read, and the errors of bad ones.

use super::*;

fn read(body: &str) -> Result<Registration, SpecError> {
    Registration::from_json(body.as_bytes(), UnknownFields::Refuse)
}

#[test]
fn the_contracts_examples_are_read() {
    let cases = [
        (r#"{"prefix": "/", "port":1234}"#, "/", 1234, "localhost"),
        (
            r#"{"prefix": "/test", "port":4321}"#,
            "/test",
            4321,
            "localhost",
        ),
        (
            r#"{"prefix": "test/", "port":"3005"}"#,
            "/test",
            3005,
            "localhost",
        ),
        (
            r#"{"host": "127.0.0.1", "prefix": "/a", "port":1}"#,
            "/a",
            1,
            "127.0.0.1",
        ),
        (
            r#"{"host": "[::1]", "prefix": "/a", "port":1}"#,
            "/a",
            1,
            "::1",
        ),
        (
            r#"{"host": null, "prefix": "/a", "port":1, "reqHostNames":null}"#,
            "/a",
            1,
            "localhost",
        ),
    ];
    for (body, prefix, port, host) in cases {
        let read = read(body).unwrap();
        assert_eq!(read.prefix.as_str(), prefix);
        let port = NonZeroU16::new(port).unwrap();
        let place = Place::Tcp(host.to_owned(), port);
        assert_eq!(read.destination, Destination::at(place));
        assert_eq!(read.request_hosts, [HostPattern::Any]);
    }
}

#[test]
fn a_destination_has_many_forms() {
    let read = |fields: &str| read(&format!(r#"{{"prefix": "/a", {fields}}}"#));
    let unix = read(r#""unix": "/run/x.sock""#).unwrap();
    let place = Place::Unix("/run/x.sock".to_owned());
    assert_eq!(unix.destination, Destination::at(place));
    let secured = read(r#""port": 1, "protocol": "h2", "https": true"#).unwrap();
    assert_eq!(
        secured.destination.tls,
        Some(crate::route::TlsWish::default())
    );
    for (fields, code) in [
        (r#""port": 1, "unix": "/run/x""#, "INVALID_UNIX"),
        (r#""unix": 7"#, "INVALID_UNIX"),
        (r#""unix": "x""#, "INVALID_UNIX"),
        (r#""port": 1, "protocol": "h3""#, "INVALID_PROTOCOL"),
        (r#""port": 1, "protocol": "h2""#, "INVALID_PROTOCOL"),
        (r#""port": 1, "https": "yes""#, "INVALID_HTTPS"),
        (r#""port": 1, "https": {"sni": "x"}"#, "INVALID_HTTPS"),
        (
            r#""port": 1, "host": "10.0.0.1", "https": true"#,
            "INVALID_HTTPS",
        ),
        (r#""https": true"#, "INCOMPLETE_REQUEST"),
    ] {
        assert_eq!(read(fields).unwrap_err().code(), code, "{fields}");
    }
}

const BAD: [(&str, &str, &str); 36] = [
    ("", "BAD_REQUEST", "not JSON"),
    ("prefix=/a&port=1", "BAD_REQUEST", "not JSON"),
    (r#"{"prefix": "/a", "port": 1"#, "BAD_REQUEST", "not JSON"),
    ("\u{feff}{}", "BAD_REQUEST", "not JSON"),
    (
        r#"{"prefix": "/a", "port": 1} {}"#,
        "BAD_REQUEST",
        "not JSON",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "port": 1}"#,
        "BAD_REQUEST",
        "has the field `port` twice; keep one",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "x": 1, "x": 2}"#,
        "BAD_REQUEST",
        "`x` twice",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "timeouts": {"connect": "1s", "connect": "1s"}}"#,
        "BAD_REQUEST",
        "`connect` twice",
    ),
    ("null", "INCOMPLETE_REQUEST", "null"),
    ("[1]", "INCOMPLETE_REQUEST", "a list"),
    ("{}", "INCOMPLETE_REQUEST", "prefix and port"),
    (r#"{"prefix": "/a"}"#, "INCOMPLETE_REQUEST", "port"),
    (r#"{"port": 1}"#, "INCOMPLETE_REQUEST", "prefix"),
    (
        r#"{"prefix": " ", "port": 1}"#,
        "INCOMPLETE_REQUEST",
        "prefix",
    ),
    (
        r#"{"prefix": "/a", "port": null}"#,
        "INCOMPLETE_REQUEST",
        "port",
    ),
    (
        r#"{"prefx": "/a", "port": 1}"#,
        "INCOMPLETE_REQUEST",
        "did you mean `prefix`",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostName": ["a"]}"#,
        "UNKNOWN_FIELD",
        "`reqHostNames`",
    ),
    (r#"{"prefix": 7, "port": 1}"#, "INVALID_PREFIX", "7"),
    (
        r#"{"prefix": "/a\u0000", "port": 1}"#,
        "INVALID_PREFIX",
        "prefix",
    ),
    (
        r#"{"prefix": "/a/../b", "port": 1}"#,
        "INVALID_PREFIX",
        "..",
    ),
    (
        r#"{"prefix": "/a/%2e%2E/b", "port": 1}"#,
        "INVALID_PREFIX",
        "..",
    ),
    (r#"{"prefix": "/a", "port": 0}"#, "INVALID_PORT", "0"),
    (
        r#"{"prefix": "/a", "port": 65536}"#,
        "INVALID_PORT",
        "65536",
    ),
    (r#"{"prefix": "/a", "port": -1}"#, "INVALID_PORT", "-1"),
    (r#"{"prefix": "/a", "port": 1.5}"#, "INVALID_PORT", "1.5"),
    (r#"{"prefix": "/a", "port": "abc"}"#, "INVALID_PORT", "abc"),
    (r#"{"prefix": "/a", "port": "+1"}"#, "INVALID_PORT", "+1"),
    (r#"{"prefix": "/a", "port": [1]}"#, "INVALID_PORT", "[1]"),
    (
        r#"{"prefix": "/a", "port": 1, "host": "a:1"}"#,
        "INVALID_HOST",
        "a:1",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": "*.a"}"#,
        "INVALID_HOST",
        "*.a",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "host": 5}"#,
        "INVALID_HOST",
        "5",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": "a"}"#,
        "INVALID_REQ_HOST_NAMES",
        "a",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": []}"#,
        "INVALID_REQ_HOST_NAMES",
        "leave",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": [1]}"#,
        "INVALID_REQ_HOST_NAMES",
        "[1]",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["*"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "*",
    ),
    (
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["a.com:80"]}"#,
        "INVALID_REQ_HOST_NAMES",
        "port",
    ),
];

#[test]
fn every_bad_body_has_its_code_and_names_its_field() {
    for (body, code, named) in BAD {
        let error = read(body).expect_err(body);
        assert_eq!(error.code(), code, "{body}: {error}");
        assert!(error.to_string().contains(named), "{body}: {error}");
    }
}

#[test]
fn unknown_fields_can_be_ignored() {
    let body = br#"{"prefix": "/a", "port": 1, "pid": 7}"#;
    assert!(Registration::from_json(body, UnknownFields::Ignore).is_ok());
}

#[test]
fn request_hosts_are_normalised() {
    let body =
        r#"{"prefix": "/a", "port": 1, "reqHostNames": ["EXAMPLE.com.", "*.b.org", "10.0.0.1"]}"#;
    let names: Vec<String> = read(body)
        .unwrap()
        .request_hosts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["example.com", "*.b.org", "10.0.0.1"]);
}
