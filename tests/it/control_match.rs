//! `GET /v1/match`: what it says of a URL is what becomes of a request for it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Origin, TestProxy, request};

/// Everything that a URL's parameter cannot have as it is.
fn escaped(url: &str) -> String {
    let mut text = String::new();
    for byte in url.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b':' | b'-' => {
                text.push(char::from(byte));
            }
            byte => write!(text, "%{byte:02X}").unwrap(),
        }
    }
    text
}

/// Keys and the names of their origins.
const ROUTES: [(&str, &str, &str); 12] = [
    ("*", "/", "any-root"),
    ("*", "/shop", "any-shop"),
    ("*", "/shop/cart", "any-cart"),
    ("*", "/a%2fb", "any-slash"),
    ("*", "/%c3%a9", "any-e"),
    ("*", "/a//b", "any-double"),
    ("*.example.com", "/shop", "wild-shop"),
    ("*.deep.example.com", "/", "deep-root"),
    ("www.example.com", "/shop/cart", "www-cart"),
    ("www.example.com", "/only", "www-only"),
    ("%5B::1%5D", "/six", "six"),
    ("10.0.0.1", "/four", "four"),
];

async fn proxy() -> (TestProxy, Vec<Origin>) {
    let proxy = TestProxy::plain().await;
    let mut origins = Vec::new();
    for (host, prefix, name) in ROUTES {
        let origin = Origin::saying(name).await;
        let target = format!("/v1/routes/{host}{prefix}");
        proxy
            .write("PUT", &target, Some(json!({"port": origin.port()})), 201)
            .await;
        origins.push(origin);
    }
    (proxy, origins)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_agrees_with_the_traffic() {
    let (proxy, origins) = proxy().await;
    let name_of = |route: &Value| {
        let port = route["instances"][0]["port"].as_u64().unwrap();
        let at = origins
            .iter()
            .position(|origin| u64::from(origin.port()) == port);
        ROUTES[at.unwrap()].2
    };
    let urls = [
        ("other.example", "/"),
        ("other.example", ""),
        ("other.example", "/shop"),
        ("other.example", "/SHOP/"),
        ("other.example", "/shop?x=/shop/cart"),
        ("other.example", "/shop/cart"),
        ("other.example", "/shop/Cart/1"),
        ("other.example", "/shop/carts"),
        ("other.example", "/shopping"),
        ("other.example", "/shop/x/../cart"),
        ("other.example", "/x/../shop"),
        ("other.example", "/shop/%2e%2e/y"),
        ("other.example", "/shop/./cart/"),
        ("other.example", "/s%68op"),
        ("other.example", "//shop"),
        ("other.example", "/shop//cart"),
        ("other.example", "/a%2Fb"),
        ("other.example", "/a%2fb/c"),
        ("other.example", "/a/b"),
        ("other.example", "/a//b/c"),
        ("other.example", "/%c3%a9/x"),
        ("other.example", "/%C3%A9"),
        ("other.example", "/\u{e9}"),
        ("other.example", "/%zz"),
        ("other.example", "/shop;x=1"),
        ("other.example", "/shop/..;/cart"),
        ("example.com", "/shop"),
        ("a.example.com", "/shop"),
        ("a.example.com", "/shop/cart"),
        ("a.example.com", "/other"),
        ("A.B.Example.COM:8080", "/shop/x"),
        ("www.example.com", "/shop"),
        ("www.example.com.", "/shop/cart/x"),
        ("WWW.example.com", "/only"),
        ("www.example.com", "/"),
        ("x.deep.example.com", "/shop/cart"),
        ("deep.example.com", "/shop"),
        ("deep.example.com", "/x"),
        ("[::1]", "/six"),
        ("[0:0::1]:80", "/six/x"),
        ("[::2]", "/six"),
        ("10.0.0.1", "/four"),
        ("10.0.0.1", "/five"),
    ];
    for (host, path) in urls {
        let document = proxy
            .look(&format!(
                "/v1/match?url={}",
                escaped(&format!("http://{host}{path}"))
            ))
            .await;
        let taken = document["considered"].as_array().unwrap().iter();
        let taken: Vec<&Value> = taken
            .filter(|considered| considered["taken"] == true)
            .collect();
        assert_eq!(taken.len(), 1, "{host}{path}: {document}");
        assert_eq!(
            document["considered"][0], *taken[0],
            "the one that is taken is the first"
        );
        assert_eq!(
            taken[0]["prefix"], document["route"]["prefix"],
            "{document}"
        );
        let sent = if path.is_empty() { "/" } else { path };
        let text = format!("GET {sent} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let response = request(proxy.address(), text).await;
        assert_eq!(
            response.text(),
            name_of(&document["route"]),
            "{host}{path}: {document}"
        );
        // The path as it is matched is the one that is forwarded.
        let at = ROUTES
            .iter()
            .position(|route| route.2 == response.text())
            .unwrap();
        let forwarded = origins[at].requests().pop().unwrap();
        let forwarded = forwarded.target().split('?').next().unwrap().to_owned();
        assert_eq!(document["path"], forwarded);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_why() {
    let (proxy, _origins) = proxy().await;
    let document = proxy
        .look("/v1/match?url=http://WWW.example.com:80/shop/cart/1%23part")
        .await;
    assert_eq!(
        (&document["host"], &document["path"]),
        (&json!("www.example.com"), &json!("/shop/cart/1"))
    );
    assert_eq!(document["generation"], ROUTES.len());
    assert_eq!(document["route"]["host"], "www.example.com");
    let considered: Vec<(&str, &str, bool)> = document["considered"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert!(!one["why"].as_str().unwrap().is_empty());
            let text = |field: &str| one[field].as_str().unwrap();
            (
                text("host"),
                text("prefix"),
                one["taken"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        considered,
        [
            ("www.example.com", "/shop/cart", true),
            ("*.example.com", "/shop", false),
            ("*", "/shop/cart", false),
            ("*", "/shop", false),
            ("*", "/", false),
        ]
    );
    assert!(
        document["why"].as_str().unwrap().ends_with('.'),
        "{document}"
    );
    // A path alone is one without a host.
    let document = proxy.look("/v1/match?url=/shop").await;
    assert_eq!(
        (&document["host"], &document["route"]["prefix"]),
        (&json!(""), &json!("/shop"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_an_answer_too() {
    let proxy = TestProxy::plain().await;
    proxy
        .write(
            "PUT",
            "/v1/routes/a.example/x",
            Some(json!({"port": 1})),
            201,
        )
        .await;
    for url in ["http://b.example/x", "http://a.example/xy", "/x"] {
        let document = proxy.look(&format!("/v1/match?url={url}")).await;
        assert_eq!(
            (&document["route"], &document["considered"]),
            (&Value::Null, &json!([]))
        );
        assert!(
            document["why"].as_str().unwrap().starts_with("No route"),
            "{document}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_url_is_refused() {
    let proxy = TestProxy::plain().await;
    for url in [
        "",
        "%20",
        "http://",
        "http:///x",
        "http://a%20b/x",
        "http://a.example:99999999/x",
        "http://[::zz]/x",
        "/a%20b",
        "/../x",
        "/%2500",
        "x/y",
        "*",
        "%FF",
        "http://u:p@a.example/",
        "http://a*b/",
    ] {
        let response = proxy
            .api("GET", &format!("/v1/match?url={url}"), None)
            .await;
        assert_eq!(response.status, 400, "{url}: {}", response.text());
        let code = response.json()["code"].as_str().unwrap().to_owned();
        let document = crate::support::problem(&response, (400, &code));
        assert!(
            ["INVALID_URL", "INVALID_QUERY"].contains(&&*code),
            "{url}: {document}"
        );
        assert_eq!(document["parameter"], "url", "{url}: {document}");
    }
    let none = proxy
        .refused("GET", "/v1/match", None, (400, "INVALID_QUERY"))
        .await;
    assert!(none["detail"].as_str().unwrap().contains("url"), "{none}");
    let other = proxy
        .refused("GET", "/v1/match?url=/&uri=/", None, (400, "INVALID_QUERY"))
        .await;
    assert_eq!(other["parameter"], "uri", "{other}");
}
