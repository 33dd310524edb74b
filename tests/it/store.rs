//! The store on real disks: full ones, read-only ones, and processes that end in the middle of it.
//!
//! A child process is this test binary again, with one test that does the child's part when an
//! environment variable names it.

#![expect(clippy::print_stdout, reason = "children talk to their parents")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dynamic_reverse_proxy::registry::store::{
    Embedded, InstanceRecord, Meta, RouteRecord, Store, StoreError, Write,
};
use dynamic_reverse_proxy::route::{InstanceSpec, KeyedInstances, Port, RouteSpec, Settings};

/// The part of a child.
const PART: &str = "STORE_TEST_PART";
/// Where a child's store is.
const PLACE: &str = "STORE_TEST_PLACE";

fn record(number: u64, size: usize) -> RouteRecord {
    RouteRecord {
        generation: number,
        route: RouteSpec {
            own: KeyedInstances {
                host: Some("example.com".to_owned()),
                prefix: format!("/{}", "x".repeat(size)),
                instances: vec![InstanceSpec {
                    host: Some("127.0.0.1".to_owned()),
                    port: Port::new(4321),
                    ..InstanceSpec::default()
                }],
            },
            group: Settings::default(),
        },
        instances: vec![InstanceRecord {
            addresses: vec!["127.0.0.1:4321".parse().unwrap()],
            since: 0,
        }],
    }
}

fn put(key: &str, number: u64, size: usize) -> Write {
    Write::PutRoute(key.into(), Box::new(record(number, size)))
}

fn meta(generation: u64) -> Meta {
    Meta {
        generation,
        clock: generation,
    }
}

/// This binary again, as a child with a part.
fn child(part: &str, place: &Path) -> Command {
    with_part(Command::new(env::current_exe().unwrap()), part, place)
}

/// The test in a process that is root of name spaces of its own, where it may mount; `None` where that is not
/// permitted.
fn child_that_may_mount(part: &str, place: &Path) -> Option<Command> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "--"]);
        command
    };
    let mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none"];
    let probe = unshare().args(mount).arg(place).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "not tested: `unshare --map-root-user --mount` and `mount` are not permitted here"
        );
        return None;
    }
    let mut command = unshare();
    command.arg(env::current_exe().unwrap());
    Some(with_part(command, part, place))
}

fn with_part(mut command: Command, part: &str, place: &Path) -> Command {
    command
        .args(["--exact", "store::the_part_of_a_child", "--nocapture"])
        .env(PART, part)
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn succeeds(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("the part is played"), "{text}");
}

#[test]
fn the_part_of_a_child() {
    let Ok(part) = env::var(PART) else { return };
    let place = PathBuf::from(env::var_os(PLACE).unwrap());
    match part.as_str() {
        "hold" => hold(&place),
        "batches" => batches(&place),
        "full disk" => full_disk(&place),
        "read-only disk" => read_only_disk(&place),
        other => panic!("there is no part {other}"),
    }
    println!("the part is played");
}

#[test]
fn another_process_has_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.redb");
    let mut holder = child("hold", &path).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    lines
        .find(|line| line.as_ref().unwrap().contains("held"))
        .unwrap()
        .unwrap();
    let error = Embedded::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(
        error.to_string().contains("in use by another process"),
        "{error}"
    );
    drop(holder.stdin.take());
    lines
        .find(|line| line.as_ref().unwrap().contains("released"))
        .unwrap()
        .unwrap();
    let mut store = Embedded::open(&path).unwrap();
    assert_eq!(store.load().unwrap().routes.len(), 1);
    assert!(holder.wait().unwrap().success());
}

