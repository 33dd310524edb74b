//! Starting, and not starting: messages, exit codes, the environment.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::support::{Origin, TestProxy, command, get, output_of, run};

/// Checks that a start failed with an exit code and a message that names all of `named`.
fn check_failed(output: &Output, code: i32, named: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for named in named {
        assert!(text.contains(named), "{named:?} is not in: {text}");
    }
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_start_at_once() {
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let begin = Instant::now();
    let output = run(&[], &format!("port: {port}")).await;
    check_failed(&output, 1, &[&port.to_string(), "taken", "PORT"]);
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let output = run(
        &[],
        &format!("listen:\n  - 127.0.0.1:0\n  - 127.0.0.1:{port}"),
    )
    .await;
    check_failed(&output, 1, &[&port.to_string(), "taken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_for_ipv6_alone_ends_the_start() {
    let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return eprintln!("skipped: this machine has no IPv6");
    };
    let port = other.local_addr().unwrap().port();
    let output = run(&[], &format!("port: {port}")).await;
    check_failed(&output, 1, &[&port.to_string(), "taken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_port_needs_the_right() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.unwrap_or_default().trim().parse().unwrap_or(1024);
    if first <= 81 {
        return eprintln!("skipped: port 81 needs no right on this machine");
    }
    let binary = env!("CARGO_BIN_EXE_dynamic-reverse-proxy");
    let mut without_rights = Command::new("setpriv");
    without_rights
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["--inh-caps=-all", "--bounding-set=-all", binary])
        .env("PORT", "81");
    without_rights.kill_on_drop(true);
    let Ok(output) = without_rights.output().await else {
        return eprintln!("skipped: there is no setpriv");
    };
    if output.status.code().is_none_or(|code| code >= 126) || is_setprivs(&output) {
        return eprintln!("skipped: setpriv cannot give rights up: {output:?}");
    }
    check_failed(&output, 1, &["81", "privileged", "setcap"]);
}

/// Whether setpriv itself failed, which only root can use.
fn is_setprivs(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).starts_with("setpriv:")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    let output = run(&[], "listen:\n  - 203.0.113.77:3000").await;
    check_failed(&output, 1, &["203.0.113.77", "interface"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_its_place() {
    let cases: [(&str, &[&str]); 14] = [
        ("\nprot: 3000", &["proxy.yaml:2:1", "prot", "port"]),
        (
            "timeouts:\n  frist_byte: 1s",
            &["proxy.yaml:2:3", "frist_byte", "first_byte"],
        ),
        ("port: 65536", &["proxy.yaml:1:7", "65536"]),
        ("port: abc", &["proxy.yaml:1:7", "abc"]),
        ("timeouts:\n  head: 10", &["proxy.yaml:2:9", "10"]),
        ("timeouts:\n  connect: off", &["proxy.yaml:2:12", "off"]),
        ("limits:\n  head: 2MiB", &["proxy.yaml:2:9"]),
        ("errors:\n  no_route: 200", &["proxy.yaml:2:13", "200"]),
        ("threads: 0", &["proxy.yaml:1:10"]),
        ("port: 1\nport: 2", &["proxy.yaml:2:1", "port"]),
        (
            "port: 1\nlisten:\n  - 127.0.0.1:1",
            &["proxy.yaml:", "listen", "port"],
        ),
        (
            "listen:\n  - localhost:3000",
            &["proxy.yaml:2:5", "localhost:3000"],
        ),
        ("routes:\n\t- prefix: /", &["proxy.yaml:2:1", "tab"]),
        ("port: [", &["proxy.yaml:"]),
    ];
    for (text, named) in cases {
        for arguments in [&[][..], &["check"], &["-t"]] {
            let output = run(arguments, text).await;
            check_failed(&output, 2, named);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_route_is_refused_with_its_place() {
    let cases: [(&str, &[&str]); 14] = [
        ("  - prefix: /a?b\n    port: 1", &["proxy.yaml:2:13", "%3F"]),
        ("  - prefix: /a\n    port: 0", &["proxy.yaml:3:11", "0"]),
        ("  - prefix: /a", &["proxy.yaml:2:", "port"]),
        ("  - port: 1", &["proxy.yaml:2:", "prefix"]),
        (
            "  - prefix: /a\n    prot: 1\n    port: 1",
            &["proxy.yaml:3:5", "prot", "port"],
        ),
        (
            "  - prefix: /register/a\n    port: 1",
            &["proxy.yaml:2:13: `routes[0].prefix` cannot be used: /register/a is"],
        ),
        (
            "  - prefix: /a\n    port: 1\n    host: 10.0.0.1",
            &[
                "proxy.yaml:4:11: `routes[0].host` cannot be used: the target",
                "targets.allow",
            ],
        ),
        (
            "  - prefix: /a\n    port: 1\n    https: {server_name: a, profile: none}",
            &["proxy.yaml:4:12: `routes[0].https.profile` cannot be used: \"none\" is none"],
        ),
        (
            "  - prefix: /a\n    port: 1\n    host: x.invalid",
            &["proxy.yaml:4:11: `routes[0].host` cannot be used: the target's host x.invalid"],
        ),
        (
            "  - {prefix: /a, port: 1, instance: a, tls: require}\n  - {prefix: /a, port: 1, instance: b, tls: optional}",
            &[
                "proxy.yaml:3:45: `routes[1].tls` is optional",
                "`routes[0].tls` at line 2 is require",
            ],
        ),
        (
            "  - prefix: /a\n    port: 1\n    host: a:80",
            &["proxy.yaml:4:11", "a:80"],
        ),
        (
            "  - prefix: /a\n    port: 1\n    reqHostNames: [a.b, \"*\"]",
            &["proxy.yaml:4:25", "*"],
        ),
        (
            "  - prefix: /a\n    port: 1\n  - prefix: A/\n    port: 2",
            &["proxy.yaml:4:13", "`routes[0]` at line 2", "instance"],
        ),
        (
            "  - prefix: /a\n    port: 1\n    reqHostNames: []",
            &["proxy.yaml:4:", "empty"],
        ),
    ];
    for (routes, named) in cases {
        let text = format!("routes:\n{routes}\n");
        for arguments in [&[][..], &["check"], &["-t"]] {
            check_failed(&run(arguments, &text).await, 2, named);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_is_named() {
    for arguments in [&[][..], &["check"], &["-t"], &["serve"]] {
        let mut command = command();
        command
            .args(arguments)
            .args(["--conf", "/nonexistent/proxy.yaml"]);
        check_failed(&output_of(command).await, 2, &["/nonexistent/proxy.yaml"]);
    }
    let mut command = command();
    command.args(["-c", "/"]);
    check_failed(&output_of(command).await, 2, &["/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_configuration_names_has_to_be_there() {
    let output = run(&[], "port: 0\nca_file: /nonexistent/ca.pem").await;
    check_failed(&output, 1, &["ca_file", "/nonexistent/ca.pem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_is_checked_without_listening() {
    let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let text = format!("port: {port}\nroutes:\n  - prefix: /a\n    port: 1\n");
    for arguments in [&["check"][..], &["-t"], &["--test"], &["serve", "-t"]] {
        let output = run(arguments, &text).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).ends_with("proxy.yaml: ok\n"),
            "{output:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_configurations_are_good() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/conf");
    let mut files = vec![format!("{folder}/pingora.yaml")];
    for entry in std::fs::read_dir(format!("{folder}/examples")).unwrap() {
        files.push(entry.unwrap().path().to_string_lossy().into_owned());
    }
    assert!(files.len() > 1);
    for file in files {
        let mut command = command();
        command.args(["check", "-c", &file]);
        let output = output_of(command).await;
        assert_eq!(output.status.code(), Some(0), "{file}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_errors_exit_with_2() {
    for arguments in [
        &["--no-such-switch"][..],
        &["no-such-command"],
        &["check", "--daemon"],
    ] {
        let mut command = command();
        command.args(arguments);
        assert_eq!(
            output_of(command).await.status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    for argument in ["--help", "--version"] {
        let mut command = command();
        command.arg(argument);
        assert_eq!(
            output_of(command).await.status.code(),
            Some(0),
            "{argument}"
        );
    }
}

/// Starts a proxy with environment variables and a configuration file.
async fn with_environment(variables: &[(&str, &str)], configuration: &str) -> TestProxy {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    std::fs::write(&path, configuration).unwrap();
    let mut command = command();
    command
        .envs(variables.iter().copied())
        .arg("--conf")
        .arg(path);
    TestProxy::spawn(command, directory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environments_port_overrides_the_files() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let taken_port = taken.local_addr().unwrap().port().to_string();
    let file = format!("port: {taken_port}");
    for variables in [
        &[("PORT", "0")][..],
        &[("port", "0")],
        &[("port", &taken_port), ("PORT", "0")],
    ] {
        let proxy = with_environment(variables, &file).await;
        assert_ne!(proxy.port().to_string(), taken_port, "{variables:?}");
        assert_eq!(get(proxy.address(), "/").await.status, 501);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_that_is_announced_is_the_one_that_is_asked_for() {
    // A port that was free a moment ago; with bad luck it is not any more.
    for _ in 0..3 {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut check = command();
        check.args(["check"]).env("PORT", port.to_string());
        assert_eq!(output_of(check).await.status.code(), Some(0));
        let own_control = "threads: 1\ncontrol: {listen: 127.0.0.1:0}";
        let proxy = with_environment(&[("PORT", &port.to_string())], own_control).await;
        assert_eq!(
            proxy.started(),
            format!("Reverse Proxy started, listening on port {port}")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_port_in_the_environment_is_refused() {
    let cases = [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("port", "-1"),
        ("PORT", "80 "),
        ("PORT", ""),
    ];
    for (name, value) in cases {
        let mut command = command();
        command.arg("check").env(name, value);
        let output = output_of(command).await;
        check_failed(&output, 2, &[name]);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    std::fs::write(&path, "listen:\n  - 127.0.0.1:0\n").unwrap();
    let mut command = command();
    command.args(["check", "-c"]).arg(&path).env("PORT", "3000");
    check_failed(&output_of(command).await, 2, &["PORT", "listen"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_says_so_and_names_the_target() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start("debug: true").await;
    let port = proxy.port();
    let expected = format!("Reverse Proxy started, listening on port {port} (DEBUG build)");
    assert_eq!(proxy.started(), expected);
    proxy.register("/shop", origin.port()).await;
    let response = get(proxy.address(), "/shop/cart").await;
    let served_by = format!("http://localhost:{}/shop", origin.port());
    assert_eq!(response.field("x-served-by"), Some(served_by.as_str()));
    assert_eq!(
        get(proxy.address(), "/none").await.field("x-served-by"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_debug_strangers_learn_nothing() {
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::plain().await;
    let port = proxy.port();
    assert_eq!(
        proxy.started(),
        format!("Reverse Proxy started, listening on port {port}")
    );
    proxy.register("/", origin.port()).await;
    assert_eq!(get(proxy.address(), "/").await.field("x-served-by"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_line_comes_once_and_connections_are_accepted_then() {
    for _ in 0..5 {
        let mut proxy = TestProxy::start("threads: 4").await;
        assert_eq!(get(proxy.address(), "/").await.status, 501);
        let ended = proxy.stop().await;
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_addresses_are_listened_on() {
    let proxy = TestProxy::start("listen:\n  - 127.0.0.1:0\n  - 127.0.0.2:0").await;
    assert_eq!(get(proxy.address(), "/").await.status, 501);
    let listening = std::process::Command::new("ss").args(["-ltnp"]).output();
    let Ok(listening) = listening else {
        return eprintln!("skipped in part: there is no ss");
    };
    let pid = format!("pid={},", proxy.pid());
    let text = String::from_utf8_lossy(&listening.stdout).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(&pid)).collect();
    if lines.is_empty() {
        return eprintln!("skipped in part: ss shows no processes");
    }
    assert!(
        lines.iter().any(|line| line.contains("127.0.0.2:")),
        "{text}"
    );
}

/// Whoever reads the error of a file that is not there need not look for the key that names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_said_with_the_place_of_its_key() {
    for (configuration, place, key) in [
        (
            "control:\n  listen: 127.0.0.1:0\n  tokens: /none.yaml\n",
            "3:11",
            "control.tokens",
        ),
        (
            "targets:\n  tls:\n    - name: a\n      ca: /none.pem\n",
            "4:11",
            "targets.tls",
        ),
        (
            "tls:\n  listen: [\"127.0.0.1:0\"]\n  certificates:\n    - name: a\n      certificate: /none.pem\n      \
             key: /none.key\n",
            "5:20",
            "tls.certificates",
        ),
        (
            "tls:\n  listen: [\"127.0.0.1:0\"]\n  client_auth: {mode: require, ca: /none.pem}\n",
            "3:36",
            "tls.client_auth.ca",
        ),
    ] {
        for arguments in [&["check"][..], &["serve"]] {
            let ended = run(arguments, &format!("{configuration}port: 0\n")).await;
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(matches!(ended.status.code(), Some(1 | 2)), "{text}");
            let says = format!("proxy.yaml:{place}: {key}: ");
            assert!(text.contains(&says), "{arguments:?}, {says}: {text}");
        }
    }
}
