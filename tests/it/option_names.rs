//! The commands have one name for one thing, and take the older names still.

use serde_json::json;

use crate::support::cli::{Done, Edge};
use crate::support::{Origin, command, eventually, get, output_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_and_its_host_have_one_name_everywhere() {
    let edge = Edge::start().await;
    for (instance, host) in [("--instance", "--host"), ("--id", "--target-host")] {
        let put = |key: &'static str| ["routes", "put", key, "--port", "4321"];
        edge.ok(&[&put("/a")[..], &[instance, "x", host, "127.0.0.1"]].concat())
            .await;
        let register = ["register", "--prefix", "/a", "--port", "4322"];
        edge.ok(&[&register[..], &[instance, "y", host, "127.0.0.2"]].concat())
            .await;
        let route = edge.json(&["routes", "get", "/a", "--json"]).await;
        let instances = route["instances"].as_array().expect("instances");
        let seen: Vec<_> = instances
            .iter()
            .map(|one| json!([one["id"], one["host"]]))
            .collect();
        assert_eq!(seen, [json!(["x", "127.0.0.1"]), json!(["y", "127.0.0.2"])]);
        edge.ok(&["drain", "/a", instance, "x", "--wait"]).await;
        edge.ok(&["routes", "remove", "/a", instance, "y"]).await;
        edge.run(&["routes", "get", "/a"])
            .await
            .is(3, "NO_SUCH_ROUTE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_the_one_name_alone() {
    for words in [
        &["register"][..],
        &["run"],
        &["drain"],
        &["routes", "put"],
        &["routes", "remove"],
    ] {
        let mut help = command();
        help.args(words).arg("--help");
        let help = Done::from(output_of(help).await).out;
        assert!(help.contains("--instance <ID>"), "{words:?}: {help}");
        for old in ["--id", "--target-host"] {
            assert!(!help.contains(old), "{words:?}: {help}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_of_a_route_are_shown_once() {
    let edge = Edge::start().await;
    let origin = Origin::saying("app").await;
    let port = origin.port().to_string();
    for id in ["a", "b", "c"] {
        edge.ok(&["routes", "put", "/x", "--port", &port, "--instance", id])
            .await;
    }
    for _ in 0..7 {
        assert_eq!(get(edge.proxy.address(), "/x").await.text(), "app");
    }
    let mut shown = Vec::new();
    eventually("the route's requests are in its first row", async || {
        let list = edge.ok(&["routes", "list"]).await.out;
        let head = list.lines().next().expect("a head");
        let at = head.find("REQUESTS").expect("the column") + "REQUESTS".len();
        let cell = |line: &str| {
            line[..at.min(line.len())]
                .rsplit(' ')
                .next()
                .map(str::to_owned)
        };
        shown = list.lines().skip(1).filter_map(cell).collect();
        shown == ["7", "-", "-"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_writes_can_be_tried_or_says_what_can() {
    let help = async |words: &[&str]| {
        let mut asking = command();
        asking.args(words).arg("--help");
        Done::from(output_of(asking).await).out
    };
    for words in [
        &["drain"][..],
        &["routes", "put"],
        &["routes", "remove"],
        &["routes", "import"],
    ] {
        let help = help(words).await;
        assert!(help.contains("--dry-run\n"), "{words:?}: {help}");
    }
    let help = help(&["register"]).await;
    assert!(help.contains("`routes put --dry-run`"), "{help}");
}
