//! The stored figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::Result;
use crate::machine::Versions;

const HEAD: &str = "\
# What a request costs the proxy, in instructions, in user mode alone: `make guard` compares with these,
# and fails when one is more than 5 % off either way. Written by `make guard-accept`; a commit that
# changes them says why. How they are counted: README.md beside this file.
";

/// What each scenario costs, and with which tools that was counted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    pub(crate) versions: Versions,
    /// For one request, by the scenario's name.
    pub(crate) instructions: BTreeMap<String, u64>,
}

impl Figures {
    pub(crate) fn new(versions: Versions) -> Self {
        Self {
            versions,
            instructions: BTreeMap::new(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        Ok(serde_saphyr::from_str(text)?)
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{HEAD}versions:\n");
        for (tool, version) in self.versions.named() {
            // Writing to a String cannot fail.
            writeln!(text, "  {tool}: \"{version}\"").unwrap_or(());
        }
        text.push_str("instructions:\n");
        for (name, count) in &self.instructions {
            writeln!(text, "  {name}: {count}").unwrap_or(());
        }
        text
    }
}
