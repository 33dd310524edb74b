//! A load, closed and at a fixed rate, in interleaved rounds: in each, every peer has its turn.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::Bench;
use super::table::{Kind, Load, Scenario};
use crate::load::change::{Change, Next};
use crate::load::closed::{self, Closed};
use crate::load::http1::{Ask, Fresh, Kept, Right};
use crate::load::http2::{self, Shared};
use crate::load::open::{self, Open};
use crate::load::stream::Connector;
use crate::load::websocket::WebSocket;
use crate::load::{Slot, patience};
use crate::origin::SMALL;
use crate::peer::{Needs, Peer, Running};
use crate::report::{self, Latency, Row, Sample, ScenarioResult};
use crate::stats::{Spread, quantile};
use crate::{Result, measure};

/// Before anything counts, each time.
const WARM: Duration = Duration::from_millis(300);
/// Connections that arrivals may be waited for on, where each has its own.
const FRESH: usize = 256;
/// How many other routes change.
const CHANGING: usize = 1000;

/// Who has a turn in each round.
struct Contender<'a> {
    running: &'a Running<'a>,
    connector: Connector,
    load: Load,
    /// Changes a second meanwhile.
    changes: f64,
    /// How many routes have been made.
    made: Arc<AtomicUsize>,
    row: Row,
}

pub(super) fn run(
    bench: &Bench,
    scenario: &Scenario,
    load: Load,
    peers: &[&'static dyn Peer],
) -> Result<ScenarioResult> {
    let mut result = scenario.result();
    let mut all = Vec::new();
    for &peer in peers {
        bench
            .progress
            .at(format!("{}: start {}", scenario.name, peer.name()));
        let started = match peer.lacks(&scenario.needs) {
            Some(why) => Err(why.into()),
            None => start(bench, scenario, load, peer),
        };
        match started {
            Ok(running) => all.extend(running),
            Err(error) => result.leave_out(peer.name(), &error.to_string()),
        }
    }
    let mut contenders = contenders(bench, scenario, load, &all)?;
    contenders.retain(|contender| match contender.check(bench) {
        Ok(()) => true,
        Err(error) => {
            let said = contender.running.said();
            result.leave_out(contender.running.peer.name(), &format!("{error} {said}"));
            false
        }
    });
    let planned = peers.len() * scenario.steps(&bench.args);
    let left = contenders.len() * scenario.steps(&bench.args);
    bench.progress.correct(planned, left);
    rounds(bench, scenario, &mut contenders);
    if load.rate {
        rate_rounds(bench, scenario, &mut contenders);
    }
    for mut contender in contenders {
        contender.row.memory = measure::memory(contender.running.pid())?;
        result.rows.push(contender.row);
    }
    result.compare();
    Ok(result)
}

/// Starts a proxy; where only the number of routes is in question, also one with a single route (where
/// there is none, the one at `/`), so that both are measured in the same rounds.
fn start<'a>(
    bench: &'a Bench,
    scenario: &Scenario,
    load: Load,
    peer: &'static dyn Peer,
) -> Result<Vec<Running<'a>>> {
    let mut started = vec![bench.start(peer, scenario.name, scenario.needs)?];
    if load.beside_one {
        let needs = Needs {
            routes: scenario.needs.routes.min(1),
            no_route: false,
            ..scenario.needs
        };
        started.push(bench.start(peer, &format!("{}-one", scenario.name), needs)?);
    }
    Ok(started)
}

