//! A store that fails: while the proxy serves, and before it starts.

use std::env;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Api, Home, Origin, Reader, TestProxy, eventually, in_time, output_of};

/// Says to a child where its small disk is to be.
const PLACE: &str = "FAULTS_TEST_PLACE";

/// Starts a proxy that cannot start, and what it says.
async fn refused(home: &Home) -> String {
    let begin = Instant::now();
    let output = output_of(home.command()).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    text
}

/// A store with a route in it.
async fn filled() -> Home {
    let home = Home::new("");
    let mut proxy = home.start().await;
    proxy.register("/a", 4001).await;
    proxy.stop().await;
    home
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_refused_and_left_alone() {
    let home = filled().await;
    let whole = fs::read(home.file()).unwrap();
    let mut cases = vec![
        b"not a store at all".repeat(1000),
        whole[..whole.len() / 2].to_vec(),
    ];
    let mut flipped = whole.clone();
    // Within the routes, wherever they are.
    let at = whole.windows(8).rposition(|window| window == b"\"prefix\"");
    flipped[at.expect("the route")] ^= 0x40;
    cases.push(flipped);
    for bytes in cases {
        fs::write(home.file(), &bytes).unwrap();
        says(
            &refused(&home).await,
            &["routes.redb", "damaged", "restore it from a backup"],
        );
        assert!(
            fs::read(home.file()).unwrap() == bytes,
            "the file is another"
        );
    }
    fs::write(home.file(), &whole).unwrap();
    let proxy = home.start().await;
    let mut api = Api::of(&proxy).await;
    assert!(api.get("/v1/routes/*/a").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_a_later_release_is_refused_and_left_alone() {
    let home = filled().await;
    let database = redb::Database::open(home.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    let numbers: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    transaction
        .open_table(numbers)
        .unwrap()
        .insert("format", 7)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let bytes = fs::read(home.file()).unwrap();
    let parts = ["routes.redb has format 7", "formats up to 2", "a later one"];
    says(&refused(&home).await, &parts);
    assert!(
        fs::read(home.file()).unwrap() == bytes,
        "the file is another"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_is_refused() {
    let home = Home::new("");
    let proxy = home.start().await;
    proxy.register("/a", 4001).await;
    says(
        &refused(&home).await,
        &["routes.redb", "in use by another process"],
    );
    // Whoever has it goes on.
    proxy.register("/b", 4001).await;
    let list = Api::of(&proxy).await.get("/v1/routes").await.unwrap();
    assert_eq!(list["total"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_not_be_written_is_named() {
    let home = Home::new("");
    let folder = home.file().parent().unwrap().to_owned();
    drop(home.command());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.join("probe"), "").is_ok() {
        // Root may write everywhere; a read-only disk is tested with the store itself.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        eprintln!("not tested: this user may write everywhere");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    fs::write(&path, format!("port: 0\n{}", Home::store(&folder))).unwrap();
    let mut command = crate::support::command();
    command.arg("--conf").arg(&path);
    let output = output_of(command).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    says(&text, &["routes.redb", "ermission denied"]);
}

/// This binary again in a name space of its own, where it may mount a small disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_changes_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "--"]);
        command
    };
    let mut probe = unshare();
    probe
        .args(["mount", "-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(folder.path());
    if !probe
        .output()
        .await
        .is_ok_and(|output| output.status.success())
    {
        eprintln!(
            "not tested: `unshare --map-root-user --mount` and `mount` are not permitted here"
        );
        return;
    }
    let mut child = unshare();
    child
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            "persistence_faults::with_a_small_disk",
            "--nocapture",
        ])
        .env(PLACE, folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), child.output()).await;
    let output = output.expect("the child ends").expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the disk was full"), "{text}");
}

/// The part of the child: nothing without a place.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_small_disk() {
    let Some(place) = env::var_os(PLACE) else {
        return;
    };
    let place = Path::new(&place);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "none"])
        .arg(place)
        .status();
    assert!(in_time("mounting", mounted).await.unwrap().success());
    let origin = Origin::saying("app").await;
    let configuration = Home::store(place);
    let mut proxy = TestProxy::start(&format!("port: 0\n{configuration}")).await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/routes/*/a", json!({ "port": origin.port() }))
        .await;
    api.put(
        "/v1/routes/*/leased",
        json!({ "port": origin.port(), "ttl": "2s" }),
    )
    .await;
    let mut client = proxy.client().await;
    let ballast = place.join("ballast");
    fill(&ballast);
    let mut reader = Reader::of(&proxy).await;
    // What fits into the file as it is still goes.
    let mut refused = None;
    for number in 0..10_000 {
        let body = json!({ "port": origin.port(), "owner": "x".repeat(60) });
        let long = "x".repeat(1000);
        let target = format!("/v1/routes/*/{number}/{long}");
        let before = api.call("GET", "/v1/routes?limit=1", None).await;
        let response = api.call("PUT", &target, Some(body)).await;
        if response.status != 201 {
            refused = Some((target, response));
            let after = api.call("GET", "/v1/routes?limit=1", None).await;
            assert_eq!(before.field("etag"), after.field("etag"));
            assert_eq!(before.json()["total"], after.json()["total"]);
            break;
        }
        reader.expect("route_created").await;
    }
    let (target, response) = refused.expect("the disk never became full");
    assert_eq!(response.status, 507, "{}", response.text());
    assert_eq!(response.json()["code"], "STORE_FULL");
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    says(&detail, &["disk is full", "routes.redb", "make room"]);
    assert_eq!(api.get(&target).await, None);
    let registration = json!({ "prefix": format!("/{}", "y".repeat(1000)), "port": origin.port() });
    let response = proxy.register_json(registration.to_string()).await;
    assert_eq!(response.verdict(), (507, "STORE_FULL".to_owned()));
    reader.expect("register_error").await;
    // Routes can be removed, also beside others that cannot be made.
    let long = "x".repeat(1000);
    let mut other = Api::of(&proxy).await;
    for number in 0..5 {
        let more = Some(json!({ "port": origin.port(), "owner": "x".repeat(60) }));
        let add = format!("/v1/routes/*/more-{number}/{long}{long}");
        let remove = format!("/v1/routes/*/{number}/{long}");
        let (_, removed) = tokio::join!(
            other.call("PUT", &add, more),
            api.call("DELETE", &remove, None)
        );
        assert_eq!(removed.status, 200, "{}", removed.text());
        assert_eq!(api.get(&remove).await, None);
    }
    // Traffic goes on, and an app that renews its lease keeps its route.
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        for path in ["/a", "/leased"] {
            assert_eq!(client.get(path).await.text(), "app", "{path}");
        }
        let renewal = json!({ "port": origin.port(), "ttl": "2s" });
        let renewed = api.call("PUT", "/v1/routes/*/leased", Some(renewal)).await;
        assert!([200, 507].contains(&renewed.status), "{}", renewed.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // With room it works again, and nothing was lost on the way.
    fs::remove_file(&ballast).unwrap();
    let body = json!({ "port": origin.port() });
    eventually("it works again", async || {
        let response = api.call("PUT", &target, Some(body.clone())).await;
        response.status == 201
    })
    .await;
    // The next renewal is kept again.
    let renewal = json!({ "port": origin.port(), "ttl": "2s" });
    api.put("/v1/routes/*/leased", renewal).await;
    let prefixes = |list: Option<Value>| -> Vec<Value> {
        let list = list.expect("a list");
        let routes = list["routes"].as_array().unwrap().iter();
        routes.map(|route| route["prefix"].clone()).collect()
    };
    let before = prefixes(api.get("/v1/routes").await);
    proxy.signal("KILL");
    proxy.ended().await;
    let proxy = TestProxy::start(&format!("port: 0\n{configuration}")).await;
    let after = prefixes(Api::of(&proxy).await.get("/v1/routes").await);
    assert_eq!(after, before);
    println!("the disk was full");
}

/// Fills the disk.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            return;
        }
    }
}
