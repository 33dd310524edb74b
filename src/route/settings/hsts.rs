//! The setting `hsts`: the field that has browsers send later requests over TLS.

use std::fmt;
use std::str::FromStr;

use super::setting::{Setting, by_text};
use crate::route::texts::describe_text;
use crate::route::{FieldError, clip_value};

/// The field `Strict-Transport-Security` of responses over TLS (RFC 6797, 6.1), or its absence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hsts(Option<Box<str>>);

impl Hsts {
    /// No field.
    pub const OFF: Self = Self(None);

    /// The field's value; `None` for no field.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Setting for Hsts {
    const CODE: &'static str = "INVALID_HSTS";
    const HELP: &'static str = "The field Strict-Transport-Security of answers over TLS, or off; by default \
        what `tls.hsts` says";
    const VALUE: &'static str = "VALUE";
}

describe_text!(
    Hsts,
    "The field `Strict-Transport-Security` of answers over TLS (RFC 6797), unless the app sets it; `off` for \
     none.",
    |text| text
        .pattern(Some(
            "^(off|max-age=(0|[1-9][0-9]{0,8})(; includeSubDomains)?(; preload)?)$"
        ))
        .examples(["max-age=31536000; includeSubDomains"])
);

by_text!(Hsts);

/// `off`, or the directives of RFC 6797, 6.1, and `preload`, in any case and order; they are put into
/// one spelling.
impl FromStr for Hsts {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let problem = |problem| {
            let text = clip_value(text);
            let problem = format!(
                "{text:?} {problem}; write off, or for example max-age=31536000; includeSubDomains, with the \
                 time in seconds"
            );
            FieldError::new("hsts", Self::CODE, problem)
        };
        let (mut max_age, mut subdomains, mut preload) = (None, false, false);
        for directive in text.split(';').map(str::trim) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
                None => (directive, None),
            };
            match (name.to_ascii_lowercase().as_str(), value) {
                ("max-age", Some(value)) if max_age.is_none() => {
                    let seconds = value
                        .strip_prefix('"')
                        .and_then(|rest| rest.strip_suffix('"'))
                        .unwrap_or(value);
                    let is_number = seconds.bytes().all(|byte| byte.is_ascii_digit());
                    let seconds = seconds.parse::<u32>().ok().filter(|_| is_number);
                    max_age = Some(seconds.ok_or_else(|| problem("has no time in max-age"))?);
                }
                ("includesubdomains", None) if !subdomains => subdomains = true,
                ("preload", None) if !preload => preload = true,
                ("", None) => {}
                ("max-age" | "includesubdomains" | "preload", _) => {
                    return Err(problem("has a directive twice, or one with a wrong value"));
                }
                _ => return Err(problem("has a directive that is not known")),
            }
        }
        let max_age = max_age.ok_or_else(|| problem("has no max-age"))?;
        let mut value = format!("max-age={max_age}");
        for (is, directive) in [(subdomains, "includeSubDomains"), (preload, "preload")] {
            if is {
                value.push_str("; ");
                value.push_str(directive);
            }
        }
        Ok(Self(Some(value.into())))
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.value().unwrap_or("off"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_put_into_one_spelling() {
        let year = "max-age=31536000";
        for (text, expected) in [
            ("off", "off".to_owned()),
            ("max-age=0", "max-age=0".to_owned()),
            ("Max-Age=\"31536000\"", year.to_owned()),
            (
                "includesubdomains;max-age=31536000 ;",
                format!("{year}; includeSubDomains"),
            ),
            (
                "preload; max-age = 31536000; includeSubDomains",
                format!("{year}; includeSubDomains; preload"),
            ),
        ] {
            let hsts: Hsts = text.parse().unwrap();
            assert_eq!(hsts.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Hsts>().unwrap(), hsts);
        }
    }

    #[test]
    fn what_is_no_hsts_says_why() {
        for (text, problem) in [
            ("", "no max-age"),
            ("on", "not known"),
            ("includeSubDomains", "no max-age"),
            ("max-age", "wrong value"),
            ("max-age=", "no time"),
            ("max-age=1y", "no time"),
            ("max-age=+1", "no time"),
            ("max-age=-1", "no time"),
            ("max-age=99999999999", "no time"),
            ("max-age=1; max-age=1", "twice"),
            ("max-age=1; preload=1", "wrong value"),
            ("max-age=1\r\nx: y", "no time"),
            ("max-age=1; é", "not known"),
        ] {
            let error = text.parse::<Hsts>().expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