fn contenders<'a>(
    bench: &Bench,
    scenario: &Scenario,
    load: Load,
    all: &'a [Running<'a>],
) -> Result<Vec<Contender<'a>>> {
    let mut contenders = Vec::new();
    for running in all {
        let name = running.peer.name();
        let tls = match load.kind {
            _ if !scenario.needs.tls => None,
            Kind::Http2 { .. } => Some(bench.identity.client("h2")?),
            _ => Some(bench.identity.client("http/1.1")?),
        };
        let mut add = |name: String, changes| {
            contenders.push(Contender {
                running,
                connector: Connector {
                    address: running.address,
                    tls: tls.clone(),
                },
                load,
                changes,
                made: Arc::new(AtomicUsize::new(running.setup.needs.routes)),
                row: Row::new(name, running.peer.name()),
            });
        };
        if let Kind::Register { .. } = load.kind
            && running.peer.registration(&running.setup).is_none()
        {
            continue;
        }
        let needs = running.setup.needs;
        if needs.routes < scenario.needs.routes || needs.no_route != scenario.needs.no_route {
            add(report::with_one_route(name), 0.0);
            continue;
        }
        add(name.to_owned(), 0.0);
        if load.changes > 0.0 && running.peer.registration(&running.setup).is_some() {
            add(format!("{name}, changing"), load.changes);
        }
    }
    Ok(contenders)
}

