//! The file of an import: what it has to look like, and what is said when it does not.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use thiserror::Error;

use crate::cli::client::{ClientError, Refusal};
use crate::cli::key::ANY;
use crate::cli::wire::{RouteSet, key};

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 29;

/// The form of a file, for messages.
const FORM: &str = r#"{"routes":[{"host":"*","prefix":"/shop","instances":[{"port":4321}]}]}"#;

/// Why a file of routes cannot be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too long.
    #[error("{} is longer than 512 MiB", .0.display())]
    TooLong(PathBuf),
    /// It has another form.
    #[error("{}:{line}:{column}: {what}; expected is {FORM}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The problem.
        what: String,
    },
    /// The proxy refuses one of its routes.
    #[error("{}: route {number} ({key}): {refusal}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which route, from 1.
        number: usize,
        /// The route.
        key: String,
        /// The proxy's refusal.
        refusal: Box<Refusal>,
    },
}

impl ImportError {
    /// The process's exit code.
    pub(in super::super) fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::TooLong(_) | Self::Form { .. } => 2,
            Self::Entry { refusal, .. } => refusal.exit_code(),
        }
    }

    /// A refusal of the whole, told as one of the route that its pointer names.
    pub(super) fn told(
        path: &Path,
        set: &RouteSet,
        error: ClientError,
    ) -> Result<Self, ClientError> {
        let ClientError::Refused(mut refusal) = error else {
            return Err(error);
        };
        let place = refusal.place.as_deref().and_then(index);
        let Some((index, rest)) = place else {
            return Err(ClientError::Refused(refusal));
        };
        let Some(route) = set.routes.get(index) else {
            return Err(ClientError::Refused(refusal));
        };
        refusal.place = (!rest.is_empty()).then_some(rest);
        Ok(Self::Entry {
            path: path.to_owned(),
            number: index.saturating_add(1),
            key: key(route).to_string(),
            refusal,
        })
    }
}

/// Which entry a pointer into the body names, and what of it.
fn index(pointer: &str) -> Option<(usize, String)> {
    let rest = pointer
        .strip_prefix("/changes/")
        .or_else(|| pointer.strip_prefix("/routes/"))?;
    let (index, rest) = rest.split_once('/').unwrap_or((rest, ""));
    Some((index.parse().ok()?, rest.to_owned()))
}

/// Reads a file; `-` is standard input.
pub(super) fn read(path: &Path, bar: &ProgressBar) -> Result<RouteSet, ImportError> {
    let failed = |source| ImportError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(failed)?;
        if let Ok(found) = file.metadata() {
            bar.set_length(found.len());
        }
        Box::new(file)
    };
    bar.wrap_read(&mut source)
        .take(LONGEST + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(ImportError::TooLong(path.to_owned()));
    }
    let set = serde_json::from_slice(&text).map_err(|error| {
        let what = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        ImportError::Form {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            what: what.strip_suffix(&place).unwrap_or(&what).to_owned(),
        }
    });
    set.map(|mut set: RouteSet| {
        for route in &mut set.routes {
            // A file may leave it out.
            route.own.host.get_or_insert_with(|| ANY.to_owned());
        }
        set
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let error = read(file.path(), &ProgressBar::hidden()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let name = file.path().display().to_string();
        error.to_string().replace(&name, "FILE")
    }

    #[test]
    fn another_form_has_its_place_and_what_is_expected() {
        for (text, beginning) in [
            ("", "FILE:1:0: EOF while parsing"),
            ("[]", "FILE:1:2: invalid length 0"),
            ("{\n \"route\": []}", "FILE:2:8: unknown field `route`"),
            (
                "{\"routes\":[\n{\"prefix\":\"/a\",\"instances\":[{\"port\":\"1\"}]}]}",
                "FILE:2:39: invalid type: string \"1\", expected a port; write a number from 1 to 65535",
            ),
            (
                "{\"routes\":[{\"prefix\":\"/a\"}]}",
                "FILE:1:26: missing field `instances`",
            ),
        ] {
            let message = message(text);
            assert!(message.starts_with(beginning), "{message}");
            assert!(message.ends_with(FORM), "{message}");
        }
    }

    #[test]
    fn a_pointer_names_an_entry() {
        assert_eq!(index("/changes/3/prefix"), Some((3, "prefix".to_owned())));
        assert_eq!(index("/routes/0"), Some((0, String::new())));
        assert_eq!(index("/changes"), None);
        assert_eq!(index("/changes/x"), None);
    }
}
