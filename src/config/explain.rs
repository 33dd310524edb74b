//! From the deserialiser's error to one that names the key and says what to do.

use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::error::ConfigError;
use super::outline::{Entry, Node, Position};
use super::source::Source;
use super::{key, spelling, text};

/// Explains why `source` could not be read.
pub(super) fn explain(error: &Error, source: &Source<'_>) -> ConfigError {
    let position = position(error);
    match unwrapped(error) {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_key(field, expected, position, source),
        Error::DuplicateMappingKey { key, .. } => duplicate_key(key.as_deref(), position, source),
        Error::SerdeMissingField { field, .. } => missing_key(field, position, source),
        Error::MultipleDocuments { .. } => ConfigError::Syntax {
            place: source.place(position),
            problem: "a second document; keep one, without a line of --- after its first"
                .to_owned(),
        },
        error if let Some(explained) = no_word(error, position, source) => explained,
        error => {
            let entry = entry_at(source, position);
            match problem(error, entry.as_ref()) {
                Some(problem) => value(problem, position, entry, source),
                None => syntax(error, position, source),
            }
        }
    }
}

fn unknown_key(
    name: &str,
    known: &[&'static str],
    position: Position,
    source: &Source<'_>,
) -> ConfigError {
    let path = source
        .outline()
        .into_iter()
        .find(|entry| entry.key == Some(position))
        .map(|entry| entry.path);
    let section = path
        .as_deref()
        .and_then(|path| path.strip_suffix(name)?.strip_suffix('.'))
        .unwrap_or_default();
    ConfigError::UnknownKey {
        place: source.place(position),
        key: name.to_owned(),
        section: section.to_owned(),
        hint: key::hint(name, known),
    }
}

/// A key that a map lacks. The deserialiser stands at the map, or at the last key in it.
fn missing_key(key: &'static str, position: Position, source: &Source<'_>) -> ConfigError {
    let entry = entry_at(source, position);
    let section = match &entry {
        Some(entry) if entry.node == Node::Map => entry.path.as_str(),
        Some(entry) => entry.path.rsplit_once('.').map_or("", |(map, _)| map),
        None => "",
    };
    ConfigError::MissingKey {
        place: source
            .value(section)
            .unwrap_or_else(|| source.place(position)),
        key,
        section: section.to_owned(),
    }
}

fn duplicate_key(name: Option<&str>, position: Position, source: &Source<'_>) -> ConfigError {
    let outline = source.outline();
    let path = outline
        .iter()
        .find(|entry| entry.key == Some(position))
        .map(|entry| entry.path.as_str());
    let first = outline
        .iter()
        .find(|entry| path == Some(entry.path.as_str()))
        .and_then(|entry| entry.key)
        .filter(|first| *first != position);
    ConfigError::DuplicateKey {
        place: source.place(position),
        key: path.or(name).unwrap_or("key").to_owned(),
        first: first.map(|(line, _)| line),
    }
}

/// A list or a map in the place of one of a few words. The deserialiser may stand within it.
fn no_word(error: &Error, position: Position, source: &Source<'_>) -> Option<ConfigError> {
    let is_of_words = matches!(
        error,
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
            | Error::ExpectedStringKeyForExternallyTaggedEnum { .. }
            | Error::UnexpectedValueForUnitEnumVariant { .. }
            | Error::ExpectedMappingEndAfterEnumVariantValue { .. }
            | Error::SerdeUnknownVariant { .. }
    );
    let inner = entry_at(source, position).filter(|_| is_of_words)?;
    let (path, words) = key::words_at(&inner.path)?;
    let outline = source.outline();
    let entry = outline.iter().find(|entry| entry.path == path)?;
    if matches!(entry.node, Node::Scalar(_)) {
        return None;
    }
    Some(ConfigError::Value {
        place: source.place(entry.value),
        key: path.to_owned(),
        problem: format!("{}; it must be {}", is(&entry.node), words.join(" or ")),
    })
}

/// An error of the value at a position; the problem is a predicate of its key.
fn value(
    problem: String,
    position: Position,
    entry: Option<Entry>,
    source: &Source<'_>,
) -> ConfigError {
    match entry.filter(|entry| !entry.path.is_empty()) {
        Some(entry) => ConfigError::Value {
            place: source.place(shown_at(&entry, position)),
            key: entry.path,
            problem,
        },
        None => ConfigError::Syntax {
            place: source.place(position),
            problem: format!("the configuration {problem}"),
        },
    }
}

/// A value that is not there has no place of its own: its key has.
fn shown_at(entry: &Entry, position: Position) -> Position {
    match &entry.node {
        Node::Scalar(text) if is_blank(text) => entry.key.unwrap_or(position),
        _ => position,
    }
}

/// The problem with a value, as a predicate; none when the text is not even YAML.
fn problem(error: &Error, entry: Option<&Entry>) -> Option<String> {
    let node = entry.map(|entry| &entry.node);
    if matches!(node, Some(Node::Scalar(text)) if is_blank(text)) && is_mismatch(error) {
        return Some("has no value; give it one, or remove the line".to_owned());
    }
    let is = node.map_or_else(|| "is something else".to_owned(), is);
    Some(match error {
        Error::Message { msg, .. } => msg.clone(),
        Error::InvalidBooleanStrict { .. } => format!("{is}; it must be true or false"),
        Error::InvalidScalar { .. } => format!("{is}; it must be a whole number, 0 or more"),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("{is}; it must be {expected}")
        }
        Error::Unexpected { expected, .. } => format!("{is}; it must be {}", kind(expected)),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let choice = match spelling::nearest(variant, expected) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it must be {}", expected.join(" or ")),
            };
            format!("{is}; {choice}")
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            format!("{is}; it must be a single word")
        }
        Error::MergeKeyNotAllowed { .. } => {
            "merges another map, which is not supported; write its keys out".to_owned()
        }
        Error::UnsupportedTag { tag, .. } => format!("has the tag {tag}; remove it"),
        _ => return None,
    })
}