/// The closed load. Each round begins with another peer, so that none is always the first.
fn rounds(bench: &Bench, scenario: &Scenario, contenders: &mut [Contender<'_>]) {
    let count = contenders.len();
    for round in 0..bench.args.rounds {
        for turn in 0..count {
            let Some(contender) = contenders.get_mut((round + turn) % count) else {
                continue;
            };
            let name = &contender.row.name;
            bench
                .progress
                .at(format!("{}: round {}, {name}", scenario.name, round + 1));
            let measured = bench.runtime.block_on(contender.closed(bench, round));
            let sample = match measured {
                Ok(closed) => Sample::new(round, &closed),
                Err(error) => Sample::failed(round, error.to_string()),
            };
            if let Some(error) = sample.errors.first() {
                let count = sample.errors.len();
                bench.progress.say(&format!(
                    "{}: round {} of {name} does not count, {count} errors: {error}",
                    scenario.name,
                    round + 1
                ));
            }
            contender.row.samples.push(sample);
            bench.progress.step();
        }
    }
}

/// Half of what each can do, at a fixed rate.
fn rate_rounds(bench: &Bench, scenario: &Scenario, contenders: &mut [Contender<'_>]) {
    for round in 0..bench.args.rate_rounds {
        for contender in &mut *contenders {
            let name = &contender.row.name;
            bench
                .progress
                .at(format!("{}: fixed rate, {name}", scenario.name));
            bench.progress.step();
            let rates = contender.row.good().map(Sample::rate);
            let Some(rate) = Spread::of(rates).map(|rates| rates.median / 2.0) else {
                continue;
            };
            let measured = bench.runtime.block_on(contender.open(bench, rate));
            match measured {
                Ok(Open { micros, errors }) if errors.is_empty() => {
                    let part = |part| quantile(&micros, part).unwrap_or(f64::NAN);
                    contender.row.latencies.push(Latency {
                        rate,
                        p50: part(0.5),
                        p99: part(0.99),
                        p999: part(0.999),
                    });
                }
                Ok(Open { errors, .. }) => bench.progress.say(&format!(
                    "{}: fixed rate {} of {name} does not count, {} errors: {}",
                    scenario.name,
                    round + 1,
                    errors.len(),
                    errors.first().map_or("", String::as_str)
                )),
                Err(error) => bench.progress.say(&format!("{name}: {error}")),
            }
        }
    }
}

enum Slots {
    Kept(Vec<Kept>),
    Fresh(Vec<Fresh>),
    Http2(Vec<Shared>),
    WebSocket(Vec<WebSocket>),
    Change(Vec<Change>),
}

/// Does this with whichever slots they are.
macro_rules! with_slots {
    ($slots:expr, $name:ident => $work:expr) => {
        match $slots {
            Slots::Kept($name) => $work,
            Slots::Fresh($name) => $work,
            Slots::Http2($name) => $work,
            Slots::WebSocket($name) => $work,
            Slots::Change($name) => $work,
        }
    };
}

impl Contender<'_> {
    fn routes(&self) -> usize {
        self.running.setup.needs.routes
    }

    /// One right answer, to begin with.
    fn check(&self, bench: &Bench) -> Result<()> {
        bench.runtime.block_on(patience(async {
            let slots = self.slots(1, 1).await?;
            with_slots!(slots, slots => {
                let slot = slots.into_iter().next();
                slot.ok_or("nothing to ask")?.ask().await
            })
        }))
    }

    /// That many slots, or connections of so many streams.
    async fn slots(&self, count: usize, streams: usize) -> Result<Slots> {
        let connector = &self.connector;
        let kept = async |ask: Ask, right: Right| -> Result<Slots> {
            let mut slots = Vec::new();
            for _ in 0..count {
                slots.push(Kept::connect(connector, ask.clone(), right).await?);
            }
            Ok(Slots::Kept(slots))
        };
        match self.load.kind {
            Kind::Get { path, .. } if self.running.setup.needs.no_route => {
                kept(Ask::get(path, false), Right::NoRoute).await
            }
            Kind::Get { length, .. } if self.routes() > 0 => {
                kept(Ask::Route(self.routes()), Right::Ok(length)).await
            }
            Kind::Get { path, length, .. } => kept(Ask::get(path, false), Right::Ok(length)).await,
            Kind::Upload { length, .. } => kept(Ask::upload(length), Right::Ok(SMALL)).await,
            Kind::Fresh { .. } => {
                let slot = || Fresh {
                    connector: connector.clone(),
                    ask: Ask::get("/", true),
                    right: Right::Ok(SMALL),
                };
                Ok(Slots::Fresh((0..count).map(|_| slot()).collect()))
            }
            Kind::Http2 { ask, .. } => Ok(Slots::Http2(
                http2::slots(connector, ask, self.routes(), count, streams).await?,
            )),
            Kind::WebSocket { .. } => {
                let mut slots = Vec::new();
                for _ in 0..count {
                    slots.push(WebSocket::open(connector.connect().await?).await?);
                }
                Ok(Slots::WebSocket(slots))
            }
            Kind::Register { .. } => {
                let next = Next::New(Arc::clone(&self.made));
                Ok(Slots::Change(self.changers(count, &next).await?))
            }
        }
    }

    async fn changers(&self, count: usize, next: &Next) -> Result<Vec<Change>> {
        let setup = &self.running.setup;
        let mut slots = Vec::new();
        for _ in 0..count {
            let registration = self.running.peer.registration(setup).ok_or("no API")?;
            let targets = [setup.origin, setup.grpc];
            slots.push(Change::connect(registration, next.clone(), targets).await?);
        }
        Ok(slots)
    }

    /// Changes routes that nobody asks for, for this long, if that is to be; the errors.
    async fn change(&self, time: Duration) -> Result<Vec<String>> {
        if self.changes <= 0.0 {
            return Ok(Vec::new());
        }
        let next = Next::Any(self.routes()..self.routes() + CHANGING);
        let slots = self.changers(4, &next).await?;
        let open = open::run(slots, self.changes, Duration::ZERO, time).await?;
        Ok(open.errors)
    }

    async fn closed(&self, bench: &Bench, round: usize) -> Result<Closed> {
        let pid = self.running.pid();
        // The first time is longer: pools fill, code is compiled.
        let warm = if round == 0 { WARM * 4 } else { WARM };
        let time = bench.time();
        let load = async {
            let (count, streams) = self.load.kind.connections();
            let slots = self.slots(count, streams).await?;
            with_slots!(slots, slots => closed::run(slots, warm, time, pid).await)
        };
        let (closed, errors) = tokio::join!(load, self.change(warm + time));
        let mut closed = closed?;
        closed.errors.extend(errors?);
        Ok(closed)
    }

    async fn open(&self, bench: &Bench, rate: f64) -> Result<Open> {
        let (count, streams) = match self.load.kind {
            Kind::Fresh { .. } => (FRESH, 1),
            kind => kind.connections(),
        };
        let time = bench.time();
        let load = async {
            let slots = self.slots(count, streams).await?;
            with_slots!(slots, slots => open::run(slots, rate, WARM, time).await)
        };
        let (open, errors) = tokio::join!(load, self.change(WARM + time));
        let mut open = open?;
        open.errors.extend(errors?);
        Ok(open)
    }
}
