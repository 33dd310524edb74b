//! Tokens files that are read, and those that are refused.

use super::*;
use crate::route::RouteKey;

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    parse(Path::new("t.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn a_hash_is_64_hexadecimal_digits_of_either_case() {
    let hash = |digits: &str| {
        tokens(&format!(
            "tokens:\n  - name: a\n    hash: sha256:{digits}\n"
        ))
        .map(|tokens| tokens.first().map(|token| token.hash))
    };
    let of_both_cases = format!("{}aB", "0f".repeat(31));
    let mut expected = [0x0f; 32];
    expected[31] = 0xab;
    assert_eq!(hash(&of_both_cases), Ok(Some(expected)));
    for wrong in [
        "a".repeat(63),
        "a".repeat(65),
        "a".repeat(66),
        format!("{}g", "a".repeat(63)),
        format!("+{}", "a".repeat(63)),
        format!("{}\u{e4}", "a".repeat(62)),
    ] {
        let error = hash(&wrong).unwrap_err();
        assert!(error.contains("64 hexadecimal digits"), "{wrong}: {error}");
    }
}

#[test]
fn a_token_has_the_rights_of_its_scopes() {
    let text = format!(
        "tokens:\n  - name: all\n    hash: {A}\n  - name: shop\n    hash: {B}\n    scopes:\n      \
         - actions: [register, take_over]\n        hosts: [\"*.example.com\"]\n        \
         prefixes: [/shop]\n        ports: [4000-4999, 8080]\n"
    );
    let tokens = tokens(&text).unwrap();
    let [all, shop] = &tokens[..] else {
        panic!("two tokens: {tokens:?}");
    };
    assert_eq!((&*all.name, all.hash), ("all", [0xaa; 32]));
    assert_eq!((&*shop.name, shop.hash), ("shop", [0xbb; 32]));
    let key = |host: &str, prefix: &str| RouteKey {
        host: HostPattern::parse(host).unwrap(),
        prefix: PathPrefix::parse(prefix).unwrap(),
    };
    let shops = |action, host, prefix, port| {
        assert!(all.rights.allows(action, &key(host, prefix), Some(port)));
        shop.rights.allows(action, &key(host, prefix), Some(port))
    };
    assert!(shops(Action::Register, "a.example.com", "/shop/a", 4999));
    assert!(shops(Action::TakeOver, "a.example.com", "/shop", 8080));
    assert!(!shops(Action::Register, "a.example.com", "/shop", 5000));
    assert!(!shops(Action::Register, "example.com", "/shop", 8080));
    assert!(!shops(Action::Register, "a.example.com", "/shopping", 8080));
    assert!(!shops(Action::Write, "a.example.com", "/shop", 8080));
}

#[test]
fn a_wrong_file_is_refused_with_its_place() {
    let entry = |rest: &str| format!("tokens:\n  - name: a\n    hash: {A}\n{rest}");
    let scope = |rest: &str| {
        entry(&format!(
            "    scopes:\n      - actions: [read]\n        {rest}"
        ))
    };
    for (text, expected) in [
        (String::new(), "t.yaml:"),
        ("tokens: 1".to_owned(), "t.yaml:1:9: not a tokens file: "),
        (
            "token: []".to_owned(),
            "t.yaml:1:1: unknown key `token`; the keys here are tokens",
        ),
        ("tokens: [".to_owned(), "t.yaml:"),
        (
            "tokens:\n  - name: a".to_owned(),
            "t.yaml:2:5: `hash` is missing; add it",
        ),
        (
            format!("tokens:\n  - hash: {A}"),
            "t.yaml:2:5: `name` is missing; add it",
        ),
        (
            "tokens:\n  - name: a b".to_owned(),
            "t.yaml:2:11: not the name of a token: \"a b\"",
        ),
        (
            "tokens:\n  - name: a\n    hash: drp_secret".to_owned(),
            "t.yaml:3:11: not a hash; write sha256: and the 64",
        ),
        (
            entry("    scope: []\n"),
            "t.yaml:4:5: unknown key `scope`; the keys here are name",
        ),
        (
            entry("    scopes: []\n"),
            "t.yaml:4:13: an empty list allows nothing",
        ),
        (entry("    scopes:\n"), "t.yaml:4:"),
        (
            entry("    scopes:\n      - {}\n"),
            "t.yaml:5:9: `actions` is missing",
        ),
        (
            entry("    scopes:\n      - actions: [reed]\n"),
            "t.yaml:5:19: no such action: \"reed\"; it must be one of read, write, register, \
             events, take_over",
        ),
        (
            entry("    scopes:\n      - actions: []\n"),
            "t.yaml:5:18: an empty list",
        ),
        (
            scope("hosts: [a..b]"),
            "t.yaml:6:17: \"a..b\": the host has an empty label",
        ),
        (scope("prefixes: [\"/a?b\"]"), "t.yaml:6:20: \"/a?b\": "),
        (
            scope("ports: [0]"),
            "t.yaml:6:17: no port or range of ports: \"0\"",
        ),
        (
            scope("ports: [9-8]"),
            "t.yaml:6:17: no port or range of ports: \"9-8\"",
        ),
        (scope("ports: [65536]"), "t.yaml:6:17: no port"),
        (scope("ports:"), "t.yaml:6:"),
        (
            format!("tokens:\n  - name: a\n    hash: {A}\n  - name: a\n    hash: {B}"),
            "t.yaml:4:11: a second token with the name \"a\", after line 2; rename one",
        ),
        (
            format!("tokens:\n  - name: a\n    hash: {A}\n  - name: b\n    hash: {A}"),
            "t.yaml:5:11: the same token as \"a\"; make another",
        ),
    ] {
        let error = tokens(&text).expect_err(&text);
        assert!(error.starts_with(expected), "{text:?}: {error}");
        assert!(
            !error.contains("drp_secret") && error.lines().count() == 1,
            "{error}"
        );
    }
}