/// Holds the store until its input ends, drops it, and is still there for a while.
fn hold(path: &Path) {
    let mut store = Embedded::open(path).unwrap();
    store.commit(&[put("a", 1, 1)], meta(1)).unwrap();
    println!("held");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    drop(store);
    println!("released");
    thread::sleep(Duration::from_millis(200));
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Commits numbered batches, and prints the number of each once it is committed.
fn batches(path: &Path) {
    let mut store = Embedded::open(path).unwrap();
    let mut number = store.load().unwrap().meta.generation;
    let mut output = std::io::stdout().lock();
    loop {
        number += 1;
        let size = usize::try_from(number * 997 % 9000).unwrap();
        let mut writes: Vec<_> = KEYS.iter().map(|key| put(key, number, size)).collect();
        writes.extend(KEYS.map(|key| Write::PutLease(key.into(), "default".into(), number)));
        // A route of this batch alone, and the last one's away.
        writes.push(put(&format!("only-{number}"), number, size));
        writes.push(Write::RemoveRoute(format!("only-{}", number - 1).into()));
        store.commit(&writes, meta(number)).unwrap();
        writeln!(output, "committed {number}").unwrap();
        output.flush().unwrap();
    }
}

#[test]
fn what_was_answered_survives_kill_9_and_no_batch_is_half_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/routes.redb");
    let deadline = Instant::now() + Duration::from_secs(20);
    let (mut kills, mut last, mut moved) = (0, 0, 0);
    while kills < 60 && (kills < 40 || Instant::now() < deadline) {
        let mut writer = child("batches", &path).spawn().unwrap();
        // Also before the first commit, and while the file is made or opened.
        thread::sleep(Duration::from_millis(fastrand::u64(5..150)));
        writer.kill().unwrap();
        let printed = printed(writer);
        kills += 1;
        let answered = printed.unwrap_or(last).max(last);
        let mut store = Embedded::open(&path).unwrap();
        let stored = store.load().unwrap();
        let number = stored.meta.generation;
        // The commit that was under way may be there or not.
        assert!(
            number == answered || number == answered + 1 || printed.is_none() && number >= answered,
            "answered {answered}, found {number}"
        );
        check_batch(&stored.routes, &stored.leases, number);
        moved += usize::from(number > last);
        last = number;
    }
    assert!(
        moved >= 20,
        "only {moved} of {kills} writers wrote anything"
    );
}

fn printed(mut writer: Child) -> Option<u64> {
    let output = BufReader::new(writer.stdout.take().unwrap());
    writer.wait().unwrap();
    let lines = output.lines().map_while(Result::ok);
    let numbers = lines.filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    numbers.last()
}

fn check_batch(
    routes: &[(std::sync::Arc<str>, RouteRecord)],
    leases: &[(std::sync::Arc<str>, std::sync::Arc<str>, u64)],
    number: u64,
) {
    let expected = if number == 0 { 0 } else { KEYS.len() + 1 };
    assert_eq!(routes.len(), expected, "batch {number}");
    for (key, route) in routes {
        assert_eq!(route.generation, number, "{key}");
        assert!(
            KEYS.contains(&&**key) || **key == *format!("only-{number}"),
            "{key}"
        );
    }
    assert_eq!(leases.len(), expected.saturating_sub(1), "batch {number}");
    assert!(leases.iter().all(|lease| lease.2 == number), "{leases:?}");
}

#[test]
fn a_full_disk_keeps_what_was_and_takes_more_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(mut command) = child_that_may_mount("full disk", folder.path()) {
        succeeds(&mut command);
    }
}

fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status();
    assert!(status.unwrap().success(), "mount {arguments:?}");
}

