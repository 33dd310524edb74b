//! The figures of now beside the stored ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::figures::Figures;

/// How far a figure may be off, either way, in per cent.
const TOLERANCE: f64 = 5.0;

#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Good,
    /// It costs more, or less, than it may.
    Off,
    /// Nothing is stored.
    New,
    /// It is stored, and there is no such scenario.
    Gone,
}

struct Row {
    name: String,
    stored: Option<u64>,
    now: Option<u64>,
}

impl Row {
    /// In per cent.
    #[allow(clippy::cast_precision_loss)] // Counts are far below 2^52.
    fn change(&self) -> Option<f64> {
        let (stored, now) = (self.stored? as f64, self.now? as f64);
        Some((now - stored) / stored * 100.0)
    }

    fn verdict(&self) -> Verdict {
        match (self.stored, self.change()) {
            (_, Some(change)) if change.abs() <= TOLERANCE => Verdict::Good,
            (_, Some(_)) => Verdict::Off,
            (None, None) => Verdict::New,
            (Some(_), None) => Verdict::Gone,
        }
    }
}

pub(crate) struct Report {
    rows: Vec<Row>,
    /// Tools whose versions are others, each with both.
    tools: Vec<String>,
}

impl Report {
    /// `whole`: `now` has every scenario that there is.
    pub(crate) fn new(stored: &Figures, now: &Figures, whole: bool) -> Self {
        let mut rows = BTreeMap::new();
        for (name, &count) in &stored.instructions {
            if whole || now.instructions.contains_key(name) {
                rows.insert(name.clone(), (Some(count), None));
            }
        }
        for (name, &count) in &now.instructions {
            rows.entry(name.clone()).or_insert((None, None)).1 = Some(count);
        }
        let rows = rows
            .into_iter()
            .map(|(name, (stored, now))| Row { name, stored, now });
        let tools = stored.versions.named().into_iter();
        let tools = tools.zip(now.versions.named());
        let tools = tools.filter(|((_, stored), (_, now))| stored != now);
        Self {
            rows: rows.collect(),
            tools: tools
                .map(|((tool, stored), (_, now))| format!("{tool}: {stored}, now {now}"))
                .collect(),
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.verdict() == Verdict::Good)
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<16} {:>10} {:>10} {:>9}\n",
            "", "stored", "now", "change"
        );
        let shown = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        for row in &self.rows {
            let change = row.change().map_or("-".to_owned(), percent);
            let mark = match row.verdict() {
                Verdict::Good => "",
                Verdict::Off => "  OFF",
                Verdict::New => "  NOT STORED",
                Verdict::Gone => "  NO SUCH SCENARIO",
            };
            let (name, stored, now) = (&row.name, shown(row.stored), shown(row.now));
            // Writing to a String cannot fail.
            writeln!(text, "{name:<16} {stored:>10} {now:>10} {change:>9}{mark}").unwrap_or(());
        }
        text
    }

    /// What is wrong, and what to do about it. `folder` is where callgrind's files are.
    pub(crate) fn fault(&self, folder: &Path) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let name = &row.name;
            let said = match (row.verdict(), row.stored, row.now, row.change()) {
                (Verdict::Off, Some(stored), Some(now), Some(change)) => format!(
                    "{name}: {} ({stored} instructions for a request, now {now}; \
                     callgrind_annotate {}/{name}.callgrind says what for)",
                    percent(change),
                    folder.display()
                ),
                (Verdict::New, ..) => format!("{name}: no figure is stored"),
                (Verdict::Gone, ..) => {
                    format!("{name}: a figure is stored, and no such scenario is")
                }
                _ => continue,
            };
            writeln!(text, "guard: {said}").unwrap_or(());
        }
        for tool in &self.tools {
            writeln!(
                text,
                "guard: stored with another {tool}: that may be all of it"
            )
            .unwrap_or(());
        }
        text + "guard: more than 5 % either way has to be owned: find out why; if it is to stay, \
                run `make guard-accept` and commit benches/guard/figures.yaml with the reason\n"
    }
}

fn percent(change: f64) -> String {
    format!("{change:+.1} %")
}
