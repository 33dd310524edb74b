//! The commands that are clients of the control API, one by one, against a real proxy.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::cli::{Done, Edge, client};
use crate::support::{Origin, command, eventually, get, in_time, output_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_put_seen_and_removed() {
    let origin = Origin::saying("app").await;
    let edge = Edge::start().await;
    let port = origin.port().to_string();

    let done = edge.ok(&["routes", "put", "/shop", "--port", &port]).await;
    assert!(
        done.out.starts_with("/shop: created (generation "),
        "{done:?}"
    );
    assert_eq!(get(edge.proxy.address(), "/shop").await.text(), "app");
    let done = edge
        .json(&["routes", "put", "/shop", "--port", &port, "--json"])
        .await;
    assert_eq!(done["result"], "unchanged");

    let list = edge.ok(&["routes", "list"]).await.out;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with("HOST"), "{list}");
    assert!(lines[1].contains("/shop") && lines[1].contains(&format!("localhost:{port}")));
    assert!(
        !list.contains('\u{1b}'),
        "colours without a terminal: {list}"
    );
    let list = edge.json(&["routes", "list", "--json"]).await;
    assert_eq!(list["routes"][0]["prefix"], "/shop");

    let shown = edge.ok(&["routes", "get", "/shop"]).await.out;
    assert!(
        shown.contains("etag") && shown.contains("default"),
        "{shown}"
    );
    let shown = edge.json(&["routes", "get", "*/shop", "--json"]).await;
    assert_eq!(shown["instances"][0]["port"], origin.port());

    let done = edge.ok(&["routes", "remove", "/shop"]).await;
    assert!(done.out.starts_with("/shop: removed"), "{done:?}");
    assert_eq!(get(edge.proxy.address(), "/shop").await.status, 501);
    edge.run(&["routes", "remove", "/shop"])
        .await
        .is(3, "NO_SUCH_ROUTE");
    edge.run(&["routes", "get", "/shop"])
        .await
        .is(3, "NO_SUCH_ROUTE");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_has_its_route() {
    let edge = Edge::start().await;
    for (key, host, prefix) in [
        ("/", "*", "/"),
        ("/a/b", "*", "/a/b"),
        ("example.com/a", "example.com", "/a"),
        ("*.example.com/", "*.example.com", "/"),
        ("/a%2fb", "*", "/a%2fb"),
        ("/instances/a", "*", "/instances/a"),
        ("/caf\u{e9}", "*", "/caf%C3%A9"),
    ] {
        let put = edge
            .json(&["routes", "put", key, "--port", "4321", "--json"])
            .await;
        assert_eq!(put["route"]["host"], host, "{key}");
        assert_eq!(put["route"]["prefix"], prefix, "{key}");
        let got = edge.json(&["routes", "get", key, "--json"]).await;
        assert_eq!(got["prefix"], prefix, "{key}");
        // One instance more, and away again.
        edge.ok(&["routes", "put", key, "--port", "4322", "--instance", "b"])
            .await;
        let got = edge.json(&["routes", "get", key, "--json"]).await;
        assert_eq!(got["instances"].as_array().map(Vec::len), Some(2), "{key}");
        edge.ok(&["routes", "remove", key, "--instance", "b"]).await;
        edge.run(&["routes", "remove", key, "--instance", "b"])
            .await
            .is(3, "NO_SUCH");
    }
    let list = edge
        .json(&["routes", "list", "--host", "example.com", "--json"])
        .await;
    assert_eq!(list["total"], 1);
    let list = edge
        .json(&["routes", "list", "--prefix", "/a", "--host", "*", "--json"])
        .await;
    let below = list["routes"].as_array().expect("routes");
    assert!(
        below.iter().all(|route| route["prefix"] == "/a/b"),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_can_be_conditional_or_dry() {
    let edge = Edge::start().await;
    edge.ok(&[
        "routes", "put", "/a", "--port", "1000", "--owner", "me", "--ttl", "1h",
    ])
    .await;
    let before = edge.json(&["routes", "get", "/a", "--json"]).await;
    assert_eq!(before["instances"][0]["owner"], "me");
    assert_eq!(before["instances"][0]["ttl"], "1h");
    let tag = before["etag"].as_str().expect("an entity tag").to_owned();

    let put = ["routes", "put", "/a", "--port", "1001", "--if-match", &tag];
    let done = edge.ok(&[&put[..], &["--dry-run"]].concat()).await;
    assert!(done.out.contains("would be replaced"), "{done:?}");
    edge.ok(&put).await;
    edge.run(&put).await.is(4, "PRECONDITION_FAILED");
    let bare = tag.trim_matches('"');
    edge.run(&["routes", "remove", "/a", "--if-match", bare])
        .await
        .is(4, "PRECONDITION_FAILED");
    edge.ok(&["routes", "remove", "/a", "--dry-run"]).await;
    let list = edge
        .json(&["routes", "list", "--owner", "nobody", "--json"])
        .await;
    assert_eq!(list["routes"], json!([]));
    edge.ok(&["routes", "get", "/a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_matched() {
    let edge = Edge::start().await;
    edge.ok(&["routes", "put", "example.com/shop", "--port", "4321"])
        .await;
    let done = edge
        .ok(&["routes", "match", "http://example.com/shop/cart"])
        .await;
    assert!(done.out.contains("example.com/shop"), "{done:?}");
    let done = edge
        .run(&["routes", "match", "http://other.org/shop", "--json"])
        .await;
    done.is(3, "no route takes http://other.org/shop");
    assert_eq!(done.json()["route"], Value::Null);
    let done = edge.run(&["routes", "match", "http://[/"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_imported_again() {
    let edge = Edge::start().await;
    for number in 1..=20 {
        let (key, port) = (format!("/app/{number}"), (4000 + number).to_string());
        edge.ok(&["routes", "put", &key, "--port", &port, "--ttl", "1h"])
            .await;
    }
    edge.ok(&[
        "routes",
        "put",
        "a.com/app/1",
        "--port",
        "4500",
        "--instance",
        "x",
        "--owner",
        "me",
    ])
    .await;
    let first = edge.path().join("first.json");
    let first = first.to_str().expect("text");
    edge.ok(&["routes", "export", first]).await;
    let printed = edge.ok(&["routes", "export"]).await.out;
    assert_eq!(std::fs::read_to_string(first).expect("a file"), printed);

    edge.ok(&["routes", "put", "/more", "--port", "4600"]).await;
    edge.ok(&["routes", "remove", "/app/1"]).await;
    let dry = edge
        .json(&[
            "routes",
            "import",
            first,
            "--replace",
            "--dry-run",
            "--json",
        ])
        .await;
    assert_eq!(
        (&dry["created"], &dry["removed"]),
        (&json!(1), &json!(1)),
        "{dry}"
    );
    let done = edge.ok(&["routes", "import", first]).await;
    assert!(
        done.out
            .starts_with("1 created, 0 replaced, 20 unchanged, 0 removed"),
        "{done:?}"
    );
    let done = edge.ok(&["routes", "import", first, "--replace"]).await;
    assert!(done.out.contains("1 removed"), "{done:?}");
    assert_eq!(edge.ok(&["routes", "export"]).await.out, printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_names_its_place() {
    let edge = Edge::start().await;
    let file = edge.path().join("routes.json");
    let path = file.to_str().expect("text");
    for (text, said) in [
        ("{\n  \"routes\": [}", "routes.json:2:14: "),
        ("{\"route\": []}", "unknown field `route`"),
        (
            "{\"routes\":[{\"prefix\":\"/a\"}]}",
            "missing field `instances`",
        ),
        (
            r#"{"routes":[{"prefix":"/a","instances":[{"port":1}]},{"host":"a..b","prefix":"/a","instances":[{"port":1}]}]}"#,
            "route 2 (a..b/a): ",
        ),
    ] {
        std::fs::write(&file, text).expect("a file");
        edge.run(&["routes", "import", path]).await.is(2, said);
        let list = edge.json(&["routes", "list", "--json"]).await;
        assert_eq!(list["routes"], json!([]), "all or nothing");
    }
    let twice = edge.path().join("twice.json");
    let route = |port: u16| format!(r#"{{"prefix": "/t", "instances": [{{"port": {port}}}]}}"#);
    let text = format!(r#"{{"routes": [{}, {}]}}"#, route(1), route(2));
    std::fs::write(&twice, text).unwrap();
    let said = "route 2 (/t): DUPLICATE_ROUTE: The route */t is here twice, first in entry 0";
    let twice = twice.to_str().unwrap();
    edge.run(&["routes", "import", twice]).await.is(2, said);
    edge.run(&["routes", "import", twice, "--replace"])
        .await
        .is(2, said);
    edge.run(&["routes", "import", "/none/of/this"])
        .await
        .is(2, "/none/of/this");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_registered_and_the_status_counts_it() {
    let edge = Edge::start().await;
    let register = [
        "register", "--prefix", "shop/", "--port", "4321", "--ttl", "30s",
    ];
    let hosts = ["--req-host-name", "a.com", "*.b.com"];
    let done = edge.ok(&[&register[..], &hosts].concat()).await;
    assert!(
        done.out
            .starts_with("registered: /shop -> localhost:4321 (generation "),
        "{done:?}"
    );
    edge.ok(&["routes", "get", "a.com/shop"]).await;
    edge.ok(&["routes", "get", "*.b.com/shop"]).await;
    let done = edge
        .json(&[&register[..], &["--instance", "x", "--json"]].concat())
        .await;
    assert_eq!(done["message"], "Registered.");
    edge.run(&["register", "--prefix", "/register", "--port", "1"])
        .await
        .is(2, "RESERVED_PREFIX");

    let status = edge.json(&["status", "--json"]).await;
    assert_eq!(status["routes"], 3);
    let status = edge.ok(&["status"]).await.out;
    assert!(
        status.contains("version") && status.contains(env!("CARGO_PKG_VERSION")),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_what_is_in_flight() {
    let (origin, mut visitors) = Origin::by_hand().await;
    let edge = Edge::start().await;
    let port = origin.port().to_string();
    edge.ok(&["routes", "put", "/", "--port", &port]).await;
    let mut client = edge.proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut visit = visitors.next().await;
    visit.request().await;

    edge.ok(&["drain", "/", "--dry-run"]).await;
    let mut draining = edge.command(&["drain", "/", "--within", "60s", "--wait"]);
    let mut draining = draining
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    eventually("the route drains", async || {
        let shown = edge.run(&["routes", "get", "/"]).await.out;
        shown.contains("draining")
    })
    .await;
    assert_eq!(get(edge.proxy.address(), "/").await.status, 501);
    assert!(draining.try_wait().expect("a status").is_none());
    visit.answer(200, "done").await;
    assert_eq!(client.response().await.text(), "done");
    let status = in_time("the drain ends", draining.wait())
        .await
        .expect("a status");
    assert!(status.success());
    edge.run(&["drain", "/"]).await.is(3, "NO_SUCH_ROUTE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_watched_across_a_restart() {
    let mut edge = Edge::start().await;
    let mut watch = edge.command(&["routes", "watch", "--json"]);
    watch
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut watch = watch.spawn().expect("it runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("output")).lines();
    let mut notes = BufReader::new(watch.stderr.take().expect("errors")).lines();
    let mut seen = async |edge: &Edge, prefix: &str| {
        // It may not listen yet: one more change until it is seen.
        let mut port = 4000;
        loop {
            port += 1;
            edge.ok(&["routes", "put", prefix, "--port", &port.to_string()])
                .await;
            let soon = std::time::Duration::from_millis(500);
            let line = tokio::time::timeout(soon, lines.next_line()).await;
            let Ok(line) = line else { continue };
            let line: Value =
                serde_json::from_str(&line.expect("text").expect("a line")).expect("JSON");
            assert!(line["event"].is_string(), "{line}");
            if line["data"].to_string().contains(prefix) {
                return;
            }
        }
    };
    seen(&edge, "/one").await;
    edge.restart().await;
    let note = in_time("a note", notes.next_line())
        .await
        .expect("text")
        .expect("a line");
    assert!(note.contains("connecting again"), "{note}");
    seen(&edge, "/two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_has_its_code() {
    let edge = Edge::start().await;
    let nowhere = client("http://127.0.0.1:1", &["status"]);
    Done::from(output_of(nowhere).await).is(1, "http://127.0.0.1:1");
    let wrong = client("127.0.0.1:3001", &["status"]);
    Done::from(output_of(wrong).await).is(2, "DYNAMIC_REVERSE_PROXY_API");
    // The traffic listener is no control API.
    let traffic = format!("http://{}", edge.proxy.address());
    let traffic = client(&traffic, &["status"]);
    Done::from(output_of(traffic).await).is(1, "NOT_FOUND");
    for arguments in [
        &["routes", "put", "shop", "--port", "1"][..],
        &["routes", "put", "/shop", "--port", "0"],
        &["routes", "put", "/shop", "--port", "1", "--ttl", "30"],
        &["routes"],
        &["run", "--prefix", "/a"],
        &["status", "--token-file", "/none"],
        &["status", "--token", "secret"],
    ] {
        assert_eq!(edge.run(arguments).await.code, Some(2), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_reading_does_no_harm() {
    let edge = Edge::start().await;
    for number in 1..=5 {
        edge.ok(&["routes", "put", &format!("/{number}"), "--port", "4321"])
            .await;
    }
    for arguments in [
        &["routes", "list"][..],
        &["routes", "export"],
        &["man"],
        &["completions", "zsh"],
    ] {
        let mut command = edge.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        drop(child.stdout.take());
        let done = Done::from(
            in_time("the end", child.wait_with_output())
                .await
                .expect("a status"),
        );
        assert_eq!(
            (done.code, done.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = command();
        command.args(["completions", shell]);
        let done = Done::from(output_of(command).await);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.out.contains("inactive-since"), "{shell}: {}", done.out);
    }
    let mut man = command();
    man.arg("man");
    let page = Done::from(output_of(man).await).out;
    for part in [
        ".TH dynamic-reverse-proxy",
        ".SH NAME",
        ".SH \"ROUTES IMPORT\"",
        ".SH \"RUN\"",
        "token",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let mut help = command();
    help.arg("--help");
    let help = Done::from(output_of(help).await).out;
    assert!(
        help.contains("Exit codes") && help.contains("routes"),
        "{help}"
    );
}
