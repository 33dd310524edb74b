//! A disk that is full, over its quota, or read-only under a running proxy: routes, registrations and
//! certificates.
//!
//! A child process is this test binary again in a name space of its own, where it may mount a disk.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Api, Home, Origin, TestProxy, eventually, get, in_time};

/// Say to a child which disk it mounts, and in which folder.
const DISK: &str = "DISK_TEST_DISK";
const PLACE: &str = "DISK_TEST_PLACE";

/// What a child says at its end.
const DONE: &str = "all was as promised";
const NOT_TESTED: &str = "not tested: ";

/// A disk and its fault. The scripts are given the folder that the disk is to be in, as `disk`.
struct Disk {
    name: &'static str,
    unshare: &'static [&'static str],
    mount: &'static str,
    spoil: &'static str,
    mend: &'static str,
    /// Whether the files that are open are of no use any more once it is mended.
    needs_restart: bool,
    verdict: (u16, &'static str),
    says: &'static [&'static str],
}

const DISKS: [Disk; 3] = [
    Disk {
        name: "full",
        unshare: &["--map-root-user", "--mount"],
        mount: "mount -t tmpfs -o size=12m none disk",
        spoil: "cat /dev/zero >disk/ballast || true",
        mend: "rm disk/ballast",
        needs_restart: false,
        verdict: (507, "STORE_FULL"),
        says: &[
            "no space is left on the device|No space left on device",
            "make room",
        ],
    },
    Disk {
        name: "quota",
        unshare: &["--mount"],
        mount: "truncate -s 128M image; mkfs.btrfs -q image; mount -o loop image disk; \
            btrfs quota enable disk",
        spoil: "btrfs qgroup limit 1 disk",
        mend: "btrfs quota disable disk",
        needs_restart: false,
        verdict: (507, "STORE_FULL"),
        says: &["the disk quota is used up|Disk quota exceeded", "make room"],
    },
    Disk {
        name: "read-only",
        unshare: &["--mount"],
        mount: "truncate -s 32M image; mkfs.ext4 -q image; mount -o loop image disk",
        // As the kernel does it after an error: a remount by hand is refused while a file is open.
        spoil: "mount -o remount,abort disk",
        mend: "umount disk; mount -o loop image disk",
        needs_restart: true,
        verdict: (503, "STORE_FAILED"),
        says: &["is read-only|Read-only file system"],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_507_and_changes_nothing() {
    with_a_disk("full").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_507_and_changes_nothing() {
    with_a_disk("quota").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_becomes_read_only_is_503_and_changes_nothing() {
    with_a_disk("read-only").await;
}

fn named(name: &str) -> &'static Disk {
    DISKS.iter().find(|disk| disk.name == name).expect("a disk")
}

async fn with_a_disk(name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("unshare");
    child
        .args(named(name).unshare)
        .arg("--")
        .arg(env::current_exe().expect("this binary"))
        .args(["--exact", "disk_faults::the_part_of_a_child", "--nocapture"])
        .env(DISK, name)
        .env(PLACE, folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), child.output()).await;
    let output = output.expect("the child ends").expect("unshare runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if let Some(line) = text.lines().find(|line| line.starts_with(NOT_TESTED)) {
        return eprintln!("{line}");
    }
    if text.contains("unshare failed") {
        return eprintln!("{NOT_TESTED}`unshare` is not permitted here");
    }
    assert!(output.status.success() && text.contains(DONE), "{text}");
}

/// The part of the child: nothing without a disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_part_of_a_child() {
    let Ok(name) = env::var(DISK) else { return };
    let disk = named(&name);
    let place = PathBuf::from(env::var_os(PLACE).expect("a folder"));
    std::fs::create_dir(place.join("disk")).expect("a folder");
    if let Err(reason) = run(disk.mount, &place).await {
        return println!("{NOT_TESTED}{name}: {reason}");
    }
    play(disk, &place).await;
    println!("{DONE}");
}

async fn run(script: &str, place: &Path) -> Result<(), String> {
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-ec", script])
        .current_dir(place)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = in_time(script, command.output()).await.expect("sh runs");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// A certificate that vouches for itself.
fn certificate() -> Value {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["a.example".to_owned()]).expect("names");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    json!({ "certificate": certificate, "key": key.serialize_pem() })
}

/// What the control API shows: all that is to stay as it was.
async fn shown(api: &mut Api) -> (Value, Value) {
    let routes = api.get("/v1/routes").await.expect("a list");
    let certificates = api.get("/v1/certificates").await.expect("a list");
    let route = |route: &Value| json!([route["prefix"], route["generation"], route["instances"]]);
    let routes = routes["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .map(route);
    (routes.collect(), certificates["certificates"].clone())
}

/// A set whose prefixes are too long for a failure's text.
async fn is_shown(api: &mut Api, before: &(Value, Value)) {
    assert!(shown(api).await == *before, "another table");
}

async fn play(disk: &Disk, place: &Path) {
    let origin = Origin::saying("app").await;
    let state = place.join("disk");
    let configuration = format!("port: 0\n{}", Home::store(&state));
    let mut proxy = TestProxy::start(&configuration).await;
    proxy.register("/a", origin.port()).await;
    let mut api = Api::of(&proxy).await;
    api.put("/v1/certificates/first", certificate()).await;
    run(disk.spoil, place).await.expect("the disk is spoilt");
    let refused = until_refused(&mut api, origin.port()).await;
    let before = shown(&mut api).await;
    refuses(
        &mut api,
        disk,
        "PUT",
        &refused,
        json!({ "port": origin.port() }),
    )
    .await;
    let certificates = "/v1/certificates/second";
    refuses(&mut api, disk, "PUT", certificates, certificate()).await;
    let long = format!("/{}", "y".repeat(1900));
    let registration = json!({ "prefix": long, "port": origin.port() }).to_string();
    let verdict = proxy.register_json(&registration).await.verdict();
    assert_eq!((verdict.0, verdict.1.as_str()), disk.verdict);
    is_shown(&mut api, &before).await;
    assert_eq!(get(proxy.address(), "/a").await.text(), "app");
    if disk.needs_restart {
        proxy.signal("KILL");
        proxy.ended().await;
        run(disk.mend, place).await.expect("the disk is mended");
        proxy = TestProxy::start(&configuration).await;
        api = Api::of(&proxy).await;
        is_shown(&mut api, &before).await;
    } else {
        run(disk.mend, place).await.expect("the disk is mended");
    }
    eventually("it works again", async || {
        let body = Some(json!({ "port": origin.port() }));
        api.call("PUT", &refused, body).await.status == 201
    })
    .await;
    api.put(certificates, certificate()).await;
    assert_eq!(proxy.register_json(&registration).await.status, 200);
    let before = shown(&mut api).await;
    proxy.signal("KILL");
    proxy.ended().await;
    let proxy = TestProxy::start(&configuration).await;
    is_shown(&mut Api::of(&proxy).await, &before).await;
}

/// Adds routes until one is refused, and says which: what fits into the file as it is still goes.
async fn until_refused(api: &mut Api, port: u16) -> String {
    for number in 0..5000 {
        let target = format!("/v1/routes/*/{number}/{}", "x".repeat(1900));
        let response = api
            .call("PUT", &target, Some(json!({ "port": port })))
            .await;
        if response.status != 201 {
            return target;
        }
    }
    panic!("no route was refused");
}

async fn refuses(api: &mut Api, disk: &Disk, method: &str, target: &str, body: Value) {
    let response = api.call(method, target, Some(body)).await;
    let problem = response.json();
    let code = problem["code"].as_str().unwrap_or_default();
    assert_eq!((response.status, code), disk.verdict, "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    for part in disk.says {
        assert!(
            part.split('|').any(|part| detail.contains(part)),
            "{part}: {detail}"
        );
    }
}
