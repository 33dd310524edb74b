//! The chart of apps that come and go: a panel for each thing that may go wrong, a bar for each proxy, on
//! a scale from nothing to the most.

use std::fmt::Write as _;
use std::path::Path;

use super::chart::{self, COLOURS};
use super::{Results, Row, ScenarioResult};
use crate::Result;
use crate::churn::count::Churn;
use crate::stats::Spread;

const WIDTH: f64 = 920.0;
const TOP: f64 = 84.0;
/// Left of it are the proxies' names.
const LEFT: f64 = 210.0;
/// Right of a panel's longest bar is its figure.
const FIGURE: f64 = 96.0;
const LINE: f64 = 26.0;

const TITLE: &str = "200 apps that start, stop and die at random: median, least and most of the \
                     rounds (shorter is better)";
/// What the whole width stands for at least, so that next to nothing looks like that.
const LEAST: f64 = 10.0;

/// What a panel shows of a round.
type Figure = fn(&Churn) -> Option<f64>;

const PANELS: [(&str, &str, Figure); 4] = [
    ("another app answered", "of 10,000 requests", |churn| {
        Some(churn.part(churn.others()))
    }),
    (
        "error though the app is up",
        "of 10,000 requests",
        |churn| Some(churn.part(churn.failed)),
    ),
    ("connections cut", "for 10,000 requests", |churn| {
        Some(churn.part(churn.connections()))
    }),
    (
        "ms to the first response",
        "median of the starts",
        |churn| churn.first(0.5),
    ),
];

/// Draws it, if apps came and went.
pub(crate) fn draw(results: &Results, folder: &Path) -> Result<()> {
    let mut scenarios = results.scenarios.iter();
    let churn = scenarios.find(|one| one.rows.iter().any(|row| !row.churn.is_empty()));
    churn.map_or(Ok(()), |churn| chart::write(folder, "churn", &svg(churn)))
}

fn svg(scenario: &ScenarioResult) -> String {
    let rows: Vec<&Row> = scenario
        .rows
        .iter()
        .filter(|row| !row.churn.is_empty())
        .collect();
    let height = TOP + LINE * rows.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"DejaVu Sans, sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"14\">{TITLE}</text>\n"
    );
    for (number, row) in rows.iter().enumerate() {
        let y = TOP + LINE * (number as f64 + 0.5) + 4.0;
        let (x, name, version) = (LEFT - 10.0, row.peer, &row.version);
        // Writing to a String cannot fail.
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{name} {version}</text>"
        )
        .unwrap_or(());
    }
    let wide = (WIDTH - LEFT) / PANELS.len() as f64;
    for (number, panel) in PANELS.iter().enumerate() {
        svg += &one(*panel, &rows, LEFT + wide * number as f64, wide);
    }
    svg + "</svg>\n"
}

/// A panel from `x` on.
fn one((title, of, figure): (&str, &str, Figure), rows: &[&Row], x: f64, wide: f64) -> String {
    let spreads: Vec<Option<Spread>> = rows
        .iter()
        .map(|row| Spread::of(row.churn.iter().filter_map(figure)))
        .collect();
    let most = spreads.iter().flatten().map(|spread| spread.max);
    let most = most.fold(LEAST, f64::max);
    let place = |value: f64| x + value / most * (wide - FIGURE);
    let mut svg = String::new();
    writeln!(
        svg,
        "<text x=\"{x}\" y=\"50\" font-weight=\"bold\" font-size=\"11\">{title}</text>\
         <text x=\"{x}\" y=\"66\" font-size=\"11\" fill=\"#555555\">{of}</text>\
         <line x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\" stroke=\"#999999\"/>",
        TOP - 6.0,
        TOP + LINE * rows.len() as f64
    )
    .unwrap_or(());
    for (number, (row, spread)) in rows.iter().zip(&spreads).enumerate() {
        let Some(Spread { median, min, max }) = *spread else {
            continue;
        };
        let y = TOP + LINE * (number as f64 + 0.5);
        let colour = COLOURS.iter().find(|(name, _)| *name == row.peer);
        let colour = colour.map_or("#999999", |(_, colour)| colour);
        writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#333333\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}<title>{min:.2}..{max:.2}</title></text>",
            y - 7.0,
            place(median) - x,
            place(min),
            place(max),
            place(max) + 6.0,
            y + 4.0,
            figure_text(median)
        )
        .unwrap_or(());
    }
    svg
}

/// A figure for people: nothing is nothing.
pub(crate) fn figure_text(figure: f64) -> String {
    if figure <= 0.0 {
        "0".to_owned()
    } else if figure >= 9.95 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.1}")
    }
}
