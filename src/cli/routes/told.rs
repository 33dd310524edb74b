//! Events in words, one line each: `routes watch` for people.

use serde_json::Value;

use crate::cli::clean::clean;
use crate::cli::key::Key;

/// How many instances of a route are named.
const MOST_NAMED: usize = 3;

/// The line about an event; none if another event beside it says the same.
pub(super) fn line(name: &str, data: &Value) -> Option<String> {
    let (verb, rest) = match name {
        // The change that a registration has made is told by itself.
        "route_registered" => return None,
        "route_created" => ("created", instances(&data["after"])),
        "route_replaced" => ("replaced", replaced(data)),
        "route_removed" => ("removed", String::new()),
        "instance_joined" => ("joined", instance(&data["instance"])),
        "instance_replaced" => ("replaced", instance(&data["instance"])),
        "instance_draining" => ("draining", instance(&data["instance"])),
        "instance_left" => ("left", instance(&data["instance"])),
        "lease_expired" => {
            let instance = instance(&data["instance"]);
            ("expired", format!("{instance}: its lease was not renewed"))
        }
        "lease_renewed" => ("renewed", instance(&data["instance"])),
        "routes_changed" => ("changed", changed(data)),
        "proxy_error" => ("failed", failed(data)),
        "register_error" => ("refused", refused(data)),
        "missed" => ("missed", missed(data)),
        // Of a newer proxy.
        other => (other, data.to_string()),
    };
    let subject = key(data).map_or_else(String::new, |key| format!("{key}  "));
    let rest = format!("{subject}{rest}{}", suppressed(data));
    Some(clean(format!("{verb:<8}  {rest}").trim_end()))
}

/// The key of the route that an event is about; a failure's host is the request's.
fn key(data: &Value) -> Option<Key> {
    if !data["error"].is_null() {
        return None;
    }
    let text = |name: &str| data[name].as_str();
    Some(Key::new(text("host")?, text("prefix")?))
}

/// The targets of a route's instances.
fn instances(route: &Value) -> String {
    let all = route["instances"].as_array().map_or(&[][..], Vec::as_slice);
    let named: Vec<String> = all.iter().take(MOST_NAMED).map(target).collect();
    let rest = all.len().saturating_sub(MOST_NAMED);
    let rest = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!("{}{rest}", named.join(", "))
}

fn replaced(data: &Value) -> String {
    let (before, after) = (instances(&data["before"]), instances(&data["after"]));
    if before == after {
        after
    } else {
        format!("{before} -> {after}")
    }
}

/// An instance with its name and its target.
fn instance(instance: &Value) -> String {
    let id = instance["id"].as_str().unwrap_or("?");
    format!("{id} at {}", target(instance))
}

