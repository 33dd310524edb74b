//! The names that a certificate is for.

use std::fmt;

/// A name of a certificate: a DNS name, or a wildcard for the names one label below one. In lower
/// case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pattern {
    /// `example.com`.
    Exact(Box<str>),
    /// `*.example.com`, kept as `example.com`.
    Wildcard(Box<str>),
}

impl Pattern {
    /// Reads a name of a certificate. `None` for what is no name here: an asterisk is the whole
    /// leftmost label or not allowed (RFC 9525, 6.3).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, is_wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_name = name.len() <= 253 && name.split('.').all(is_label);
        let name = is_name.then(|| name.into_boxed_str())?;
        Some(if is_wildcard {
            Self::Wildcard(name)
        } else {
            Self::Exact(name)
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}

/// A label of a host name; an underscore too, which is seen.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_the_first_label_or_nothing() {
        for (text, expected) in [
            ("example.com", Some("example.com")),
            ("Example.COM.", Some("example.com")),
            ("localhost", Some("localhost")),
            ("*.example.com", Some("*.example.com")),
            ("*.A.example.com", Some("*.a.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("a_b.example", Some("a_b.example")),
            ("", None),
            (".", None),
            ("*", None),
            ("*.", None),
            ("*.*.example.com", None),
            ("a*.example.com", None),
            ("a.*.com", None),
            ("a..b", None),
            ("a b", None),
            ("bücher.example", None),
        ] {
            let shown = Pattern::parse(text).map(|pattern| pattern.to_string());
            assert_eq!(shown.as_deref(), expected, "{text:?}");
        }
    }
}
