use super::*;
use crate::front::test_request;

fn written(fields: &[(&str, &str)], is_trusted: bool) -> Vec<String> {
    let request = test_request("GET", "/", fields);
    let upstream = UpstreamRequest {
        request: &request,
        is_trusted,
        is_encrypted: false,
        id_field: "x-request-id",
        id: b"7",
    };
    let head = String::from_utf8(upstream.write_http1()).unwrap();
    head.lines().map(str::to_ascii_lowercase).collect()
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|other| other == line)
}

#[test]
fn claims_of_strangers_end_here_and_those_of_trusted_proxies_stand() {
    const CLAIMS: [&str; 7] = [
        "x-real-ip",
        "x-forwarded-proto",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-original-url",
        "x-rewrite-url",
    ];
    for claim in CLAIMS {
        let fields = [("Host", "a"), (claim, "evil")];
        let line = format!("{claim}: evil");
        assert!(!has(&written(&fields, false), &line), "{claim}");
        assert!(has(&written(&fields, true), &line), "{claim}");
    }
}

#[test]
fn underscores_shadow_nothing() {
    for name in [
        "X_Forwarded_For",
        "X_Real_IP",
        "X-Forwarded_Proto",
        "x_forwarded_prefix",
        "X_Request_ID",
        "Content_Length",
        "Transfer_Encoding",
        "Client_Cert",
        "X_Original_URL",
    ] {
        for is_trusted in [false, true] {
            let lines = written(&[("Host", "a"), (name, "evil")], is_trusted);
            let line = format!("{}: evil", name.to_ascii_lowercase());
            assert!(!has(&lines, &line), "{name} {is_trusted}");
        }
    }
    assert!(has(
        &written(&[("Host", "a"), ("my_field", "x")], false),
        "my_field: x"
    ));
}

#[test]
fn what_is_for_this_hop_ends_here() {
    let fields = [
        ("Host", "a"),
        ("Connection", "keep-alive, X-Own"),
        ("X-Own", "1"),
        ("Keep-Alive", "5"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("Accept", "*/*"),
    ];
    let lines = written(&fields, false);
    for name in [
        "connection",
        "x-own",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-authorization",
    ] {
        let start = format!("{name}:");
        assert!(!lines.iter().any(|line| line.starts_with(&start)), "{name}");
    }
    assert!(has(&lines, "accept: */*"));
}

#[test]
fn who_asked_is_told_behind_what_a_trusted_proxy_has_said() {
    let fields = [
        ("Host", "a.test:3000"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Forwarded", "for=6.6.6.6"),
    ];
    let own = written(&fields, false);
    assert!(has(&own, "x-forwarded-for: unknown"));
    assert!(has(
        &own,
        "forwarded: for=unknown;proto=http;host=\"a.test:3000\""
    ));
    assert!(has(&own, "x-forwarded-host: a.test:3000"));
    assert!(has(&own, "x-forwarded-port: 3000"));
    let behind = written(&fields, true);
    assert!(has(&behind, "x-forwarded-for: 6.6.6.6, unknown"));
    let line = "forwarded: for=6.6.6.6, for=unknown;proto=http;host=\"a.test:3000\"";
    assert!(has(&behind, line));
}

#[test]
fn the_host_of_the_absolute_form_takes_the_place_of_the_field() {
    let request = test_request("GET", "http://b.test/x", &[("Host", "a.test")]);
    let upstream = UpstreamRequest {
        request: &request,
        is_trusted: false,
        is_encrypted: false,
        id_field: "x-request-id",
        id: b"7",
    };
    let head = String::from_utf8(upstream.write_http1()).unwrap();
    assert!(
        head.starts_with("GET /x HTTP/1.1\r\nHost: b.test\r\n"),
        "{head}"
    );
    assert_eq!(head.matches("Host: ").count(), 1, "{head}");
}
