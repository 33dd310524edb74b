//! The output of the commands: tables for people, JSON for programs, notes on standard error.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use comfy_table::{
    Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, presets,
};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::CliError;
use super::clean::clean;
use super::client::ClientError;

/// Where a column's text stands.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    /// Numbers.
    Right,
}

/// A cell of a table.
pub(super) enum Text {
    Plain(String),
    /// Something that is about to change.
    Warning(String),
}

/// Writes one document of JSON as the proxy sent it, once it has proved to be one.
pub(super) fn document(json: &[u8]) -> Result<(), CliError> {
    serde_json::from_slice::<IgnoredAny>(json)
        .map_err(|error| ClientError::NotTheApi(error.to_string()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    out.write_all(json.trim_ascii_end())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes a value as one document of JSON on one line.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Writes one line.
pub(super) fn line(text: impl fmt::Display) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes a table with its header, in the width of the terminal if there is one.
pub(super) fn table(
    columns: &[(&str, Align)],
    rows: impl IntoIterator<Item = Vec<Text>>,
) -> Result<(), CliError> {
    let is_terminal = io::stdout().is_terminal();
    let has_colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if is_terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        // One row is one line for grep and awk.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    let aligned = |cell: Cell, align| match align {
        Align::Left => cell,
        Align::Right => cell.set_alignment(CellAlignment::Right),
    };
    if columns.iter().any(|(name, _)| !name.is_empty()) {
        let header = columns
            .iter()
            .map(|(name, align)| aligned(Cell::new(name), *align));
        table.set_header(Row::from(header.collect::<Vec<_>>()));
    }
    for row in rows {
        let cells = row.into_iter().zip(columns).map(|(text, (_, align))| {
            let (text, is_warning) = match text {
                Text::Plain(text) => (text, false),
                Text::Warning(text) => (text, true),
            };
            let cell = aligned(Cell::new(clean(&text)), *align);
            if is_warning && has_colour {
                cell.fg(Color::Yellow)
            } else {
                cell
            }
        });
        table.add_row(Row::from(cells.collect::<Vec<_>>()));
    }
    for (column, (_, align)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if matches!(align, Align::Right) {
            // A broken number is another number.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(out.flush()?)
}

/// Says something beside the output, on standard error.
pub(super) fn note(text: impl fmt::Display) {
    let told = writeln!(io::stderr(), "dynamic-reverse-proxy: {text}");
    if let Err(error) = told {
        // There is nowhere left to say it.
        log::debug!("cannot write to standard error: {error}");
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Plain(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Plain(text.to_owned())
    }
}

impl From<u64> for Text {
    fn from(number: u64) -> Self {
        Self::Plain(number.to_string())
    }
}

/// Returns the text, or a dash if there is none.
pub(super) fn or_dash(text: Option<&str>) -> Text {
    text.unwrap_or("-").into()
}
