use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use redb::TableDefinition;
use tempfile::TempDir;

use super::super::{InstanceRecord, RouteRecord};
use super::*;
use crate::route::{InstanceSpec, KeyedInstances, Port, RouteSpec, Settings};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn record(key: &str, generation: u64) -> RouteRecord {
    let instance = InstanceSpec {
        id: Some("default".to_owned()),
        owner: generation.is_multiple_of(2).then(|| "team".to_owned()),
        host: Some("localhost".to_owned()),
        port: Port::new(4321),
        ttl: Some("30s".to_owned()),
        ..InstanceSpec::default()
    };
    RouteRecord {
        generation,
        route: RouteSpec {
            own: KeyedInstances {
                host: Some("*.example.com".to_owned()),
                prefix: format!("/{key}"),
                instances: vec![instance],
            },
            group: Settings::default(),
        },
        instances: vec![InstanceRecord {
            addresses: vec!["127.0.0.1:4321".parse().unwrap()],
            since: 1_700_000_000_000,
        }],
    }
}

fn put(key: &str, generation: u64) -> Write {
    Write::PutRoute(key.into(), Box::new(record(key, generation)))
}

fn lease(key: &str, id: &str, ends: u64) -> Write {
    Write::PutLease(key.into(), id.into(), ends)
}

fn meta(generation: u64) -> Meta {
    Meta {
        generation,
        clock: generation * 10,
    }
}

fn sorted(mut stored: Stored) -> Stored {
    stored.routes.sort_by(|one, other| one.0.cmp(&other.0));
    stored.leases.sort();
    stored
}

fn read(path: &Path) -> Result<Stored, StoreError> {
    Embedded::open(path)?.load().map(sorted)
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/routes.redb");
    (folder, path)
}

/// A file with routes in it, each put twice: closed, or as a crash leaves it.
fn filled(path: &Path, closed: bool) -> (Vec<u8>, Stored) {
    let mut store = Embedded::open(path).unwrap();
    for generation in 1..=4 {
        let keys = (0..100).map(|index| format!("route-{}", index + generation % 2 * 50));
        let writes: Vec<_> = keys
            .flat_map(|key| [put(&key, generation), lease(&key, "default", generation)])
            .collect();
        store.commit(&writes, meta(generation)).unwrap();
    }
    store.commit(&[put("last", 5)], meta(5)).unwrap();
    let expected = sorted(store.load().unwrap());
    assert_eq!(expected.routes.len(), 151);
    if closed {
        drop(store);
        return (fs::read(path).unwrap(), expected);
    }
    (fs::read(path).unwrap(), expected)
}

#[test]
fn a_store_is_what_it_was() {
    let (_folder, path) = folder();
    let mut store = Embedded::open(&path).unwrap();
    let new = store.load().unwrap();
    assert_eq!((new.meta, new.routes.len()), (Meta::default(), 0));
    let writes = [
        put("a", 1),
        put("ab", 2),
        lease("a", "1", 1),
        lease("a", "2", 2),
        lease("ab", "1", 3),
    ];
    store.commit(&writes, meta(2)).unwrap();
    let writes = [Write::RemoveRoute("a".into()), put("c", 3)];
    store.commit(&writes, meta(3)).unwrap();
    drop(store);
    let expected = Stored {
        epoch: new.epoch,
        meta: meta(3),
        routes: vec![("ab".into(), record("ab", 2)), ("c".into(), record("c", 3))],
        leases: vec![("ab".into(), "1".into(), 3)],
    };
    assert_eq!(read(&path).unwrap(), expected);
}

#[test]
fn nobody_else_may_read_it() {
    let (_folder, path) = folder();
    drop(Embedded::open(&path).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "something is left over: {names:?}");
}

#[test]
fn it_is_for_one_at_a_time() {
    let (_folder, path) = folder();
    let store = Embedded::open(&path).unwrap();
    let refused = Embedded::open(&path);
    assert!(
        matches!(refused, Err(StoreError::Locked { .. })),
        "{refused:?}"
    );
    drop(store);
    Embedded::open(&path).unwrap();
}

