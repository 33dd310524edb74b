//! The path of a route or of an instance in the API: `/v1/routes/{host}/{prefix...}`, with
//! `/instances/{id}` behind it for an instance.

use std::borrow::Cow;

use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::error::invalid;
use super::input;
use super::problem::Problem;
use crate::registry::Registry;
use crate::route::{InstanceId, RouteKey, instance_id};

/// The set of routes.
pub(super) const ROUTES: &str = "/v1/routes";

/// The segment in front of an instance's name. A prefix that has it in this place is written with an
/// escape: `%69nstances`.
const INSTANCES: &str = "/instances/";
const ESCAPED: &str = "/%69nstances/";

/// The route or the instance that a path below the set of routes stands for.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) key: RouteKey,
    /// The instance, if the path is one's.
    pub(super) instance: Option<InstanceId>,
}

impl Place {
    /// Reads a path. The prefix is what stands there, escapes and all; it begins behind the host.
    pub(super) fn of(registry: &Registry, uri: &Uri) -> Result<Self, Problem> {
        let path = uri.path().strip_prefix(ROUTES).unwrap_or_default();
        let path = path.strip_prefix('/').unwrap_or_default();
        let (host, prefix) = path
            .find('/')
            .map_or((path, "/"), |slash| path.split_at(slash));
        let host = decoded(host)?;
        let (prefix, instance) = match prefix.rsplit_once(INSTANCES) {
            Some((prefix, id)) if !id.contains('/') => (prefix, Some(id)),
            _ => (prefix, None),
        };
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let mut key = input::key(registry, &host, prefix, "");
        if let Err(problem) = &mut key {
            // What is wrong stands in the path, not in the body.
            problem.pointer = None;
        }
        let instance = match instance {
            None => None,
            Some(id) => {
                let id = decoded(id)?;
                Some(instance_id(&id).map_err(|error| invalid(&error.into(), ""))?)
            }
        };
        Ok(Self {
            key: key?,
            instance,
        })
    }

    /// The path of a route, or of an instance of it, which is read as just that.
    pub(super) fn path(key: &RouteKey, instance: Option<&InstanceId>) -> String {
        let host = key.host.to_string();
        let host = host.replace('[', "%5B").replace(']', "%5D");
        let prefix = key.prefix.as_str();
        match instance {
            None => {
                let prefix = match prefix.rsplit_once(INSTANCES) {
                    Some((before, behind)) => format!("{before}{ESCAPED}{behind}"),
                    None => prefix.to_owned(),
                };
                format!("{ROUTES}/{host}{prefix}")
            }
            Some(id) => {
                let prefix = prefix.trim_end_matches('/');
                format!("{ROUTES}/{host}{prefix}{INSTANCES}{id}")
            }
        }
    }
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(segment).decode_utf8().map_err(|error| {
        let detail = format!("A segment of the path is not UTF-8: {error}.");
        Problem::new(StatusCode::BAD_REQUEST, "BAD_PATH", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Rules;

    fn read(path: &str) -> Result<(String, Option<String>), &'static str> {
        let registry = Registry::new(Rules::default());
        let place = Place::of(&registry, &path.parse().unwrap()).map_err(|p| p.code)?;
        let id = place.instance.map(|id| id.to_string());
        Ok((place.key.to_string(), id))
    }

    #[test]
    fn a_written_path_is_read_as_what_it_stands_for() {
        for (path, written) in [
            ("/v1/routes/*", "/v1/routes/*/"),
            ("/v1/routes/[::1]/a", "/v1/routes/%5B::1%5D/a"),
            ("/v1/routes/*/instances/b", "/v1/routes/*/instances/b"),
            ("/v1/routes/*/a/instances/b", "/v1/routes/*/a/instances/b"),
            (
                "/v1/routes/*/a/%69nstances/b",
                "/v1/routes/*/a/%69nstances/b",
            ),
            (
                "/v1/routes/*/%69nstances/%69nstances/c",
                "/v1/routes/*/instances/%69nstances/c",
            ),
            (
                "/v1/routes/*/a/%69nstances/b/instances/c",
                "/v1/routes/*/a/instances/b/instances/c",
            ),
            (
                "/v1/routes/*/a/instances/b/c",
                "/v1/routes/*/a/%69nstances/b/c",
            ),
        ] {
            let registry = Registry::new(Rules::default());
            let read = |path: &str| {
                let Ok(uri) = path.replace('[', "%5B").replace(']', "%5D").parse() else {
                    panic!("{path}");
                };
                Place::of(&registry, &uri).unwrap()
            };
            let place = read(path);
            let again = Place::path(&place.key, place.instance.as_ref());
            assert_eq!(again, written, "{path}");
            let back = read(&again);
            assert_eq!((back.key, back.instance), (place.key, place.instance));
        }
    }

    #[test]
    fn a_path_is_a_key_and_perhaps_an_instance() {
        let cases = [
            ("/v1/routes/*/shop/cart", "*/shop/cart", None),
            ("/v1/routes/*", "*/", None),
            ("/v1/routes/*/", "*/", None),
            ("/v1/routes/%2A/shop/", "*/shop", None),
            ("/v1/routes/example.com/a%20b", "example.com/a%20b", None),
            ("/v1/routes/%5B::1%5D/a", "[::1]/a", None),
            (
                "/v1/routes/*.example.com/a/instances/web-1",
                "*.example.com/a",
                Some("web-1"),
            ),
            ("/v1/routes/*/instances/web-1", "*/", Some("web-1")),
            ("/v1/routes/*/a/%69nstances/b", "*/a/instances/b", None),
            ("/v1/routes/*/a/instances/b/c", "*/a/instances/b/c", None),
        ];
        for (path, key, id) in cases {
            assert_eq!(
                read(path),
                Ok((key.to_owned(), id.map(str::to_owned))),
                "{path}"
            );
        }
        for (path, code) in [
            ("/v1/routes/a%20b/x", "INVALID_HOST_PATTERN"),
            ("/v1/routes/%ff/x", "BAD_PATH"),
            ("/v1/routes/*/a/instances/b%2Fc", "INVALID_INSTANCE"),
            ("/v1/routes/*/a%zz", "INVALID_PREFIX"),
        ] {
            let Ok(uri) = path.parse::<Uri>() else {
                continue;
            };
            let registry = Registry::new(Rules::default());
            assert_eq!(Place::of(&registry, &uri).unwrap_err().code, code, "{path}");
        }
    }
}
