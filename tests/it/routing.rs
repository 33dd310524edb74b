//! Which app takes a request, and what it sees of it: what is matched is what is forwarded.

use std::fmt::Write as _;

use serde_json::json;

use crate::support::{Origin, Request, TestProxy, get, request};

/// Registers a prefix for some hosts.
async fn register_for(proxy: &TestProxy, hosts: &[&str], prefix: &str, port: u16) {
    let body = json!({"prefix": prefix, "port": port, "reqHostNames": hosts}).to_string();
    let response = proxy.register_json(body).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

/// Who answers a request for a host and a path; the status if nobody does.
async fn who(proxy: &TestProxy, host: &str, path: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let response = request(proxy.address(), text).await;
    if response.status == 200 {
        response.text()
    } else {
        response.status.to_string()
    }
}

/// The last request that an origin has received.
fn last(origin: &Origin) -> Request {
    origin.requests().pop().expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_matched_is_what_is_forwarded() {
    let (root, test) = (Origin::saying("root").await, Origin::saying("test").await);
    let proxy = TestProxy::plain().await;
    proxy.register("/", root.port()).await;
    proxy.register("/test", test.port()).await;
    let cases: [(&[u8], &str, &str); 61] = [
        (b"/", "root", "/"),
        (b"/test", "test", "/test"),
        (b"/test/", "test", "/test/"),
        (b"/test/a/b", "test", "/test/a/b"),
        (b"/test?a", "test", "/test?a"),
        (b"/test/?a=b&c", "test", "/test/?a=b&c"),
        (b"/testing", "root", "/testing"),
        (b"/tes", "root", "/tes"),
        (b"/test;v=1", "root", "/test;v=1"),
        (b"/test.html", "root", "/test.html"),
        (b"/TEST", "test", "/TEST"),
        (b"/Test/A", "test", "/Test/A"),
        (b"//test", "root", "//test"),
        (b"/test//x", "test", "/test//x"),
        (b"/a//test", "root", "/a//test"),
        (b"/%74est", "test", "/test"),
        (b"/%54est", "test", "/Test"),
        (b"/test%2fx", "root", "/test%2fx"),
        (b"/test%2F", "root", "/test%2F"),
        (b"/test%5cx", "root", "/test%5cx"),
        (b"/test\\x", "root", "/test\\x"),
        (b"/test%3fa", "root", "/test%3fa"),
        (b"/test%20", "root", "/test%20"),
        (b"/test/..%2fadmin", "test", "/test/..%2fadmin"),
        (b"/test/..", "root", "/"),
        (b"/test/../admin", "root", "/admin"),
        (b"/test/%2e%2E/admin", "root", "/admin"),
        (b"/test/.%2e/admin", "root", "/admin"),
        (b"/a/../test", "test", "/test"),
        (b"/./test/.", "test", "/test/"),
        (b"/test/./b", "test", "/test/b"),
        (b"/a/./b", "root", "/a/b"),
        (b"/a/../../test", "", ""),
        (b"/..", "", ""),
        (b"/%2e%2e/test", "", ""),
        (b"/test/%252e%252e/x", "test", "/test/%252e%252e/x"),
        (b"/%2574est", "root", "/%2574est"),
        (b"/test/%00", "", ""),
        (b"/test%0d%0aX:%20y", "", ""),
        (b"/test/%7f", "", ""),
        (b"/test/%zz", "test", "/test/%zz"),
        (b"/test/%", "test", "/test/%"),
        (b"/test%", "root", "/test%"),
        (b"/?q=%zz", "root", "/?q=%zz"),
        (b"/test?../../x", "test", "/test?../../x"),
        (b"/test?%2e%00?#", "", ""),
        (b"/test?%2e%00?", "test", "/test?%2e%00?"),
        (b"/test?{a:[1|2]}^`\\", "test", "/test?{a:[1|2]}^`\\"),
        (b"/test?\"a\"", "", ""),
        (b"/test?<a>", "", ""),
        (b"/test/<a>", "", ""),
        (b"/test/`a`", "", ""),
        (b"/test?\xff", "", ""),
        (b"/test/\xff", "", ""),
        (b"/test?\xc3\xa9", "test", "/test?\u{c3}\u{a9}"),
        (b"/test/\xc3\xa9", "test", "/test/%C3%A9"),
        (
            b"/test/[a]{b}|'()*!$&,=@:~",
            "test",
            "/test/[a]{b}|'()*!$&,=@:~",
        ),
        (b"http://localhost/test/x?y", "test", "/test/x?y"),
        (b"HTTP://localhost", "root", "/"),
        (b"http://localhost?q", "root", "/?q"),
        (b"https://localhost/test/../a", "root", "/a"),
    ];
    for (target, by, seen) in cases {
        let shown = String::from_utf8_lossy(target);
        let head = [b"GET ", target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
        let before = root.requests().len() + test.requests().len();
        let response = request(proxy.address(), head).await;
        if by.is_empty() {
            assert_eq!(response.status, 400, "{shown}");
            assert!(response.error().starts_with("BAD_"), "{shown}");
            assert_eq!(
                root.requests().len() + test.requests().len(),
                before,
                "{shown}"
            );
            continue;
        }
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, by),
            "{shown}"
        );
        let origin = if by == "test" { &test } else { &root };
        let request = last(origin);
        assert_eq!(request.target(), seen, "{shown}");
        assert_eq!(request.head.line, format!("GET {seen} HTTP/1.1"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_path_is_refused() {
    let origin = Origin::saying("root").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    for line in [
        "OPTIONS *",
        "GET *",
        "GET test",
        "GET localhost:80",
        "GET ?a",
        "GET http:///a",
    ] {
        let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(response.status, 400, "{line}");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn longest_prefix_wins_in_any_order() {
    let proxy = TestProxy::plain().await;
    let origins = [
        ("/a", Origin::saying("/a").await),
        ("/a/b/c", Origin::saying("/a/b/c").await),
        ("/", Origin::saying("/").await),
        ("/a/b", Origin::saying("/a/b").await),
    ];
    for (prefix, origin) in &origins {
        proxy.register(prefix, origin.port()).await;
    }
    let cases = [
        ("/", "/"),
        ("/x", "/"),
        ("/ab", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/bc", "/a"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/b/cd", "/a/b"),
        ("/a/b/c", "/a/b/c"),
        ("/A/B/C/d", "/a/b/c"),
        ("/a//b", "/a"),
    ];
    for (path, prefix) in cases {
        assert_eq!(who(&proxy, "localhost", path).await, prefix, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_root_other_paths_have_no_route() {
    let origin = Origin::saying("shop").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/shop", origin.port()).await;
    assert_eq!(who(&proxy, "localhost", "/shop/cart").await, "shop");
    for path in ["/", "/shopping", "/sho", "/a/shop"] {
        assert_eq!(who(&proxy, "localhost", path).await, "501", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_can_be_case_sensitive() {
    let (upper, lower) = (Origin::saying("upper").await, Origin::saying("lower").await);
    let proxy = TestProxy::start("routing:\n  case_sensitive: true").await;
    proxy.register("/Shop", upper.port()).await;
    proxy.register("/shop", lower.port()).await;
    for (path, expected) in [
        ("/Shop/a", "upper"),
        ("/shop/a", "lower"),
        ("/SHOP/a", "501"),
    ] {
        assert_eq!(who(&proxy, "localhost", path).await, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_with_escapes_is_found_as_clients_send_it() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/caf%C3%A9", origin.port()).await;
    proxy.register("/a%2fb", origin.port()).await;
    proxy.register("/~user", origin.port()).await;
    let raw = request(
        proxy.address(),
        b"GET /caf\xc3\xa9/x HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    assert_eq!(raw.text(), "app");
    for path in [
        "/caf%C3%A9",
        "/caf%c3%a9",
        "/a%2fb/c",
        "/a%2Fb",
        "/~user",
        "/%7euser",
    ] {
        assert_eq!(who(&proxy, "localhost", path).await, "app", "{path}");
    }
    assert_eq!(who(&proxy, "localhost", "/a/b").await, "501");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_comes_before_the_prefix() {
    let proxy = TestProxy::plain().await;
    let any = Origin::saying("any").await;
    let exact = Origin::saying("exact").await;
    let wide = Origin::saying("wide").await;
    let deep = Origin::saying("deep").await;
    proxy.register("/", any.port()).await;
    proxy.register("/a/b/c", any.port()).await;
    register_for(&proxy, &["www.example.com"], "/a", exact.port()).await;
    register_for(&proxy, &["*.example.com"], "/", wide.port()).await;
    register_for(&proxy, &["*.eu.example.com"], "/a", deep.port()).await;
    let cases = [
        ("www.example.com", "/a/b/c", "exact"),
        ("WWW.Example.COM.:8080", "/a", "exact"),
        ("www.example.com", "/other", "wide"),
        ("example.com", "/a", "any"),
        ("shop.example.com", "/a/b/c", "wide"),
        ("a.b.c.example.com", "/", "wide"),
        ("x.eu.example.com", "/a/b", "deep"),
        ("x.eu.example.com", "/b", "wide"),
        ("eu.example.com", "/a", "wide"),
        ("notexample.com", "/a", "any"),
        ("www.example.com.evil.org", "/a", "any"),
        ("", "/a", "any"),
        ("127.0.0.1", "/a", "any"),
        ("[::1]:80", "/a", "any"),
    ];
    for (host, path, expected) in cases {
        assert_eq!(who(&proxy, host, path).await, expected, "{host}{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_the_absolute_form_overrules_the_host_field() {
    let (one, two) = (Origin::saying("one").await, Origin::saying("two").await);
    let proxy = TestProxy::plain().await;
    register_for(&proxy, &["one.example"], "/", one.port()).await;
    register_for(&proxy, &["two.example"], "/", two.port()).await;
    // RFC 9112, 3.2.2: the field is ignored, and what is forwarded has the host of the target.
    for (target, host) in [
        ("one.example", "one.example"),
        ("One.Example", "one.example"),
        ("one.example:80", "one.example"),
        ("one.example", "two.example"),
    ] {
        let text = format!("GET http://{target}/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(response.text(), "one", "{target} {host}");
        let requests = one.requests();
        let seen = requests.last().expect("a request");
        assert_eq!(seen.head.line, "GET /x HTTP/1.1");
        assert_eq!(seen.field("host"), Some(target));
    }
    let text = "GET http://u@one.example/x HTTP/1.1\r\nHost: one.example\r\n\r\n";
    let response = request(proxy.address(), text).await;
    assert_eq!(response.verdict(), (400, "BAD_HOST".to_owned()));
    assert_eq!((one.requests().len(), two.requests().len()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_host_is_refused() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    for host in [
        "a b",
        "user@host",
        "a,b",
        "host:port",
        "host:99999",
        "[::1",
        "a/b",
        "\u{e9}.org",
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(response.verdict(), (400, "BAD_HOST".to_owned()), "{host}");
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_the_file_are_there_from_the_start() {
    let (root, shop) = (Origin::saying("root").await, Origin::saying("shop").await);
    let (root_port, shop_port) = (root.port(), shop.port());
    let proxy = TestProxy::start(&format!(
        "routes:\n  - prefix: /\n    port: {root_port}\n  - prefix: shop/\n    port: {shop_port}\n    \
         host: 127.0.0.1\n    reqHostNames: [\"*.example.com\", example.com]\n"
    ))
    .await;
    assert_eq!(who(&proxy, "localhost", "/shop").await, "root");
    assert_eq!(who(&proxy, "example.com", "/shop/a").await, "shop");
    assert_eq!(who(&proxy, "a.example.com", "/shop").await, "shop");
    assert_eq!(who(&proxy, "a.example.com", "/").await, "root");
    proxy.register("/", shop_port).await;
    assert_eq!(who(&proxy, "localhost", "/").await, "shop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_is_told_who_asked() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let text = "GET / HTTP/1.1\r\nHost: Example.com:8080\r\nX-Forwarded-For: 1.2.3.4\r\n\
        X-Forwarded-Proto: https\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\r\n";
    request(proxy.address(), text).await;
    let requests = origin.requests();
    let cases = [
        ("host", Some("Example.com:8080")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some("Example.com:8080")),
        ("x-forwarded-port", Some("8080")),
        ("x-forwarded-proto", Some("http")),
        ("x-real-ip", None),
    ];
    for (name, expected) in cases {
        assert_eq!(requests[0].field(name), expected, "{name}");
    }
    let forwarded = requests[0].field("forwarded").expect("Forwarded");
    assert!(forwarded.starts_with("for=127.0.0.1"), "{forwarded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_routes_are_told_apart() {
    let (even, odd) = (Origin::saying("even").await, Origin::saying("odd").await);
    let mut file = String::from("routes:\n");
    for number in 0..5000 {
        let port = if number % 2 == 0 {
            even.port()
        } else {
            odd.port()
        };
        writeln!(file, "  - {{prefix: /app/{number}, port: {port}}}").expect("a string grows");
    }
    let proxy = TestProxy::start(&file).await;
    for number in [0, 1, 2, 99, 1234, 4999] {
        let expected = if number % 2 == 0 { "even" } else { "odd" };
        assert_eq!(
            get(proxy.address(), &format!("/app/{number}/x"))
                .await
                .text(),
            expected
        );
    }
    assert_eq!(get(proxy.address(), "/app/5000").await.status, 501);
}
