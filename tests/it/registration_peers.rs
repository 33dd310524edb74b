//! Who may register: this machine, but not a web page in a browser on it, nor who is relayed by
//! another proxy on it.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::support::{Client, Response, TestProxy, registration, request};

const BODY: &str = r#"{"prefix": "/a", "port": 1234}"#;

fn with_fields(fields: &str) -> String {
    let length = BODY.len();
    format!(
        "POST /register HTTP/1.1\r\nHost: localhost:3000\r\n{fields}Content-Length: {length}\r\n\r\n{BODY}"
    )
}

/// An address of this machine that is not loopback, in the family of `any`.
pub(crate) fn outer_address(any: &str, elsewhere: &str) -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it only asks for the route.
    let socket = UdpSocket::bind((any.parse::<IpAddr>().ok()?, 0)).ok()?;
    socket
        .connect((elsewhere.parse::<IpAddr>().ok()?, 9))
        .ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

async fn register_from(source: IpAddr, proxy: SocketAddr) -> Response {
    let mut client = Client::connect_from(source, proxy)
        .await
        .expect("a connection");
    client.exchange(registration(BODY)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_127_is_this_machine() {
    let proxy = TestProxy::plain().await;
    for source in ["127.0.0.1", "127.0.0.2", "127.255.255.254"] {
        let response = register_from(source.parse().unwrap(), proxy.address()).await;
        assert_eq!(response.status, 200, "{source}: {}", response.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_loopback_is_this_machine() {
    let proxy = TestProxy::start("listen:\n  - \"[::1]:0\"").await;
    let address = SocketAddr::new("::1".parse().unwrap(), proxy.port());
    let response = request(address, registration(BODY)).await;
    assert_eq!(response.status, 200, "{}", response.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_outer_address_is_somebody_else() {
    let Some(source) = outer_address("0.0.0.0", "198.51.100.1") else {
        return eprintln!("skipped: this machine has no IPv4 address beside loopback");
    };
    let proxy = TestProxy::plain().await;
    let response = register_from(source, (source, proxy.port()).into()).await;
    assert_eq!(response.verdict(), (403, "FORBIDDEN".to_owned()));
    // The check comes before the one of the method.
    let text = "GET /register HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let response = request((source, proxy.port()).into(), text).await;
    assert_eq!(response.verdict(), (403, "FORBIDDEN".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_outer_ipv6_address_is_somebody_else() {
    let Some(source) = outer_address("::", "2001:db8::1") else {
        return eprintln!("skipped: this machine has no IPv6 address beside loopback");
    };
    let proxy = TestProxy::start("listen:\n  - \"[::]:0\"").await;
    let response = register_from(source, (source, proxy.port()).into()).await;
    assert_eq!(response.verdict(), (403, "FORBIDDEN".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_request_is_not_local() {
    let proxy = TestProxy::plain().await;
    let fields = [
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 nginx",
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-host: localhost",
        "X-FORWARDED-PORT: 80",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Server: a",
        "X-Real-IP: ::1",
        "X-Forwarded-For:",
        "X_Forwarded_For: 192.0.2.1",
        "X.Forwarded.For: 192.0.2.1",
        "X-Client-IP: 192.0.2.1",
        "X_Client_IP: 192.0.2.1",
        "X-Cluster-Client-IP: 192.0.2.1",
        "True-Client-IP: 192.0.2.1",
        "CF-Connecting-IP: 192.0.2.1",
        "CF_Connecting_IP: 192.0.2.1",
        "Fastly-Client-IP: 192.0.2.1",
    ];
    for field in fields {
        let response = request(proxy.address(), with_fields(&format!("{field}\r\n"))).await;
        assert_eq!(response.verdict(), (403, "FORBIDDEN".to_owned()), "{field}");
        let name = field.split(':').next().unwrap().to_lowercase();
        assert!(
            response.message().to_lowercase().contains(&name),
            "{}",
            response.message()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_x_forwarded_field_is_a_relays() {
    let proxy = TestProxy::plain().await;
    for field in [
        "X-Forwarded-Prefix: /a",
        "X-Forwarded-By: a",
        "X-Forwarded-Scheme: http",
    ] {
        let response = request(proxy.address(), with_fields(&format!("{field}\r\n"))).await;
        assert_eq!(response.verdict(), (403, "FORBIDDEN".to_owned()), "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_is_not_an_app() {
    let proxy = TestProxy::plain().await;
    let cases = [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Origin: http://localhost:8080\r\n", 403),
        ("Origin: http://localhost:3000\r\n", 200),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        (
            "Origin: http://localhost:3000\r\nSec-Fetch-Site: cross-site\r\n",
            403,
        ),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 403),
        ("Content-Type: multipart/form-data; boundary=x\r\n", 403),
        ("Content-Type: Text/Plain;charset=utf-8\r\n", 403),
        ("Content-Type: application/json\r\n", 200),
        ("Content-Type: application/json; charset=utf-8\r\n", 200),
        ("Content-Type: application/vnd.api+json\r\n", 200),
        ("", 200),
    ];
    for (fields, status) in cases {
        let response = request(proxy.address(), with_fields(fields)).await;
        assert_eq!(response.status, status, "{fields}: {}", response.text());
        if status == 403 {
            assert_eq!(response.error(), "FORBIDDEN", "{fields}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_field_does_not_hide_behind_a_good_one() {
    let proxy = TestProxy::plain().await;
    let cases = [
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Origin: http://localhost:3000\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
    ];
    for fields in cases {
        let response = request(proxy.address(), with_fields(fields)).await;
        assert_eq!(response.status, 403, "{fields}: {}", response.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebound_name_is_not_this_machine() {
    let proxy = TestProxy::plain().await;
    let text = with_fields("Origin: http://evil.example:3000\r\n")
        .replace("Host: localhost:3000", "Host: evil.example:3000");
    assert_eq!(
        request(proxy.address(), text).await.verdict(),
        (403, "FORBIDDEN".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_not_granted() {
    let proxy = TestProxy::plain().await;
    let text = "OPTIONS /register HTTP/1.1\r\nHost: localhost:3000\r\nOrigin: https://evil.example\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n";
    let response = request(proxy.address(), text).await;
    assert_eq!(response.status, 403);
    let grants = response
        .head
        .fields
        .iter()
        .any(|(name, _)| name.starts_with("access-control"));
    assert!(!grants, "{response:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_register_is_told_before_the_body() {
    let proxy = TestProxy::plain().await;
    let mut client = proxy.client().await;
    client
        .send("POST /register HTTP/1.1\r\nHost: a\r\nVia: 1.1 b\r\nContent-Length: 100\r\n\r\n")
        .await;
    assert_eq!(
        client.response().await.verdict(),
        (403, "FORBIDDEN".to_owned())
    );
}