/// Where an instance is.
fn target(instance: &Value) -> String {
    if let Some(path) = instance["unix"].as_str() {
        return format!("unix:{path}");
    }
    let host = instance["host"].as_str().unwrap_or("localhost");
    match instance["port"].as_u64() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn changed(data: &Value) -> String {
    let count = |name: &str| data[name].as_u64().unwrap_or(0);
    format!(
        "{} routes created, {} replaced, {} removed, {} unchanged",
        count("created"),
        count("replaced"),
        count("removed"),
        count("unchanged"),
    )
}

fn failed(data: &Value) -> String {
    let text = |name: &str| data[name].as_str().unwrap_or_default();
    let status = data["status"].as_u64().unwrap_or(0);
    format!(
        "{} {}{}: {} ({status} {})",
        text("method"),
        text("host"),
        text("path"),
        text("message"),
        text("error"),
    )
}

fn refused(data: &Value) -> String {
    let text = |name: &str| data[name].as_str();
    let peer = text("peer").map_or_else(String::new, |peer| format!(" from {peer}"));
    format!(
        "a registration{peer}: {} ({})",
        text("message").unwrap_or_default(),
        text("error").unwrap_or_default(),
    )
}

fn missed(data: &Value) -> String {
    let count = data["missed"].as_u64();
    let count = count.map_or_else(|| "some".to_owned(), |count| count.to_string());
    if data["changes"] == false {
        format!("{count} events, no change of a route among them")
    } else {
        format!("{count} events: `routes list` shows how it is now")
    }
}

fn suppressed(data: &Value) -> String {
    let count = data["suppressed"].as_u64();
    count.map_or_else(String::new, |count| {
        format!("; {count} more like it are not shown")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_in_words() {
        let b = json!({ "id": "b", "host": "localhost", "port": 4322, "unix": null });
        let route = |ports: &[u16]| {
            let one = |port: &u16| json!({ "id": "a", "host": "localhost", "port": port });
            json!({ "instances": ports.iter().map(one).collect::<Vec<_>>() })
        };
        let shop = |rest: Value| {
            let mut data = json!({ "host": "*", "prefix": "/shop", "generation": 3 });
            data.as_object_mut()
                .unwrap()
                .extend(rest.as_object().unwrap().clone());
            data
        };
        let nowhere = json!({
            "error": "NOT_FOUND", "message": "no app is registered for this path", "status": 501,
            "method": "GET", "host": "a.example", "path": "/x", "route": null, "suppressed": 8990,
        });
        let refused = json!({ "error": "FORBIDDEN", "message": "no", "peer": "192.0.2.1" });
        let unix = json!({ "id": "c", "host": null, "port": null, "unix": "/run/app.sock" });
        let counts = json!({ "created": 300, "replaced": 0, "removed": 2, "unchanged": 1 });
        let cases = [
            (
                "route_created",
                shop(json!({ "after": route(&[1, 2, 3, 4, 5]) })),
                "created   /shop  localhost:1, localhost:2, localhost:3 and 2 more",
            ),
            (
                "route_replaced",
                shop(json!({ "before": route(&[1]), "after": route(&[2]) })),
                "replaced  /shop  localhost:1 -> localhost:2",
            ),
            (
                "route_replaced",
                shop(json!({ "before": route(&[1]), "after": route(&[1]) })),
                "replaced  /shop  localhost:1",
            ),
            ("route_removed", shop(json!({})), "removed   /shop"),
            (
                "instance_joined",
                shop(json!({ "instance": b })),
                "joined    /shop  b at localhost:4322",
            ),
            (
                "instance_left",
                shop(json!({ "instance": unix })),
                "left      /shop  c at unix:/run/app.sock",
            ),
            (
                "lease_expired",
                shop(json!({ "instance": b })),
                "expired   /shop  b at localhost:4322: its lease was not renewed",
            ),
            (
                "routes_changed",
                counts,
                "changed   300 routes created, 0 replaced, 2 removed, 1 unchanged",
            ),
            (
                "proxy_error",
                nowhere,
                "failed    GET a.example/x: no app is registered for this path (501 NOT_FOUND); 8990 more like \
              it are not shown",
            ),
            (
                "register_error",
                refused,
                "refused   a registration from 192.0.2.1: no (FORBIDDEN)",
            ),
            (
                "missed",
                json!({ "missed": 7 }),
                "missed    7 events: `routes list` shows how it is now",
            ),
            (
                "missed",
                json!({ "missed": null }),
                "missed    some events: `routes list` shows how it is now",
            ),
            (
                "missed",
                json!({ "missed": 7, "changes": false }),
                "missed    7 events, no change of a route among them",
            ),
            ("of_tomorrow", json!({ "a": 1 }), "of_tomorrow  {\"a\":1}"),
        ];
        for (name, data, expected) in cases {
            assert_eq!(line(name, &data).as_deref(), Some(expected));
        }
        assert_eq!(line("route_registered", &shop(json!({}))), None);
    }

    #[test]
    fn a_terminal_is_given_no_commands() {
        let data = json!({ "error": "NOT_FOUND", "host": "a", "path": "/\u{1b}[2J\u{202e}\n" });
        let line = line("proxy_error", &data).unwrap();
        assert!(line.contains("/\\u001b[2J\\u202e\\n"), "{line}");
    }
}
