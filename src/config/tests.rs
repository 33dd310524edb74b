//! The configuration as a whole: what is refused and how, and what the shipped files say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::source::Source;
use super::*;
use crate::route::Registration;

const FIXTURES: &str = "tests/fixtures/config";

fn no_env(_: &str) -> Option<String> {
    None
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml("x.yaml", text, no_env)
}

fn load(path: &str) -> Result<Config, ConfigError> {
    Config::load(Some(Path::new(path)), no_env)
}

fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no {extension} file");
    files
}

#[test]
fn each_bad_file_is_refused_with_its_exact_error() {
    let mut wrong = Vec::new();
    for path in files_in(FIXTURES, "yaml") {
        let expected = fs::read_to_string(path.with_extension("error")).unwrap_or_default();
        let actual = match Config::load(Some(&path), no_env) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        if actual != expected.trim_end() {
            wrong.push(format!("expected {expected}  actual {actual}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_expected_error_has_its_bad_file() {
    for path in files_in(FIXTURES, "error") {
        assert!(path.with_extension("yaml").exists(), "{}", path.display());
    }
}

#[test]
fn an_error_is_one_line_with_its_place() {
    for path in files_in(FIXTURES, "error") {
        let error = fs::read_to_string(&path).unwrap();
        let file = path.with_extension("yaml");
        let place = error.strip_prefix(&format!("{}:", file.display()));
        let mut parts = place.expect("the error names the file").split(':');
        for what in ["line", "column"] {
            let number: usize = parts.next().unwrap().parse().expect(what);
            assert!(number > 0, "{what}: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why_and_keeps_the_cause() {
    for (path, expected) in [
        (
            "conf/no-such-file.yaml",
            "conf/no-such-file.yaml: cannot be read; no such file: check the path",
        ),
        (
            "conf",
            "conf: cannot be read; it is a directory: name the file in it",
        ),
    ] {
        let error = load(path).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt;

    let file = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything.
    if fs::read(file.path()).is_ok() {
        return;
    }
    let error = Config::load(Some(file.path()), no_env).unwrap_err();
    let expected = "cannot be read; permission denied: let this user read it";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_file_that_says_nothing_is_the_defaults() {
    for text in [
        "",
        "\n\n",
        "# nothing\n",
        "---\n",
        "---\n# nothing\n...\n",
        "\u{feff}# nothing\n",
        "null\n",
        "{}\n",
        "timeouts:\n  # connect: 1s\nroutes:\n# - prefix: /shop\ntargets:\n  allow:\n",
        "client_bind_to_ipv4:\ntrusted_proxies:\n",
    ] {
        assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
    }
    assert_eq!(Config::load(None, no_env).unwrap(), Config::default());
}

#[test]
fn the_deployed_file_is_the_defaults() {
    // But for the store: a deployed proxy keeps its routes. What the table may hold is the registry's.
    let table = crate::registry::Limits::default();
    let expected = Config {
        limits: Limits {
            routes: Some(table.routes),
            routes_per_owner: Some(table.routes_per_owner),
            hosts: Some(table.hosts),
            hosts_per_owner: Some(table.hosts_per_owner),
            instances: Some(table.instances),
            instances_per_owner: Some(table.instances_per_owner),
            hosts_per_registration: Some(table.hosts_per_registration),
            route_memory: Some(table.route_memory),
            ..Limits::default()
        },
        store: Store::Embedded {
            path: "/var/lib/dynamic-reverse-proxy/routes.redb".into(),
        },
        ..Config::default()
    };
    assert_eq!(load("conf/pingora.yaml").unwrap(), expected);
}

/// The deployed file with every key that it comments out: a comment has a blank after its `#`, a
/// key has none.
fn deployed_uncommented() -> String {
    let text = fs::read_to_string("conf/pingora.yaml").unwrap();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_deployed_file_shows_every_key() {
    let text = deployed_uncommented();
    let source = Source {
        file: "conf/pingora.yaml".into(),
        text: &text,
    };
    let outline = source.outline();
    let shown: BTreeSet<_> = outline
        .iter()
        .filter(|entry| entry.key.is_some())
        .map(|entry| entry.path.replace("[0]", "[]").replace("[1]", "[]"))
        .collect();
    let known: BTreeSet<_> = key::sections()
        .into_iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| (section, *key)))
        .map(|(section, key)| match section {
            "" => key.to_owned(),
            section => format!("{section}.{key}"),
        })
        .collect();
    assert_eq!(shown, known);
}

#[test]
fn what_the_deployed_file_comments_out_is_valid_too() {
    let config = parse(&deployed_uncommented().replace("\nport: 3000\n", "\n")).unwrap();
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.tls.listen.len(), 2);
    assert_eq!(config.server.max_blocking_threads, Some(512));
    assert!(!config.control.is_default);
    assert!(config.control.tokens.is_some());
}

proptest! {
    /// Whatever a slip of the hand makes of the deployed file, it is read, or refused in one line
    /// with a place.
    #[test]
    fn a_damaged_file_is_read_or_refused_in_one_line(
        start in 0usize..12_000,
        length in 0usize..40,
        inserted in "[ \\t\\n\\-a-z0-9:#\"'\\[\\]{}&*!|>%@é]{0,6}",
    ) {
        let mut text: Vec<_> = deployed_uncommented().chars().collect();
        let start = start.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, inserted.chars());
        if let Err(error) = parse(&text.into_iter().collect::<String>()) {
            let error = error.to_string();
            prop_assert!(error.starts_with("x.yaml:"), "{}", error);
            prop_assert!(!error.contains(char::is_control), "{}", error);
        }
    }
}

#[test]
fn places_hold_behind_a_mark_other_letters_and_other_line_ends() {
    for (text, expected) in [
        ("\u{feff}port: x", "x.yaml:1:7: `port` "),
        ("version: 1\r\nport: x\r\n", "x.yaml:2:7: `port` "),
        ("{user: é, port: x}", "x.yaml:1:17: `port` "),
        ("user: &name x\nport: *name", "x.yaml:2:7: `port` "),
        (
            "routes: &all\n  - prefix: [a]",
            "x.yaml:2:13: `routes[0].prefix` ",
        ),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}

#[test]
fn the_examples_are_valid() {
    for path in files_in("conf/examples", "yaml") {
        if let Err(error) = Config::load(Some(&path), no_env) {
            panic!("{error}");
        }
    }
}

#[test]
fn the_port_is_on_both_families_and_the_second_is_optional() {
    let listen = |text: &str| -> Vec<_> {
        let listen = parse(text).unwrap().listen;
        listen
            .into_iter()
            .map(|listen| (listen.address.to_string(), listen.optional))
            .collect()
    };
    let of = |address: &str, optional| (address.to_owned(), optional);
    assert_eq!(
        listen("port: 80"),
        [of("0.0.0.0:80", false), of("[::]:80", true)]
    );
    assert_eq!(listen("port: \"80\""), listen("port: 80"));
    assert_eq!(listen("port: 0"), [of("0.0.0.0:0", false)]);
    assert_eq!(
        listen("listen: ['[::]:80', '127.0.0.1:0']"),
        [of("[::]:80", false), of("127.0.0.1:0", false)]
    );
}

#[test]
fn the_environment_overrides_the_port() {
    let port = |text: &str, upper: Option<&str>, lower: Option<&str>| {
        let env = |name: &str| match name {
            "PORT" => upper.map(str::to_owned),
            "port" => lower.map(str::to_owned),
            _ => None,
        };
        Config::from_yaml("x.yaml", text, env)
            .map(|config| config.listen[0].address.port())
            .map_err(|error| error.to_string())
    };
    assert_eq!(port("port: 1", None, None), Ok(1));
    assert_eq!(port("port: 1", Some("2"), None), Ok(2));
    assert_eq!(port("port: 1", None, Some("3")), Ok(3));
    assert_eq!(port("port: 1", Some("2"), Some("3")), Ok(2));
    assert_eq!(port("", Some("0"), None), Ok(0));
    for (variable, value, shown) in [("PORT", "65536", "65536"), ("port", "abc", "abc")] {
        let (upper, lower) = match variable {
            "PORT" => (Some(value), None),
            _ => (None, Some(value)),
        };
        assert_eq!(
            port("", upper, lower).unwrap_err(),
            format!(
                "environment variable {variable}: is not a port: {shown:?}; write a whole number \
                 from 0 to 65535, or unset the variable"
            )
        );
    }
    assert!(port("", Some(""), None).is_err());
    assert_eq!(
        port("listen: ['127.0.0.1:1']", Some("2"), None).unwrap_err(),
        "environment variable PORT: cannot override `listen` of the configuration; unset it, or \
         write `port` instead of `listen`"
    );
}

#[test]
fn every_setting_reaches_the_configuration() {
    let config = load("conf/examples/behind-a-load-balancer.yaml").unwrap();
    assert_eq!(config.listen[0].address.to_string(), "10.0.1.5:8080");
    assert_eq!(config.trusted_proxies, ["10.0.0.0/24".parse().unwrap()]);
    assert_eq!(
        config.targets.allow,
        [
            AllowedTarget::Network("10.0.2.0/24".parse().unwrap()),
            AllowedTarget::HostSuffix("internal".to_owned()),
        ]
    );
    assert_eq!(config.timeouts.idle, Some(Duration::from_secs(75)));
    assert_eq!(config.errors.no_route, 404);
    assert_eq!(config.shutdown_grace, Duration::from_mins(1));

    let config = load("conf/examples/development.yaml").unwrap();
    assert!(config.debug);
    assert_eq!(config.log, "debug,pingora_core=info");
    assert_eq!(config.registration.unknown_fields, UnknownFields::Ignore);
    assert_eq!(config.timeouts.first_byte, None);
    assert_eq!(config.server.threads, 1);
}

#[test]
fn a_static_route_knows_where_it_was_written() {
    let text = "routes:\n  - prefix: shop\n    port: \"4321\"\n    reqHostNames: [a, b]\n";
    let [route] = &parse(text).unwrap().routes[..] else {
        panic!("one route");
    };
    let place = |line, column| Place {
        file: "x.yaml".into(),
        line,
        column,
    };
    let registration = Registration::new("shop", 4321).unwrap();
    let registration = registration.for_request_hosts(&["a", "b"]).unwrap();
    assert_eq!(route.registration, registration);
    let error = route.error("prefix", "is taken");
    assert_eq!(
        error.to_string(),
        "x.yaml:2:13: `routes[0].prefix` is taken"
    );
    assert_eq!(error.place(), Some(&place(2, 13)));
    // The field is not there: the entry is meant.
    let error = route.error("host", "is missing");
    assert_eq!(error.place(), Some(&place(2, 13)));
    assert_eq!(error.to_string(), "x.yaml:2:13: `routes[0]` is missing");
}

#[test]
fn pingora_gets_its_keys_and_our_grace() {
    let text = "work_stealing: true\nmax_retries: 3\nshutdown_grace: 1500ms\n";
    let conf = parse(text).unwrap().pingora();
    assert!(conf.work_stealing);
    assert_eq!(conf.max_retries, 3);
    assert_eq!(conf.grace_period_seconds, Some(2));
    let conf = parse("grace_period_seconds: 7\n").unwrap().pingora();
    assert_eq!(conf.grace_period_seconds, Some(7));
    let conf = Config::default().pingora();
    assert!(!conf.work_stealing);
    assert!(conf.threads >= 1);
    assert_eq!(conf.upstream_keepalive_pool_size, 1024);
    let conf = parse("fast_timeout_to_tokio_threshold_seconds: null\n").unwrap();
    assert_eq!(conf.server.fast_timeout_to_tokio_threshold_seconds, None);
}

#[test]
fn a_hundred_thousand_static_routes_are_not_too_many() {
    use std::fmt::Write as _;

    let mut text = "routes:\n".to_owned();
    for number in 0..100_000 {
        writeln!(text, "  - prefix: /user/{number}\n    port: 4321").unwrap();
    }
    assert_eq!(parse(&text).unwrap().routes.len(), 100_000);
}

#[test]
fn the_control_api_follows_the_traffic() {
    let listen = |text: &str| parse(text).unwrap().control.listen;
    let tcp = |address: &str| ControlListen::Tcp(address.parse().unwrap());
    assert_eq!(listen(""), [tcp("127.0.0.1:3001")]);
    assert_eq!(listen("port: 80"), [tcp("127.0.0.1:81")]);
    assert_eq!(listen("port: 0"), [tcp("127.0.0.1:0")]);
    assert_eq!(
        listen("listen: ['[::]:4000', '127.0.0.1:5000']"),
        [tcp("127.0.0.1:4001")]
    );
    assert_eq!(listen("control: {listen: off}"), []);
    assert_eq!(listen("port: 65535\ncontrol: {listen: off}"), []);
    assert_eq!(
        listen("control:\n  listen: ['[::1]:1', 'unix:/run/a']"),
        [tcp("[::1]:1"), ControlListen::Unix("/run/a".into())]
    );
    assert_eq!(
        listen("control: {listen: '0.0.0.0:1', tokens: t.yaml}"),
        [tcp("0.0.0.0:1")]
    );
    let env = |name: &str| (name == "PORT").then(|| "65535".to_owned());
    let error = Config::from_yaml("x.yaml", "port: 1", env).unwrap_err();
    assert_eq!(
        error.to_string(),
        "environment variable PORT: is the last port there is, and the control API is on the one \
         after it by default; write `control.listen`, such as 127.0.0.1:3001 or off"
    );
}

#[test]
fn requests_for_the_control_api_may_be_for_other_hosts() {
    let control = parse("control: {hosts: [Proxy.Internal., '[::1]', 10.0.0.1]}").unwrap();
    assert_eq!(control.control.hosts, ["proxy.internal", "::1", "10.0.0.1"]);
}

#[test]
fn the_store_is_in_the_state_directory() {
    let store = |text: &str, directory: Option<&str>| {
        let env = |name: &str| {
            let directory = directory.filter(|_| name == "STATE_DIRECTORY");
            directory.map(str::to_owned)
        };
        Config::from_yaml("x.yaml", text, env).unwrap().store
    };
    let at = |path: &str| Store::Embedded { path: path.into() };
    let text = "store: {embedded: {path: r.redb}}\n";
    assert_eq!(store("", Some("/s")), Store::Memory);
    assert_eq!(store("store: memory", None), Store::Memory);
    assert_eq!(
        store(text, None),
        at("/var/lib/dynamic-reverse-proxy/r.redb")
    );
    assert_eq!(store(text, Some("/s")), at("/s/r.redb"));
    assert_eq!(store(text, Some("/s:/t")), at("/s/r.redb"));
    assert_eq!(
        store(text, Some("")),
        at("/var/lib/dynamic-reverse-proxy/r.redb")
    );
    let configured = format!("{text}state_directory: /here");
    assert_eq!(store(&configured, Some("/s")), at("/here/r.redb"));
    let absolute = "store: {embedded: {path: /x/r.redb}}";
    assert_eq!(store(absolute, Some("/s")), at("/x/r.redb"));
}

#[test]
fn tls_has_certificates_listeners_and_authorities() {
    assert_eq!(parse("tls:\n").unwrap().tls, Tls::default());
    let tls = parse(
        "tls:\n  listen: [127.0.0.1:0, 127.0.0.1:0]\n  min_version: 1.3\n  certificates:\n    \
         - {name: a, certificate: /a.crt, key: /a.key, default: true}\n    \
         - {name: b.c_d-1, certificate: b.crt, key: b.key}\n  \
         client_auth: {mode: optional, ca: ca.pem}\n",
    )
    .unwrap()
    .tls;
    assert_eq!(tls.listen.len(), 2);
    assert_eq!(tls.min_version, TlsVersion::Tls13);
    assert_eq!(tls.client_auth, TlsClientAuth::Optional("ca.pem".into()));
    let [a, b] = &tls.certificates[..] else {
        panic!("two certificates");
    };
    assert!(a.default && !b.default);
    assert_eq!(
        (b.name.as_str(), b.key.as_path()),
        ("b.c_d-1", Path::new("b.key"))
    );
    let off = parse("tls: {client_auth: {mode: off, ca: ca.pem}}").unwrap();
    assert_eq!(off.tls.client_auth, TlsClientAuth::Off);
}

#[test]
fn a_listener_has_the_general_keys_unless_it_says_otherwise() {
    let config = parse(
        "listen:\n\
         - 127.0.0.1:1\n\
         - {address: 127.0.0.1:2, redirect_to_https: true, http2_cleartext: false}\n\
         - {address: 127.0.0.1:3, redirect_to_https: 8443, proxy_protocol: []}\n\
         - {address: 127.0.0.1:4, redirect_to_https: false, proxy_protocol: [192.0.2.1]}\n\
         - address: 127.0.0.1:5\n\
         control: {listen: off}\n\
         http2: {cleartext: true}\n\
         proxy_protocol: {trusted: [10.0.0.0/8]}\n\
         tls:\n  \
         min_version: 1.3\n  \
         client_auth: {mode: require, ca: /a.pem}\n  \
         listen:\n  \
         - 127.0.0.1:6\n  \
         - {address: 127.0.0.1:7, min_version: 1.2, proxy_protocol: []}\n  \
         - {address: 127.0.0.1:8, client_auth: {mode: optional, ca: /b.pem}}\n  \
         - {address: 127.0.0.1:9, client_auth: {mode: off}}\n",
    )
    .unwrap();
    let (trusted, single) = (
        "10.0.0.0/8".parse().unwrap(),
        "192.0.2.1/32".parse().unwrap(),
    );
    let plain: Vec<_> = config
        .listen
        .into_iter()
        .map(|listen| {
            assert!(!listen.optional);
            let port = listen.address.port();
            let redirect = listen.redirect_to_https;
            (
                port,
                redirect,
                listen.http2_cleartext,
                listen.proxy_protocol,
            )
        })
        .collect();
    let expected = [
        (1, HttpsRedirect::Off, true, vec![trusted]),
        (2, HttpsRedirect::DefaultPort, false, vec![trusted]),
        (3, HttpsRedirect::Port(8443), true, vec![]),
        (4, HttpsRedirect::Off, true, vec![single]),
        (5, HttpsRedirect::Off, true, vec![trusted]),
    ];
    assert_eq!(plain, expected);
    let secured = config.tls.listen.into_iter().map(|listen| {
        let port = listen.address.port();
        (
            port,
            listen.min_version,
            listen.client_auth,
            listen.proxy_protocol,
        )
    });
    let (old, new) = (TlsVersion::Tls12, TlsVersion::Tls13);
    let require = || TlsClientAuth::Require("/a.pem".into());
    let optional = TlsClientAuth::Optional("/b.pem".into());
    let expected = [
        (6, new, require(), vec![trusted]),
        (7, old, require(), vec![]),
        (8, new, optional, vec![trusted]),
        (9, new, TlsClientAuth::Off, vec![trusted]),
    ];
    assert_eq!(secured.collect::<Vec<_>>(), expected);
}

#[test]
fn redirects_name_the_port_of_the_first_tls_listener() {
    let port = |text: &str| parse(text).unwrap().tls.redirect_port;
    assert_eq!(port(""), 443);
    assert_eq!(
        port("tls: {listen: [127.0.0.1:8443, 127.0.0.1:9443]}"),
        8443
    );
    assert_eq!(
        port("tls: {listen: [127.0.0.1:8443], redirect_port: 443}"),
        443
    );
    assert_eq!(port("tls: {redirect_port: 9443}"), 9443);
}
