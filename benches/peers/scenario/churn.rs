//! Apps that come and go: in each round every proxy has its turn, each time with a new process, a new
//! set of apps and new visitors.

use super::Bench;
use super::table::Scenario;
use crate::Result;
use crate::churn::count::Churn;
use crate::churn::platform::{Platform, Seen};
use crate::measure::{self, Cpu};
use crate::peer::Peer;
use crate::report::{Row, Sample, ScenarioResult};

/// What a turn was.
struct Turn {
    seen: Seen,
    cpu: Cpu,
    memory: u64,
}

pub(super) fn run(
    bench: &Bench,
    scenario: &Scenario,
    peers: &[&'static dyn Peer],
) -> ScenarioResult {
    let mut result = scenario.result();
    let mut able = Vec::new();
    for &peer in peers {
        match peer.lacks(&scenario.needs) {
            Some(why) => result.leave_out(peer.name(), why),
            None => able.push((peer, Row::new(peer.name().to_owned(), peer.name()))),
        }
    }
    let planned = peers.len() * scenario.steps(&bench.args);
    let left = able.len() * scenario.steps(&bench.args);
    bench.progress.correct(planned, left);
    let count = able.len();
    for round in 0..bench.args.rounds {
        for place in 0..count {
            let Some((peer, row)) = able.get_mut((round + place) % count) else {
                continue;
            };
            bench.progress.at(format!(
                "{}: round {}, {}",
                scenario.name,
                round + 1,
                row.name
            ));
            match turn(bench, scenario, *peer) {
                Ok(turn) => take(bench, row, round, turn),
                Err(error) => fail(bench, row, round, &error.to_string()),
            }
            bench.progress.step();
        }
    }
    result.rows = able.into_iter().map(|(_, row)| row).collect();
    result.compare();
    result
}

fn turn(bench: &Bench, scenario: &Scenario, peer: &'static dyn Peer) -> Result<Turn> {
    let running = bench.start(peer, scenario.name, scenario.needs)?;
    let registrar = peer.registrar(&running.setup).ok_or("no API for apps")?;
    let pid = running.pid();
    let mut spent = Vec::new();
    let mut memory = 0;
    bench.runtime.block_on(async {
        let platform = Platform::new(running.address.port(), registrar);
        let measured = || -> Result<()> {
            spent.push(measure::cpu(pid)?);
            memory = measure::memory(pid)?;
            Ok(())
        };
        let seen = platform.run(bench.time(), measured).await?;
        let [before, after] = spent[..] else {
            return Err("not measured twice".into());
        };
        Ok(Turn {
            seen,
            cpu: after.since(before),
            memory,
        })
    })
}

/// Puts into the results that a turn came to nothing, and tells it.
fn fail(bench: &Bench, row: &mut Row, round: usize, error: &str) {
    let told = format!(
        "round {} of {} does not count: {error}",
        round + 1,
        row.name
    );
    bench.progress.say(&told);
    row.samples.push(Sample::failed(round, error.to_owned()));
}

/// Puts a turn into the results, and tells of what went wrong in it.
fn take(bench: &Bench, row: &mut Row, round: usize, turn: Turn) {
    let Seen { churn, errors } = turn.seen;
    if let Some(error) = errors.first() {
        let (count, name) = (errors.len(), &row.name);
        bench.progress.say(&format!(
            "round {} of {name}: {count} apps in trouble: {error}",
            round + 1
        ));
    }
    row.memory = turn.memory;
    row.samples.push(Sample {
        round,
        requests: churn.requests,
        seconds: bench.args.seconds,
        cpu: turn.cpu,
        errors: Vec::new(),
    });
    row.churn.push(Churn { round, ..churn });
}
