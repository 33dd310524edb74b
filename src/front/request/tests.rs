use super::*;

/// A request with this target and host, as a parser would bring it.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in fields {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text += "\r\n";
    let limits = super::super::HeadLimits {
        head: 1 << 20,
        target: 1 << 16,
        fields: 200,
    };
    let head = super::super::head::read(text.as_bytes(), &limits).unwrap();
    Request::http1(BytesMut::from(text.as_bytes()), head, Caller::nobody())
}

#[test]
fn what_is_matched_is_what_is_forwarded() {
    let cases = [
        ("/shop/cart?x=%zz", "/shop/cart", "/shop/cart?x=%zz"),
        ("/a/../b?c", "/b", "/b?c"),
        ("/%61/%2e%2e/b", "/b", "/b"),
        ("/", "/", "/"),
        ("/?", "/", "/?"),
        ("/?x", "/", "/?x"),
        ("//a//b", "//a//b", "//a//b"),
        ("http://example.com/a?b", "/a", "/a?b"),
        ("http://example.com", "/", "/"),
        ("http://example.com?a", "/", "/?a"),
        ("http://example.com/./a?b", "/a", "/a?b"),
    ];
    for (target, path, forwarded) in cases {
        let request = request("GET", target, &[("Host", "example.com")]);
        assert!(request.fault().is_none(), "{target}");
        assert_eq!(request.path(), path, "{target}");
        let seen = request.forwarded_target();
        assert_eq!(std::str::from_utf8(&seen).unwrap(), forwarded, "{target}");
    }
}

#[test]
fn the_host_of_the_absolute_form_overrules_the_field() {
    let request = request("GET", "http://A.test:81/x", &[("Host", "b.test")]);
    assert_eq!((request.host(), request.port()), ("a.test", Some(81)));
    assert_eq!(request.authority(), Some(&b"A.test:81"[..]));
}

#[test]
fn hosts_are_put_into_one_spelling() {
    let cases = [
        ("Example.COM:3000", "example.com", Some(3000)),
        ("example.com.", "example.com", None),
        ("[::1]:80", "[::1]", Some(80)),
        ("", "", None),
    ];
    for (host, expected, port) in cases {
        let request = request("GET", "/", &[("Host", host)]);
        assert_eq!((request.host(), request.port()), (expected, port), "{host}");
    }
}

#[test]
fn what_cannot_be_served_says_why() {
    let cases = [
        ("*", "a", "BAD_TARGET"),
        ("a:1", "a", "BAD_TARGET"),
        ("/..", "a", "BAD_PATH"),
        ("/%00", "a", "BAD_PATH"),
        ("/", "a b", "BAD_HOST"),
        ("/", "a:x", "BAD_HOST"),
    ];
    for (target, host, code) in cases {
        let request = request("GET", target, &[("Host", host)]);
        assert_eq!(
            request.fault().map(|fault| fault.code),
            Some(code),
            "{target} {host}"
        );
        assert_eq!(request.path(), target);
    }
}

#[test]
fn several_cookies_become_one() {
    let joined = |cookies: &[&str]| {
        let mut fields = HeaderMap::new();
        for cookie in cookies {
            fields.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        joined_cookies(&fields)
    };
    assert_eq!(joined(&[]), None);
    assert_eq!(joined(&["a=1; b=2"]), None);
    assert_eq!(joined(&["a=1", "b=2", "c=3"]).unwrap(), "a=1; b=2; c=3");
}
