//! The tables of the file, and what is in them.

use std::sync::Arc;

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;

use super::super::{Meta, RouteRecord, Stored, Write};
use super::format1;

/// The format that is written. It is another number whenever an earlier release could not read it.
pub(super) const FORMAT: u32 = 2;

/// Numbers by name. It has this type in every format, so that a later format is known as one.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// A route's key -> its `RouteRecord`, as JSON.
const ROUTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("routes");
/// A route's key, an instance's id -> when its lease ends, in milliseconds.
const LEASES: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("leases");

/// Holds nothing once a commit is over: see [`keep_room`].
const ROOM: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("room");
/// The room that a commit that adds leaves free in the file: values of a few pages each, so that a file
/// with holes need not grow for them. A removal takes about a dozen pages, and gives back more.
const ROOM_VALUES: u32 = 16;
const ROOM_VALUE: usize = 14 * 1024;

/// Why a file cannot be read or written.
#[derive(Debug)]
pub(super) enum Fault {
    /// redb says no.
    Redb(redb::Error),
    /// It holds what was never written.
    Content(String),
    /// It has a later format.
    Newer(u32),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// The tables of a new file.
pub(super) fn create(transaction: &WriteTransaction, epoch: u32) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("format", u64::from(FORMAT))?;
    meta.insert("epoch", u64::from(epoch))?;
    for name in ["generation", "clock", "commits"] {
        meta.insert(name, 0)?;
    }
    transaction.open_table(ROUTES)?;
    transaction.open_table(LEASES)?;
    Ok(())
}

/// The file's format, which is one that is known.
pub(super) fn format(transaction: &ReadTransaction) -> Result<u32, Fault> {
    let meta = transaction.open_table(META)?;
    let format = number(&meta, "format")?;
    let format = u32::try_from(format).unwrap_or(u32::MAX);
    match format {
        0 => Err(Fault::Content("its format is 0".to_owned())),
        newer if newer > FORMAT => Err(Fault::Newer(newer)),
        known => Ok(known),
    }
}

/// Whether the file has a format that is known; and the number of its last commit.
pub(super) fn check(transaction: &ReadTransaction) -> Result<u64, Fault> {
    format(transaction)?;
    let meta = transaction.open_table(META)?;
    transaction.open_table(ROUTES)?;
    transaction.open_table(LEASES)?;
    number(&meta, "commits")
}

/// Everything in the file, and how many bytes that is.
pub(super) fn load(transaction: &ReadTransaction) -> Result<(Stored, u64), Fault> {
    let meta = transaction.open_table(META)?;
    let epoch = number(&meta, "epoch")?;
    let mut stored = Stored {
        epoch: u32::try_from(epoch)
            .map_err(|error| Fault::Content(format!("its epoch {epoch}: {error}")))?,
        meta: Meta {
            generation: number(&meta, "generation")?,
            clock: number(&meta, "clock")?,
        },
        ..Stored::default()
    };
    let mut bytes = 0;
    let routes = transaction.open_table(ROUTES)?;
    stored
        .routes
        .reserve(usize::try_from(routes.len()?).unwrap_or(0));
    for entry in routes.iter()? {
        let (key, record) = entry?;
        let key: Arc<str> = key.value().into();
        bytes += key.len() + record.value().len();
        let record: RouteRecord = read(&key, record.value())?;
        stored.routes.push((key, record));
    }
    let leases = transaction.open_table(LEASES)?;
    stored
        .leases
        .reserve(usize::try_from(leases.len()?).unwrap_or(0));
    // Leases come in the order of their keys, so a route's key is copied once.
    let mut last: Arc<str> = "".into();
    for entry in leases.iter()? {
        let (key, ends) = entry?;
        let (route, instance) = key.value();
        if *last != *route {
            last = route.into();
        }
        bytes += route.len() + instance.len() + size_of::<u64>();
        let lease = (Arc::clone(&last), instance.into(), ends.value());
        stored.leases.push(lease);
    }
    let counted = (routes.len()?, leases.len()?);
    if counted != (stored.routes.len() as u64, stored.leases.len() as u64) {
        return Err(Fault::Content(format!(
            "it should have {} routes and {} leases, and has {} and {}",
            counted.0,
            counted.1,
            stored.routes.len(),
            stored.leases.len()
        )));
    }
    Ok((stored, bytes as u64))
}

