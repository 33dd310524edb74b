//! Tables: for a terminal, and in Markdown.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::{Results, Row, ScenarioResult};
use crate::churn::count::Churn;
use crate::peer::{BARE, NGINX, NGINX_TRIXIE, OURS};
use crate::stats::Spread;

/// A column's name, and what it says of a row.
type Column = (String, Box<dyn Fn(&Row) -> String>);

fn columns(result: &ScenarioResult) -> Vec<Column> {
    let any = |has: fn(&Row) -> bool| result.rows.iter().any(has);
    let mut columns: Vec<Column> = vec![(String::new(), Box::new(named))];
    let mut add = |wanted: bool, name: &str, cell: fn(&Row) -> String| {
        if wanted {
            columns.push((name.to_owned(), Box::new(cell)));
        }
    };
    let loaded = any(|row| !row.samples.is_empty());
    add(loaded, &format!("CPU us/{}", result.unit), |row| {
        let (user, total) = (
            row.spread(|sample| sample.cpu.user * 1e6 / sample.requests as f64),
            row.spread(super::Sample::micros),
        );
        match (user, total) {
            (Some(user), Some(total)) => {
                format!("{} (user {})", digits(total.median), digits(user.median))
            }
            _ => "no round counts".to_owned(),
        }
    });
    let to = |peer: &str| {
        let base = result.rows.iter().find(|row| row.name == peer);
        format!("to {}", base.map_or_else(|| peer.to_owned(), named))
    };
    add(any(|row| row.to_nginx.is_some()), &to(NGINX), |row| {
        ratio(row.to_nginx)
    });
    let trixie = any(|row| row.to_nginx_trixie.is_some());
    add(trixie, &to(NGINX_TRIXIE), |row| ratio(row.to_nginx_trixie));
    add(any(|row| row.to_bare.is_some()), &to(BARE), |row| {
        ratio(row.to_bare)
    });
    add(any(|row| row.to_ours.is_some()), &to(OURS), |row| {
        ratio(row.to_ours)
    });
    let churn = any(|row| !row.churn.is_empty());
    for (name, cell) in CHURN {
        add(churn, name, cell);
    }
    let one = any(|row| row.name == super::with_one_route(row.peer));
    add(
        any(|row| row.to_own.is_some()),
        if one {
            "to one route"
        } else {
            "to without changes"
        },
        |row| ratio(row.to_own),
    );
    add(loaded, &format!("{}s/s", result.unit), |row| {
        let rate = row.spread(super::Sample::rate);
        rate.map_or_else(String::new, |rate| format!("{:.0}", rate.median))
    });
    add(loaded, "core busy", |row| {
        let busy = row.spread(super::Sample::busy);
        busy.map_or_else(String::new, |busy| format!("{:.0} %", busy.median * 100.0))
    });
    add(
        any(|row| !row.latencies.is_empty()),
        "ms p50 / p99 / p99.9 at half",
        latency,
    );
    add(any(|row| row.each.is_some()), "KiB/connection", |row| {
        row.each
            .map_or_else(String::new, |each| digits(each / 1024.0))
    });
    add(true, "MiB", |row| {
        format!("{:.1}", row.memory as f64 / 1024.0 / 1024.0)
    });
    add(loaded, "rounds", |row| {
        format!("{}/{}", row.good().count(), row.samples.len())
    });
    columns
}

/// What a column says of a row.
type Cell = fn(&Row) -> String;

