//! Charts: a line for each scenario and a dot for each peer, on a logarithmic scale. SVG by hand, and
//! PNG from it by `rsvg-convert`, if that is there.

use std::fmt::Write as _;
use std::path::Path;

use super::{Results, Row};
use crate::Result;
use crate::machine;
use crate::stats::Spread;

const WIDTH: f64 = 920.0;
/// Left of it are the scenarios' names.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 76.0;
const LINE: f64 = 30.0;

/// Each peer's colour, which are told apart without red and green.
pub(super) const COLOURS: [(&str, &str); 13] = [
    ("ours", "#d55e00"),
    ("bare", "#e69f00"),
    ("nginx", "#000000"),
    ("nginx-trixie", "#666666"),
    ("haproxy", "#0072b2"),
    ("haproxy-trixie", "#332288"),
    ("caddy", "#56b4e9"),
    ("caddy-pypi", "#88ccee"),
    ("traefik", "#aa4499"),
    ("envoy", "#ddcc77"),
    ("configurable-http-proxy", "#009e73"),
    ("original", "#cc79a7"),
    ("direct", "#999999"),
];

struct Chart {
    title: &'static str,
    lines: Vec<(&'static str, Vec<(&'static str, Spread)>)>,
}

/// What is drawn of a row.
type Figure<'a> = &'a dyn Fn(&Row) -> Option<Spread>;

/// Draws what there is to draw.
pub(crate) fn draw(results: &Results, folder: &Path) -> Result<()> {
    let ratio = |row: &Row| {
        if row.name == "nginx" {
            return Spread::of([1.0]);
        }
        row.to_nginx
            .filter(|_| row.name == row.peer && !matches!(row.name.as_str(), "direct" | "relay"))
    };
    let late = |row: &Row| {
        let times = row.latencies.iter().map(|latency| latency.p99 / 1e3);
        Spread::of(times).filter(|_| row.name == row.peer)
    };
    let idle = |row: &Row| Spread::of(row.each.map(|each| each / 1024.0));
    let charts: [(&str, &'static str, Figure<'_>); 3] = [
        (
            "cpu",
            "CPU time for each request, nginx = 1: median, least and most of the rounds (left is better)",
            &ratio,
        ),
        (
            "latency",
            "p99 in ms at half of what each can do at most (left is better)",
            &late,
        ),
        (
            "idle",
            "KiB of memory for each idle connection (left is better)",
            &idle,
        ),
    ];
    for (name, title, figure) in charts {
        let chart = Chart::of(results, title, figure);
        if chart.lines.is_empty() {
            continue;
        }
        write(folder, name, &chart.svg())?;
    }
    Ok(())
}

/// Writes a chart, and makes a PNG of it if that can be.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let svg = folder.join(format!("{name}.svg"));
    std::fs::write(&svg, text)?;
    let png = folder.join(format!("{name}.png"));
    let (svg, png) = (svg.display().to_string(), png.display().to_string());
    if let Err(error) = machine::run("rsvg-convert", &["-z", "2", "-o", &png, &svg]) {
        eprintln!("no {png}: {error}");
    }
    Ok(())
}

impl Chart {
    fn of(results: &Results, title: &'static str, figure: impl Fn(&Row) -> Option<Spread>) -> Self {
        let lines = results.scenarios.iter().map(|scenario| {
            let dots = scenario
                .rows
                .iter()
                .filter_map(|row| Some((row.peer, figure(row)?)));
            (scenario.name, dots.collect::<Vec<_>>())
        });
        // One dot alone is compared with nothing.
        let lines = lines.filter(|(_, dots)| dots.len() > 1).collect();
        Self { title, lines }
    }

    fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|(_, dots)| dots);
        let least = all().map(|(_, dot)| dot.min).fold(f64::INFINITY, f64::min);
        let most = all().map(|(_, dot)| dot.max).fold(0.0, f64::max);
        let (low, high) = (least.max(1e-4) / 1.15, most * 1.15);
        let place = |value: f64| {
            let part = (value.max(low) / low).ln() / (high / low).ln();
            LEFT + part * (WIDTH - LEFT - RIGHT)
        };
        let bottom = TOP + LINE * self.lines.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" font-family=\"DejaVu Sans, sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"12\" y=\"22\" font-size=\"14\">{}</text>\n",
            self.title,
            height = bottom + 30.0,
        );
        // Writing to a String cannot fail.
        let mut x = 12.0;
        for (name, colour) in COLOURS {
            if all().any(|(peer, _)| *peer == name) {
                writeln!(
                    svg,
                    "<circle cx=\"{}\" cy=\"44\" r=\"5\" fill=\"{colour}\"/>\
                     <text x=\"{}\" y=\"48\">{name}</text>",
                    x + 5.0,
                    x + 14.0
                )
                .unwrap_or(());
                x += 34.0 + 7.4 * name.len() as f64;
            }
        }
        for tick in ticks(low, high) {
            let x = place(tick);
            writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" \
                 stroke=\"#dddddd\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
                bottom + 18.0
            )
            .unwrap_or(());
        }
        for (number, (name, dots)) in self.lines.iter().enumerate() {
            let y = TOP + LINE * (number as f64 + 0.5);
            writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>",
                LEFT - 10.0,
                y + 4.0
            )
            .unwrap_or(());
            for (peer, dot) in dots {
                let colour = COLOURS.iter().find(|(name, _)| name == peer);
                let colour = colour.map_or("#999999", |(_, colour)| colour);
                writeln!(
                    svg,
                    "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{colour}\" \
                     stroke-width=\"2\" opacity=\"0.5\"/>\
                     <circle cx=\"{:.1}\" cy=\"{y}\" r=\"5\" fill=\"{colour}\"><title>{peer}: \
                     {:.3} [{:.3}..{:.3}]</title></circle>",
                    place(dot.min),
                    place(dot.max),
                    place(dot.median),
                    dot.median,
                    dot.min,
                    dot.max
                )
                .unwrap_or(());
            }
        }
        svg + "</svg>\n"
    }
}

/// 1, 2 and 5 of each power of ten, as far as they are on the chart.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let mut ticks = Vec::new();
    for power in -3..6 {
        for digit in [1.0, 2.0, 5.0] {
            // By division, so that 0.1 is written as such.
            let tick = if power < 0 {
                digit / 10_f64.powi(-power)
            } else {
                digit * 10_f64.powi(power)
            };
            if (low..high).contains(&tick) {
                ticks.push(tick);
            }
        }
    }
    ticks
}
