//! The log filter: `env_logger`'s language, less what hides a typing error.

use serde::Deserializer;

use super::{spelling, text};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A filter such as `info` or `info,pingora_core=warn`. To `env_logger` a level that does not
/// exist, such as `inof`, is the name of a module; here a module needs its level.
pub(super) fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text::parse_with(deserializer, |text| {
        let directives = text
            .split_once('/')
            .map_or(text, |(directives, _)| directives);
        directives.split(',').try_for_each(check)?;
        Ok(text.to_owned())
    })
}

fn check(directive: &str) -> Result<(), String> {
    let directive = directive.trim();
    let level = directive
        .split_once('=')
        .map_or(directive, |(_, level)| level);
    if LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    let remedy = match spelling::nearest(level, &LEVELS) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "write one of {}, or MODULE=LEVEL, separated by commas",
            LEVELS.join(", ")
        ),
    };
    Err(format!(
        "has no such level: {}; {remedy}",
        text::shown(level)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_stand_alone_or_for_a_module() {
        for directive in ["info", "OFF", " debug ", "pingora_core=warn", "a::b=trace"] {
            assert_eq!(check(directive), Ok(()), "{directive}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_a_module() {
        for (directive, expected) in [
            ("inof", "has no such level: \"inof\"; did you mean info?"),
            ("a=wran", "has no such level: \"wran\"; did you mean warn?"),
            (
                "pingora_core",
                "has no such level: \"pingora_core\"; write one of off, error, warn, info, debug, \
                 trace, or MODULE=LEVEL, separated by commas",
            ),
        ] {
            assert_eq!(check(directive).unwrap_err(), expected);
        }
    }
}