fn full_disk(folder: &Path) {
    mount(&["-t", "tmpfs", "-o", "size=12m", "none"], folder);
    let path = folder.join("routes.redb");
    let ballast = folder.join("ballast");
    let mut store = Embedded::open(&path).unwrap();
    let (mut number, mut refused) = (0, 0);
    let mut expected = Vec::new();
    for round in 0..12 {
        // Room for a few routes, and for a number of bytes that is different each time.
        fill(&ballast, 1_500_000 + round * 70_001);
        for index in 0..400_u64 {
            let key = format!("{round}-{index}");
            match store.commit(&[put(&key, number + 1, 20_000)], meta(number + 1)) {
                Ok(()) => {
                    number += 1;
                    expected.push(key);
                    continue;
                }
                Err(StoreError::Full { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            break;
        }
        assert_eq!(refused, round + 1, "the disk never became full");
        // Again, and still nothing is lost.
        let again = store
            .commit(&[put("more", 0, 900_000)], meta(0))
            .unwrap_err();
        assert!(matches!(again, StoreError::Full { .. }), "{again}");
        fs::remove_file(&ballast).unwrap();
        if round % 2 == 0 {
            number += 1;
            store
                .commit(&[put("room", number, 10)], meta(number))
                .unwrap();
        } else {
            drop(store);
            store = Embedded::open(&path).unwrap();
        }
        let stored = store.load().unwrap();
        assert_eq!(stored.meta, meta(number));
        assert_eq!(stored.routes.len(), expected.len() + 1);
        let removed = expected
            .drain(..)
            .map(|key| Write::RemoveRoute(key.as_str().into()));
        let removed: Vec<_> = removed.collect();
        number += 1;
        store.commit(&removed, meta(number)).unwrap();
    }
    drop(store);
    // A store cannot even be made.
    fs::remove_file(&path).unwrap();
    fill(&ballast, 8192);
    let error = Embedded::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    fs::remove_file(&ballast).unwrap();
    let mut store = Embedded::open(&path).unwrap();
    assert!(store.load().unwrap().routes.is_empty());
}

/// Fills the disk up to so many bytes.
fn fill(path: &Path, room: usize) {
    let mut file = fs::File::create(path).unwrap();
    let block = [1; 4096];
    let mut written = 0_u64;
    loop {
        match file.write(&block) {
            Ok(count) => written += count as u64,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                break;
            }
        }
    }
    file.set_len(written.saturating_sub(room as u64)).unwrap();
}

#[test]
fn a_read_only_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(mut command) = child_that_may_mount("read-only disk", folder.path()) {
        succeeds(&mut command);
    }
}

fn read_only_disk(folder: &Path) {
    mount(&["-t", "tmpfs", "-o", "size=12m", "none"], folder);
    let path = folder.join("routes.redb");
    let new = folder.join("new/routes.redb");
    drop(Embedded::open(&path).unwrap());
    mount(&["-o", "remount,ro"], folder);
    for path in [&path, &new] {
        let error = Embedded::open(path).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("is read-only; set `store.embedded.path`"),
            "{text}"
        );
    }
    mount(&["-o", "remount,rw"], folder);
    Embedded::open(&new).unwrap();
    let mut store = Embedded::open(&path).unwrap();
    store.commit(&[put("a", 1, 1)], meta(1)).unwrap();
}

/// Numbers, for people: `cargo test --test it store::measure -- --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn measure() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("routes.redb");
    let mut store = Embedded::open(&path).unwrap();
    let all: Vec<_> = (0..100_000)
        .map(|index| put(&format!("/app-{index}"), 1, 12))
        .collect();
    let len = || fs::metadata(&path).unwrap().len();
    let start = Instant::now();
    store.commit(&all, meta(1)).unwrap();
    println!(
        "100,000 routes: committed in {:?}, {} bytes",
        start.elapsed(),
        len()
    );
    let start = Instant::now();
    for index in 0..1000 {
        let key = format!("/app-{}", index * 97);
        let renewal = Write::PutLease(key.as_str().into(), "default".into(), index);
        store
            .commit(&[put(&key, index, 12), renewal], meta(index))
            .unwrap();
    }
    println!(
        "1000 commits of a route and its lease: {:?}",
        start.elapsed()
    );
    let bytes = fs::read(&path).unwrap();
    drop(store);
    println!("closed: {} bytes", len());
    for what in ["closed", "crashed"] {
        let start = Instant::now();
        let mut store = Embedded::open(&path).unwrap();
        let opened = start.elapsed();
        assert_eq!(store.load().unwrap().routes.len(), 100_000);
        println!(
            "{what}: opened in {opened:?}, opened and loaded in {:?}",
            start.elapsed()
        );
        drop(store);
        fs::write(&path, &bytes).unwrap();
    }
    let renewals = env::var("RENEWALS").map_or(10_000, |count| count.parse().unwrap());
    let mut store = Embedded::open(&path).unwrap();
    let (start, before) = (Instant::now(), len());
    for index in 0..renewals {
        let key = format!("/app-{}", index * 7919 % 100_000);
        let renewal = Write::PutLease(key.as_str().into(), "default".into(), index);
        store.commit(&[renewal], meta(index)).unwrap();
    }
    println!(
        "{renewals} renewals: {:?}, {before} bytes before, {} after",
        start.elapsed(),
        len()
    );
}
