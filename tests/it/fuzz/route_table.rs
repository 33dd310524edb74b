//! A table against a list, the steps from arbitrary bytes: lines of one byte that says what to do, one
//! for the host, and a prefix.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use dynamic_reverse_proxy::route::{
    Generation, HostPattern, Instance, PathPrefix, RequestPath, Route, RouteKey, Table, Target,
};

const HOSTS: [&str; 4] = ["", "a.com", "*.a.com", "*.com"];
const REQUEST_HOSTS: [&str; 4] = ["", "a.com", "b.a.com", "b.com"];

/// Keys as the table should see them, with the number of the step that put each there.
type List = HashMap<(String, String), u64>;

pub(super) fn run(data: &[u8]) {
    let mut table = Table::default();
    let mut list = List::new();
    for (number, line) in (0..).zip(data.split(|&b| b == b'\n')) {
        let [what, host, text @ ..] = line else {
            continue;
        };
        let host = usize::from(host % 4);
        match what % 4 {
            0 | 1 => insert(&mut table, &mut list, HOSTS[host], text, number),
            2 => remove(&mut table, &mut list, HOSTS[host], text),
            _ => lookup(&table, &list, REQUEST_HOSTS[host], text),
        }
        assert_eq!(table.len(), list.len());
    }
    assert_eq!(table.iter().count(), list.len());
}

fn route(host: &str, text: &[u8], number: u64) -> Option<(Route, (String, String))> {
    let prefix = PathPrefix::parse(std::str::from_utf8(text).ok()?).ok()?;
    let key = (
        host.to_owned(),
        prefix.as_str().trim_end_matches('/').to_lowercase(),
    );
    let host = match host {
        "" => HostPattern::Any,
        host => HostPattern::parse(host).expect("a host"),
    };
    let target = Target::new("localhost", NonZeroU16::MIN, []);
    let instance = Arc::new(Instance::new(target));
    let route = Route::new(RouteKey { host, prefix }, instance, Generation(number));
    Some((route, key))
}

fn insert(table: &mut Table, list: &mut List, host: &str, text: &[u8], number: u64) {
    if let Some((route, key)) = route(host, text, number) {
        let replaced = table
            .insert(Arc::new(route))
            .map(|route| route.generation.0);
        assert_eq!(replaced, list.insert(key, number));
    }
}

fn remove(table: &mut Table, list: &mut List, host: &str, text: &[u8]) {
    if let Some((route, key)) = route(host, text, 0) {
        let removed = table.remove(&route.key()).map(|route| route.generation.0);
        assert_eq!(removed, list.remove(&key));
    }
}

/// A path with what prefixes have only as an escape.
fn in_one_spelling(path: &str) -> String {
    let spelled = |letter: char| {
        if " \"<>\\^`{|}".contains(letter) {
            format!("%{:02X}", u32::from(letter))
        } else {
            letter.to_string()
        }
    };
    path.chars().map(spelled).collect()
}

fn lookup(table: &Table, list: &List, host: &str, text: &[u8]) {
    let Ok(path) = RequestPath::parse(text) else {
        return;
    };
    let path = path.as_str();
    let found = table.lookup(host, path).map(|route| route.generation.0);
    let lower = in_one_spelling(path).to_lowercase();
    let hosts = match host {
        "" => vec![""],
        "a.com" => vec!["a.com", "*.com", ""],
        "b.com" => vec!["*.com", ""],
        _ => vec!["*.a.com", "*.com", ""],
    };
    let mut ends: Vec<_> = lower.match_indices('/').map(|(at, _)| at).collect();
    ends.push(lower.len());
    let keys = hosts
        .iter()
        .flat_map(|h| ends.iter().rev().map(move |&end| (*h, end)));
    let mut keys = keys.map(|(h, end)| (h.to_owned(), lower[..end].to_owned()));
    assert_eq!(
        found,
        keys.find_map(|key| list.get(&key).copied()),
        "{host} {path}"
    );
}