/// What became of the requests, where apps come and go.
const CHURN: [(&str, Cell); 7] = [
    ("starts, stops, deaths", |row| {
        let sum = |count: fn(&Churn) -> u64| row.churn.iter().map(count).sum::<u64>();
        format!(
            "{}, {}, {}",
            sum(|churn| churn.starts),
            sum(|churn| churn.stops),
            sum(|churn| churn.deaths)
        )
    }),
    ("requests", |row| {
        row.churn
            .iter()
            .map(|churn| churn.requests)
            .sum::<u64>()
            .to_string()
    }),
    ("wrong app (sum, of 10,000)", |row| part(row, Churn::others)),
    ("error though the app is up", |row| {
        part(row, |churn| churn.failed)
    }),
    ("connections cut", |row| part(row, Churn::connections)),
    ("with a request", |row| part(row, Churn::lost)),
    ("ms to the first response p50 / p99", |row| {
        let part = |part| {
            let times = row.churn.iter().filter_map(|churn| churn.first(part));
            Spread::of(times).map_or_else(String::new, |time| {
                format!(
                    "{} [{}..{}]",
                    digits(time.median),
                    digits(time.min),
                    digits(time.max)
                )
            })
        };
        format!("{} / {}", part(0.5), part(0.99))
    }),
];

/// A sum, and what it is of 10,000 requests in a round.
fn part(row: &Row, count: fn(&Churn) -> u64) -> String {
    let sum: u64 = row.churn.iter().map(count).sum();
    let parts = row.churn.iter().map(|churn| churn.part(count(churn)));
    Spread::of(parts).map_or_else(String::new, |part| {
        format!(
            "{sum}, {:.1} [{:.1}..{:.1}]",
            part.median, part.min, part.max
        )
    })
}

/// A row's name, with the version.
fn named(row: &Row) -> String {
    format!("{} {}", row.name, row.version)
        .trim_end()
        .to_owned()
}

fn latency(row: &Row) -> String {
    let part = |part: fn(&super::Latency) -> f64| {
        Spread::of(row.latencies.iter().map(part)).map(|spread| digits(spread.median / 1e3))
    };
    match (
        part(|latency| latency.p50),
        part(|latency| latency.p99),
        part(|latency| latency.p999),
    ) {
        (Some(p50), Some(p99), Some(p999)) => format!("{p50} / {p99} / {p999}"),
        _ => String::new(),
    }
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |spread| {
        format!(
            "{:.2} [{:.2}..{:.2}]",
            spread.median, spread.min, spread.max
        )
    })
}

/// Three of them.
fn digits(figure: f64) -> String {
    if figure >= 100.0 {
        format!("{figure:.0}")
    } else if figure >= 10.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

/// A scenario's, for a terminal.
pub(crate) fn of(result: &ScenarioResult) -> String {
    let columns = columns(result);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|(name, _)| name));
    for row in &result.rows {
        table.add_row(columns.iter().map(|(_, cell)| cell(row)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.to_string();
    for (peer, why) in &result.left_out {
        // Writing to a String cannot fail.
        write!(text, "\n left out: {peer}: {why}").unwrap_or(());
    }
    text
}

/// All, for a terminal.
pub(crate) fn plain(results: &Results) -> String {
    let mut text = String::new();
    for result in &results.scenarios {
        write!(
            text,
            "\n{}: {}\n{}\n",
            result.name,
            result.about,
            of(result)
        )
        .unwrap_or(());
    }
    text
}

/// All, in Markdown.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    let machine = &results.machine;
    write!(
        text,
        "Measured {} on {} cores of {}, {}; commit {}; {} rounds of {} s; arguments `{}`.\n\n",
        machine.date,
        machine.cores,
        machine.processor,
        machine.kernel,
        machine.commit,
        results.rounds,
        results.seconds,
        results.command.join(" ")
    )
    .unwrap_or(());
    for (name, version) in &results.peers {
        writeln!(text, "- {name}: {version}").unwrap_or(());
    }
    for result in &results.scenarios {
        let columns = columns(result);
        write!(text, "\n### {}\n\n{}.\n\n", result.name, result.about).unwrap_or(());
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        text += &line(columns.iter().map(|(name, _)| name.clone()).collect());
        text += &line(columns.iter().map(|_| "---".to_owned()).collect());
        for row in &result.rows {
            text += &line(columns.iter().map(|(_, cell)| cell(row)).collect());
        }
        for (peer, why) in &result.left_out {
            write!(text, "\nLeft out: {peer}: {why}.\n").unwrap_or(());
        }
    }
    text
}