#[test]
fn a_crash_while_it_is_made_leaves_nothing_in_the_way() {
    let (_folder, path) = folder();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let (bytes, _) = filled(&path.with_extension("other"), false);
    for half in [0, 1, 4096, bytes.len()] {
        fs::write(path.with_extension("redb.new"), &bytes[..half]).unwrap();
        assert_eq!(read(&path).unwrap().routes.len(), 0);
        assert!(!path.with_extension("redb.new").exists());
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_later_format_is_left_alone() {
    let (_folder, path) = folder();
    drop(Embedded::open(&path).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(META).unwrap();
    table.insert("format", 7).unwrap();
    drop(table);
    transaction.commit().unwrap();
    drop(database);
    refuses_and_leaves(&path, |error| {
        matches!(
            error,
            StoreError::Newer {
                found: 7,
                known: 2,
                ..
            }
        )
    });
}

#[test]
fn what_is_not_a_store_is_left_alone() {
    let (_folder, path) = folder();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let damaged = |error: &StoreError| matches!(error, StoreError::Damaged { .. });
    for content in [&b""[..], b"x", b"redb", &[0; 8192], &[0xff; 10_000]] {
        fs::write(&path, content).unwrap();
        refuses_and_leaves(&path, damaged);
    }
    fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    drop(database);
    refuses_and_leaves(&path, damaged);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = read(&path).unwrap_err();
    assert!(error.to_string().contains("it is a folder"), "{error}");
}

fn refuses_and_leaves(path: &Path, expected: impl Fn(&StoreError) -> bool) {
    let before = fs::read(path).unwrap();
    let error = read(path).unwrap_err();
    assert!(expected(&error), "{error}");
    assert!(
        fs::read(path).unwrap() == before,
        "{error}, but the file has changed"
    );
}

/// The right content, or `Damaged` and an untouched file. Says which.
fn right_or_damaged(path: &Path, bytes: &[u8], expected: &Stored, what: &str) -> bool {
    fs::write(path, bytes).unwrap();
    match read(path) {
        Ok(stored) => assert!(&stored == expected, "{what}: the content has changed"),
        Err(error) => {
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "{what}: {error}"
            );
            assert!(
                fs::read(path).unwrap() == bytes,
                "{what}: {error}, but the file has changed"
            );
            return false;
        }
    }
    true
}

#[test]
fn a_file_that_was_cut_off_is_damaged() {
    for closed in [true, false] {
        let (_folder, path) = folder();
        let (bytes, expected) = filled(&path, closed);
        let pages = (0..=bytes.len()).step_by(4096);
        let odd = (0..60).map(|_| fastrand::usize(..bytes.len()));
        let lengths: BTreeSet<_> = pages.chain(odd).chain([bytes.len()]).collect();
        let mut whole = None;
        for len in lengths {
            let what = format!("closed: {closed}, {len} bytes of {}", bytes.len());
            if right_or_damaged(&path, &bytes[..len], &expected, &what) {
                whole = Some(len);
            }
        }
        assert_eq!(whole, Some(bytes.len()));
    }
}

#[test]
fn a_bit_that_was_turned_over_is_noticed() {
    for closed in [true, false] {
        let (_folder, path) = folder();
        let (bytes, expected) = filled(&path, closed);
        let flags = (0..8).map(|bit| header::FLAGS * 8 + bit);
        let headers = (0..300).map(|_| fastrand::usize(..header::LEN * 8));
        let used: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        let pages = (0..400).map(|_| used[fastrand::usize(..used.len())] * 8);
        let mut whole = 0;
        for bit in flags.chain(headers).chain(pages) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let what = format!("closed: {closed}, bit {} of byte {}", bit % 8, bit / 8);
            whole += usize::from(right_or_damaged(&path, &bytes, &expected, &what));
        }
        assert!(whole < 650, "{whole} of 708 were not noticed");
    }
}

#[test]
fn pages_of_noise_are_noticed() {
    let (_folder, path) = folder();
    let (bytes, expected) = filled(&path, true);
    for _ in 0..100 {
        let mut bytes = bytes.clone();
        let start = fastrand::usize(..bytes.len() / 4096) * 4096;
        bytes[start..start + 4096].fill_with(|| fastrand::u8(..));
        right_or_damaged(&path, &bytes, &expected, &format!("the page at {start}"));
    }
}

#[test]
fn a_commit_that_fails_anywhere_is_as_it_was_answered() {
    for done in [false, true] {
        let (mut refused, mut calls) = (0, 0);
        loop {
            let (_folder, path) = folder();
            filled(&path, true);
            let mut store = Embedded::open(&path).unwrap();
            let mut expected = sorted(store.load().unwrap());
            store.open.as_ref().unwrap().disk.fail_after(calls, done);
            let more = (0..200).map(|index| put(&format!("new-{index}"), 6));
            let answer = store.commit(&more.collect::<Vec<_>>(), meta(6));
            let crashed = fs::read(&path).unwrap();
            let stored = sorted(store.load().unwrap());
            match answer {
                Ok(()) => assert_eq!((stored.meta, stored.routes.len()), (meta(6), 351)),
                Err(error) => {
                    assert!(matches!(error, StoreError::Io { .. }), "{error}");
                    assert!(stored == expected, "call {calls}: {error}, and it is there");
                    refused += 1;
                }
            }
            expected = stored;
            store
                .open
                .as_ref()
                .unwrap()
                .disk
                .fail_after(u32::MAX, false);
            store.commit(&[put("last", 7)], meta(7)).unwrap();
            drop(store);
            assert_eq!(read(&path).unwrap().meta, meta(7));
            fs::write(&path, crashed).unwrap();
            assert!(
                read(&path).unwrap() == expected,
                "call {calls}, after a crash"
            );
            calls += 1;
            if expected.routes.len() == 351 {
                break;
            }
        }
        assert!(refused > 5, "only {refused} calls were made to fail");
    }
}

#[test]
fn renewals_do_not_let_it_grow() {
    let (_folder, path) = folder();
    let mut store = Embedded::open(&path).unwrap();
    let routes: Vec<_> = (0..100).map(|index| put(&index.to_string(), 1)).collect();
    store.commit(&routes, meta(1)).unwrap();
    let len = || fs::metadata(&path).unwrap().len();
    let mut after = Vec::new();
    for round in 0..4 {
        for index in 0..250 {
            let key = (index % 100).to_string();
            let renewal = lease(&key, "default", round * 1000 + index);
            store.commit(&[renewal], meta(2)).unwrap();
        }
        after.push(len());
    }
    assert_eq!(after.first(), after.last(), "{after:?}");
}

#[test]
fn a_file_that_is_mostly_free_becomes_small() {
    let (_folder, path) = folder();
    let mut store = Embedded::open(&path).unwrap();
    let keys: Vec<_> = (0..30_000).map(|index| format!("route-{index}")).collect();
    let routes: Vec<_> = keys.iter().map(|key| put(key, 1)).collect();
    store.commit(&routes, meta(1)).unwrap();
    let full = fs::metadata(&path).unwrap().len();
    let gone = keys.iter().skip(10);
    let removed: Vec<_> = gone
        .map(|key| Write::RemoveRoute(key.as_str().into()))
        .collect();
    store.commit(&removed, meta(2)).unwrap();
    drop(store);
    assert_eq!(read(&path).unwrap().routes.len(), 10);
    assert_eq!(read(&path).unwrap().meta, meta(2));
    let len = fs::metadata(&path).unwrap().len();
    assert!(len < full / 4, "{len} bytes of {full}");
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, u8, u8)>),
    Reopen,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..4_u8, 0..6_u8, 0..3_u8);
    prop_oneof![
        6 => prop::collection::vec(write, 0..12).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_keeps_what_a_map_keeps(steps in prop::collection::vec(step(), 1..24)) {
        let (_folder, path) = folder();
        let mut store = Embedded::open(&path).unwrap();
        let mut routes: BTreeMap<Arc<str>, RouteRecord> = BTreeMap::new();
        let mut leases: BTreeMap<(Arc<str>, Arc<str>), u64> = BTreeMap::new();
        let epoch = store.load().unwrap().epoch;
        let mut generation = 0;
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    generation += 1;
                    let mut kept = Vec::new();
                    for (kind, key, id) in writes {
                        // Keys of which one begins with the other.
                        let key: Arc<str> = "a".repeat(usize::from(key)).into();
                        let id: Arc<str> = id.to_string().into();
                        kept.push(match kind {
                            0 => {
                                routes.insert(key.clone(), record(&key, generation));
                                put(&key, generation)
                            }
                            1 => {
                                routes.remove(&key);
                                leases.retain(|(route, _), _| *route != key);
                                Write::RemoveRoute(key)
                            }
                            2 => {
                                leases.insert((key.clone(), id.clone()), generation);
                                Write::PutLease(key, id, generation)
                            }
                            _ => {
                                leases.remove(&(key.clone(), id.clone()));
                                Write::RemoveLease(key, id)
                            }
                        });
                    }
                    store.commit(&kept, meta(generation)).unwrap();
                }
                Step::Reopen => {
                    drop(store);
                    store = Embedded::open(&path).unwrap();
                }
                Step::Crash => {
                    let bytes = fs::read(&path).unwrap();
                    drop(store);
                    fs::write(&path, bytes).unwrap();
                    store = Embedded::open(&path).unwrap();
                }
            }
            let expected = Stored {
                epoch,
                meta: meta(generation),
                routes: routes.clone().into_iter().collect(),
                leases: leases.iter().map(|((key, id), ends)| (key.clone(), id.clone(), *ends)).collect(),
            };
            prop_assert_eq!(sorted(store.load().unwrap()), expected);
        }
    }
}