fn is(node: &Node) -> String {
    match node {
        Node::Scalar(text) => format!("is {}", text::shown(text)),
        Node::List => "is a list".to_owned(),
        Node::Map => "is a map".to_owned(),
        Node::Alias => "is an alias".to_owned(),
    }
}

/// The deserialiser's name for what it wants, in the words of the documentation.
fn kind(expected: &str) -> &str {
    if expected.contains("mapping") {
        "a map: a line of `key: value` for each key"
    } else if expected.contains("sequence") {
        "a list: a line of `- value` for each item"
    } else {
        "a single value"
    }
}

/// A value that is not written at all, or `~` or `null`.
fn is_blank(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn is_mismatch(error: &Error) -> bool {
    !matches!(error, Error::Message { .. })
}

fn syntax(error: &Error, position: Position, source: &Source<'_>) -> ConfigError {
    let found = UserMessageFormatter.format_message(error);
    ConfigError::Syntax {
        place: source.place(position),
        problem: format!("not valid YAML: {found}; see the lines up to here"),
    }
}

/// Refuses a tab among the blanks that begin a line. YAML allows it in some places; nobody can see
/// in which.
pub(super) fn check_tabs(source: &Source<'_>) -> Result<(), ConfigError> {
    let tab = source.text.lines().enumerate().find_map(|(index, line)| {
        let content = line.trim_start_matches([' ', '\t']);
        let tab = line.find('\t')?;
        let indents = tab + content.len() < line.len();
        let is_blank = content.is_empty() || content.starts_with('#');
        (indents && !is_blank).then_some((index + 1, tab + 1))
    });
    tab.map_or(Ok(()), |tab| {
        Err(ConfigError::Syntax {
            place: source.place(tab),
            problem: "a tab in the indentation; indent with spaces".to_owned(),
        })
    })
}

/// The value that begins at a position, or else the one whose key does. A map that is a block
/// begins where its first key does: it comes first.
fn entry_at(source: &Source<'_>, position: Position) -> Option<Entry> {
    let outline = source.outline();
    let of_value = outline.iter().find(|entry| entry.value == position);
    of_value
        .or_else(|| outline.iter().find(|entry| entry.key == Some(position)))
        .cloned()
}

fn unwrapped(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => unwrapped(error),
        error => error,
    }
}

fn position(error: &Error) -> Position {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    error.location().map_or((0, 0), |location| {
        (number(location.line()), number(location.column()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    /// Every key that takes one of a few words.
    const KEYS: [(&str, &str, &str); 8] = [
        ("engine", "engine: V", "it must be direct or pingora"),
        ("store", "store: V", "it must be memory or embedded"),
        (
            "registration.unknown_fields",
            "registration: {unknown_fields: V}",
            "it must be refuse or ignore",
        ),
        (
            "tls.client_auth.mode",
            "tls: {client_auth: {mode: V}}",
            "it must be off or optional or require",
        ),
        (
            "tls.listen[0].client_auth.mode",
            "tls: {listen: [{address: 127.0.0.1:1, client_auth: {mode: V}}]}",
            "it must be off or optional or require",
        ),
        (
            "tls.min_version",
            "tls: {min_version: V}",
            "it must be a single value",
        ),
        (
            "acme.challenge",
            "acme: {challenge: V}",
            "it must be any or http-01 or tls-alpn-01",
        ),
        ("log", "log: V", "it must be a single value"),
    ];

    #[test]
    fn what_is_no_word_is_refused_with_the_words() {
        for (key, text, right) in KEYS {
            for (value, is) in [
                ("[x]", "is a list"),
                ("[]", "is a list"),
                ("[[x]]", "is a list"),
                ("{x: 1}", "is a map"),
                ("{[x]: 1}", "is a map"),
            ] {
                let error = read(&text.replace('V', value));
                let expected = format!("`{key}` {is}; {right}");
                assert!(error.starts_with("x.yaml:1:"), "{error}");
                assert!(error.contains(&expected), "{value}: {error}");
            }
            let error = read(&text.replace('V', "~"));
            assert!(error.contains(&format!("`{key}` has no value")), "{error}");
            let error = read(&text.replace('V', "7"));
            assert!(error.contains(&format!("`{key}` ")), "{error}");
            assert!(!error.contains("not valid YAML"), "{error}");
        }
    }

    #[test]
    fn a_map_with_a_word_as_its_key_is_none() {
        for text in [
            "engine: {direct: 1}",
            "engine: {direct: [x]}",
            "engine: {direct: ~, pingora: ~}",
            "engine:\n  direct: 1\n",
        ] {
            let error = read(text);
            let expected = "`engine` is a map; it must be direct or pingora";
            assert!(error.contains(expected), "{error}");
        }
        let error = read("store: {memory: 1}");
        assert!(
            error.contains("`store` is a map; it must be memory or"),
            "{error}"
        );
    }

    fn read(text: &str) -> String {
        let read = Config::from_yaml("x.yaml", text, |_| None);
        read.expect_err(text).to_string()
    }
}
