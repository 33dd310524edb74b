//! A route's key as it is written: `/shop`, `example.com/shop`, `*.example.com/shop`, `*/shop`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::client::{prefix, segment};
use crate::route::PathPrefix;

/// The host pattern of a route for any host.
pub(super) const ANY: &str = "*";

/// The key of a route, as somebody wrote it; the proxy checks and normalises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// A host pattern; `*` for any host.
    pub(super) host: String,
    /// The prefix, with its first slash.
    pub(super) prefix: String,
}

impl Key {
    /// A key as the proxy says it. Every slash counts: `//b` is not `/b`.
    pub(super) fn new(host: &str, prefix: &str) -> Self {
        let slash = if prefix.starts_with('/') { "" } else { "/" };
        Self {
            host: host.to_owned(),
            prefix: format!("{slash}{prefix}"),
        }
    }

    /// The route's path in the API.
    pub(super) fn path(&self) -> String {
        let host = segment(&self.host);
        // The API takes `/instances/` as the end of the prefix, unless it has an escape.
        let segments = self.prefix.split('/').map(|segment| match segment {
            "instances" => Cow::from("%69nstances"),
            other => Cow::from(prefix(other)),
        });
        let segments: Vec<_> = segments.collect();
        format!("/v1/routes/{host}{}", segments.join("/"))
    }

    /// The path of one of its instances.
    pub(super) fn instance_path(&self, id: &str) -> String {
        let path = self.path();
        format!("{}/instances/{}", path.trim_end_matches('/'), segment(id))
    }

    /// The path of an instance, or of the route.
    pub(super) fn path_of(&self, id: Option<&str>) -> String {
        id.map_or_else(|| self.path(), |id| self.instance_path(id))
    }
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write /shop, example.com/shop or *.example.com/shop";
        if text.contains("://") {
            return Err(format!("it is a URL, a route has none; {FORMS}"));
        }
        let Some(slash) = text.find('/') else {
            return Err(format!("it has no path; {FORMS}"));
        };
        let (host, prefix) = text.split_at(slash);
        // In the path of a request, what is wrong with it would be escaped, and be another prefix.
        PathPrefix::parse(prefix).map_err(|error| error.to_string())?;
        let host = if host.is_empty() { ANY } else { host };
        Ok(Self {
            host: host.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != ANY {
            f.write_str(&self.host)?;
        }
        f.write_str(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_have_a_path() {
        for (text, shown, path) in [
            ("/shop", "/shop", "/v1/routes/*/shop"),
            ("*/shop", "/shop", "/v1/routes/*/shop"),
            ("/", "/", "/v1/routes/*/"),
            ("example.com/", "example.com/", "/v1/routes/example.com/"),
            ("*.a.com/b/c", "*.a.com/b/c", "/v1/routes/*.a.com/b/c"),
            ("/a b", "/a b", "/v1/routes/*/a%20b"),
            ("/a%2Fb", "/a%2Fb", "/v1/routes/*/a%2Fb"),
            ("/instances/a", "/instances/a", "/v1/routes/*/%69nstances/a"),
            ("//b", "//b", "/v1/routes/*//b"),
            ("a.com//b", "a.com//b", "/v1/routes/a.com//b"),
            ("/c%3Fl", "/c%3Fl", "/v1/routes/*/c%3Fl"),
        ] {
            let key: Key = text.parse().unwrap();
            assert_eq!(
                (key.to_string().as_str(), key.path().as_str()),
                (shown, path)
            );
        }
        for text in ["", "shop", "http://a/b"] {
            assert!(
                text.parse::<Key>().unwrap_err().contains("write /shop"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_as_by_the_proxy() {
        for (text, why) in [
            ("/c?l", "has a ? at position 3; end it there, or write %3F"),
            ("/c#l", "has a # at position 3; end it there, or write %23"),
            ("a.com/b/../c", "without . and .."),
            ("/a\u{85}", "control character"),
            ("/a%zz", "two hexadecimal digits"),
        ] {
            let error = text.parse::<Key>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_that_the_proxy_says_stays_as_it_is() {
        for (prefix, shown) in [("/b", "/b"), ("//b", "//b"), ("b", "/b"), ("/", "/")] {
            assert_eq!(Key::new("*", prefix).to_string(), shown);
        }
    }

    #[test]
    fn instances_are_below_their_route() {
        let path = |text: &str| text.parse::<Key>().unwrap().instance_path("a/1");
        assert_eq!(path("/shop"), "/v1/routes/*/shop/instances/a%2F1");
        assert_eq!(path("/"), "/v1/routes/*/instances/a%2F1");
    }
}