/// Writes what is in a file of an earlier format in the one that is written now; how many routes that is.
pub(super) fn upgrade(transaction: &WriteTransaction) -> Result<usize, Fault> {
    let mut routes = transaction.open_table(ROUTES)?;
    let mut records = Vec::new();
    for entry in routes.iter()? {
        let (key, record) = entry?;
        let old: format1::Route = read(key.value(), record.value())?;
        let record = serde_json::to_vec(&RouteRecord::from(old));
        let record = record.map_err(|error| Fault::Content(error.to_string()))?;
        records.push((key.value().to_owned(), record));
    }
    for (key, record) in &records {
        routes.insert(key.as_str(), record.as_slice())?;
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert("format", u64::from(FORMAT))?;
    Ok(records.len())
}

fn read<T: DeserializeOwned>(key: &str, record: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(record).map_err(|error| {
        // A setting that is not known here has been written by a release that knows it.
        let hint = if error.to_string().starts_with("unknown field") {
            " (has a later release written it?)"
        } else {
            ""
        };
        Fault::Content(format!("its record of the route {key}: {error}{hint}"))
    })
}

/// A write, with its record as it is kept.
pub(super) enum Encoded<'a> {
    PutRoute(&'a str, Vec<u8>),
    RemoveRoute(&'a str),
    PutLease(&'a str, &'a str, u64),
    RemoveLease(&'a str, &'a str),
}

/// The writes as they are kept.
pub(super) fn encode(writes: &[Write]) -> Result<Vec<Encoded<'_>>, serde_json::Error> {
    writes.iter().map(encode_one).collect()
}

fn encode_one(write: &Write) -> Result<Encoded<'_>, serde_json::Error> {
    Ok(match write {
        Write::PutRoute(key, record) => Encoded::PutRoute(key, serde_json::to_vec(record)?),
        Write::RemoveRoute(key) => Encoded::RemoveRoute(key),
        Write::PutLease(key, id, ends) => Encoded::PutLease(key, id, *ends),
        Write::RemoveLease(key, id) => Encoded::RemoveLease(key, id),
    })
}

/// Applies the writes, in their order.
pub(super) fn apply(
    transaction: &WriteTransaction,
    writes: &[Encoded<'_>],
    kept: Meta,
    commits: u64,
) -> Result<(), Fault> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("generation", kept.generation)?;
    meta.insert("clock", kept.clock)?;
    meta.insert("commits", commits)?;
    let mut routes = transaction.open_table(ROUTES)?;
    let mut leases = transaction.open_table(LEASES)?;
    let mut adds = false;
    for write in writes {
        match write {
            Encoded::PutRoute(key, record) => {
                let before = routes.insert(key, record.as_slice())?;
                adds |= record.len() > before.map_or(0, |before| before.value().len());
            }
            Encoded::RemoveRoute(key) => {
                routes.remove(key)?;
                // The least key behind all of the route's.
                let next = format!("{key}\0");
                leases.retain_in((*key, "")..(next.as_str(), ""), |_, _| false)?;
            }
            Encoded::PutLease(key, id, ends) => {
                leases.insert((*key, *id), ends)?;
            }
            Encoded::RemoveLease(key, id) => {
                leases.remove((*key, *id))?;
            }
        }
    }
    if adds {
        keep_room(transaction)?;
    }
    Ok(())
}

/// Makes sure that the file has free pages left: takes some, and gives them back within the commit, which
/// writes nothing of them. So whoever adds finds the disk full before whoever removes does: a removal
/// needs pages as well, since none is written over.
fn keep_room(transaction: &WriteTransaction) -> Result<(), Fault> {
    let mut room = transaction.open_table(ROOM)?;
    for number in 0..ROOM_VALUES {
        room.insert_reserve(number, ROOM_VALUE)?;
    }
    drop(room);
    transaction.delete_table(ROOM)?;
    Ok(())
}

fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Fault> {
    let found = meta.get(name)?.map(|value| value.value());
    found.ok_or_else(|| Fault::Content(format!("it has no {name}")))
}
