//! The fields that the proxy adds, takes away and leaves alone.

use crate::support::{Origin, Request, Response, TestProxy, request};

/// Sends one request with these fields through a proxy with this configuration; what the origin
/// saw, and the answer.
async fn passed(configuration: &str, fields: &str) -> (Request, Response) {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::start(configuration).await;
    proxy.register("/", origin.port()).await;
    let bytes = format!("GET /a HTTP/1.1\r\n{fields}\r\n");
    let response = request(proxy.address(), bytes).await;
    assert_eq!(response.status, 200, "{response:?}");
    (origin.requests()[0].clone(), response)
}

/// The answer to a client when the origin sends these fields.
async fn answered(fields: &str) -> Response {
    let answer: &'static str =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok").leak();
    let origin = Origin::repeating(answer).await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let response = request(proxy.address(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(response.text(), "ok");
    response
}

const TRUSTING: &str = "trusted_proxies: [127.0.0.0/8]";

const CLAIMS: &str = "Host: example.com:3000\r\n\
    X-Forwarded-For: 6.6.6.6\r\n\
    X-Forwarded-For: 7.7.7.7\r\n\
    X-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Proto: https\r\n\
    X-Forwarded-Port: 1\r\n\
    X-Real-IP: 6.6.6.6\r\n\
    Forwarded: for=6.6.6.6\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_learns_who_asked() {
    let (seen, _) = passed("", "Host: Example.com:8080\r\n").await;
    assert_eq!(seen.field("host"), Some("Example.com:8080"));
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-host"), Some("Example.com:8080"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-port"), Some("8080"));
    assert_eq!(
        seen.field("forwarded"),
        Some("for=127.0.0.1;proto=http;host=\"Example.com:8080\"")
    );
    let (seen, _) = passed("", "Host: example.com\r\n").await;
    assert_eq!(seen.field("x-forwarded-port"), Some("80"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_claims_are_overwritten() {
    let (seen, _) = passed("", CLAIMS).await;
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-host"), Some("example.com:3000"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-port"), Some("3000"));
    assert_eq!(seen.field("x-real-ip"), None);
    assert_eq!(
        seen.field("forwarded"),
        Some("for=127.0.0.1;proto=http;host=\"example.com:3000\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_claims_are_kept_and_added_to() {
    let (seen, _) = passed(TRUSTING, CLAIMS).await;
    assert_eq!(
        seen.field("x-forwarded-for"),
        Some("6.6.6.6, 7.7.7.7, 127.0.0.1")
    );
    assert_eq!(seen.field("x-forwarded-host"), Some("evil.example"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-port"), Some("1"));
    assert_eq!(seen.field("x-real-ip"), Some("6.6.6.6"));
    assert_eq!(
        seen.field("forwarded"),
        Some("for=6.6.6.6, for=127.0.0.1;proto=http;host=\"example.com:3000\"")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_that_claims_nothing_gets_the_usual_fields() {
    let (seen, _) = passed(TRUSTING, "Host: example.com\r\n").await;
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-host"), Some("example.com"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-port"), Some("80"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_scheme_is_in_both_fields_if_it_says_it_in_forwarded_alone() {
    for (said, expected) in [
        ("for=6.6.6.6;proto=https", "https"),
        ("for=6.6.6.6;proto=https, for=7.7.7.7;proto=http", "http"),
        ("for=6.6.6.6", "http"),
    ] {
        let head = format!("Host: example.com\r\nForwarded: {said}\r\n");
        let (seen, _) = passed(TRUSTING, &head).await;
        assert_eq!(seen.field("x-forwarded-proto"), Some(expected), "{said}");
    }
    let head = "Host: example.com\r\nForwarded: for=6.6.6.6;proto=https\r\n";
    let (seen, _) = passed("", head).await;
    assert_eq!(
        seen.field("x-forwarded-proto"),
        Some("http"),
        "a stranger's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_networks_proxies_are_strangers() {
    let (seen, _) = passed("trusted_proxies: [10.0.0.0/8, '::1']", CLAIMS).await;
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-real-ip"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_of_a_request_end_at_the_proxy() {
    let (seen, _) = passed(
        "",
        "Host: a\r\nConnection: X-Own, keep-alive, x-other\r\nConnection: X-Third\r\nX-Own: 1\r\n\
         X-Other: 2\r\nX-Third: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         TE: trailers\r\nTrailer: X-Sum\r\nProxy-Authorization: Basic x\r\nX-Kept: 1\r\n\
         Authorization: Basic y\r\nCookie: a=b\r\n",
    )
    .await;
    for name in [
        "connection",
        "x-own",
        "x-other",
        "x-third",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "proxy-authorization",
        "upgrade",
    ] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.field("x-kept"), Some("1"));
    assert_eq!(seen.field("authorization"), Some("Basic y"));
    assert_eq!(seen.field("cookie"), Some("a=b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_nominate_what_the_proxy_says() {
    let said = "Forwarded, X-Forwarded-Port, X-Request-Id, X-Real-Ip";
    let (seen, _) = passed("", &format!("Host: a\r\nConnection: {said}\r\n")).await;
    assert!(seen.field("forwarded").is_some());
    assert_eq!(seen.field("x-forwarded-port"), Some("80"));
    assert!(seen.field("x-request-id").is_some());
    // Pingora does not want to hear of these at all.
    let proxy = TestProxy::plain().await;
    let origin = Origin::saying("ok").await;
    proxy.register("/", origin.port()).await;
    for name in [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "Host",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\n\r\n");
        let response = request(proxy.address(), bytes).await;
        assert_eq!(
            response.verdict(),
            (400, "BAD_REQUEST".to_owned()),
            "{name}"
        );
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cannot_nominate_its_own_framing_or_host_away() {
    for name in ["Content-Length", "Host"] {
        let origin = Origin::echoing().await;
        let proxy = TestProxy::plain().await;
        proxy.register("/", origin.port()).await;
        let mut client = proxy.client().await;
        let bytes = format!(
            "POST /a HTTP/1.1\r\nHost: a\r\nConnection: {name}\r\nContent-Length: 5\r\n\r\nhello"
        );
        let response = client.exchange(bytes).await;
        // Either is fine: refused, or passed on whole.
        if response.status == 200 {
            assert_eq!(response.text(), "hello", "{name}");
            assert_eq!(origin.requests()[0].field("host"), Some("a"), "{name}");
        } else {
            assert_eq!(response.status, 400, "{name}: {response:?}");
            assert_eq!(origin.requests().len(), 0, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_fields_of_an_answer_end_at_the_proxy() {
    let response = answered(
        "Connection: X-Own, keep-alive\r\nConnection: x-other\r\nX-Own: 1\r\nX-Other: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\n\
         X-Kept: 1\r\n",
    )
    .await;
    assert_eq!(response.field("connection"), Some("keep-alive"));
    for name in [
        "x-own",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "upgrade",
    ] {
        assert_eq!(response.field(name), None, "{name}");
    }
    assert_eq!(response.field("x-kept"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_fields_of_an_answer_are_left_alone() {
    let response = answered(
        "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: mine\r\nLocation: http://x/y?z\r\n\
         X-Latin: caf\u{e9}\r\nX-Empty:\r\n",
    )
    .await;
    let cookies: Vec<&str> = response
        .head
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(response.field("server"), Some("mine"));
    assert_eq!(response.field("location"), Some("http://x/y?z"));
    assert_eq!(response.field("x-empty"), Some(""));
    // Its two bytes of UTF-8, which the head shows as Latin-1.
    assert_eq!(response.field("x-latin"), Some("caf\u{c3}\u{a9}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_request_keep_their_order_and_number() {
    let (seen, _) = passed("", "Host: a\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\nX-Empty:\r\n").await;
    let own: Vec<(&str, &str)> = seen
        .head
        .fields
        .iter()
        .filter(|(name, _)| name.starts_with("x-a") || name.starts_with("x-b"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let of_a: Vec<&str> = own
        .iter()
        .filter(|(name, _)| *name == "x-a")
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(of_a, ["1", "3"], "{own:?}");
    assert_eq!(seen.field("x-b"), Some("2"));
    assert_eq!(seen.field("x-empty"), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_id_that_both_sides_know() {
    let origin = Origin::saying("ok").await;
    let proxy = TestProxy::plain().await;
    proxy.register("/", origin.port()).await;
    let mut client = proxy.client().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let response = client.get("/").await;
        let id = response.field("x-request-id").expect("an id").to_owned();
        let seen = origin.requests();
        assert_eq!(
            seen.last().unwrap().field("x-request-id"),
            Some(id.as_str())
        );
        assert_eq!(id.len(), 32, "{id}");
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_own_id_is_passed_on() {
    let longest = "x".repeat(128);
    for id in ["abc-123", longest.as_str()] {
        let (seen, response) = passed("", &format!("Host: a\r\nX-Request-ID: {id}\r\n")).await;
        assert_eq!(seen.field("x-request-id"), Some(id));
        assert_eq!(response.field("x-request-id"), Some(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_none_is_replaced() {
    let overlong = "x".repeat(129);
    for id in ["", "two words", overlong.as_str()] {
        let (seen, response) = passed("", &format!("Host: a\r\nX-Request-ID: {id}\r\n")).await;
        let new = seen.field("x-request-id").expect("an id");
        assert_eq!(new.len(), 32, "{id:?} became {new:?}");
        assert_eq!(response.field("x-request-id"), Some(new));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_has_the_name_and_the_origin_that_the_configuration_says() {
    let configuration = "request_id: {field: x-trace, accept: false}";
    let (seen, response) = passed(
        configuration,
        "Host: a\r\nX-Trace: mine\r\nX-Request-Id: other\r\n",
    )
    .await;
    let new = seen.field("x-trace").expect("an id");
    assert_eq!(new.len(), 32);
    assert_eq!(response.field("x-trace"), Some(new));
    assert_eq!(seen.field("x-request-id"), Some("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origins_own_id_stays_and_only_one_is_sent() {
    let response = answered("X-Request-Id: theirs\r\n").await;
    assert_eq!(response.field("x-request-id"), Some("theirs"));
    let response = answered("").await;
    assert_eq!(response.field("x-request-id").map(str::len), Some(32));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_proxys_own_answers_has_the_id_as_well() {
    let proxy = TestProxy::plain().await;
    let bytes = "GET /none HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n";
    let response = request(proxy.address(), bytes).await;
    assert_eq!(response.status, 501);
    assert_eq!(response.field("x-request-id"), Some("mine"));
}
