//! Connections that do nothing, and the memory that the proxy keeps for each.

use std::time::{Duration, Instant};

use super::Bench;
use super::table::{Scenario, State};
use crate::load::http1::{Ask, Kept, Right};
use crate::load::stream::Connector;
use crate::load::websocket::WebSocket;
use crate::load::{Slot as _, patience};
use crate::origin::SMALL;
use crate::peer::{Peer, Running};
use crate::report::{Row, ScenarioResult};
use crate::{Result, measure};

const CONNECTIONS: usize = 10_000;
/// What a proxy opens besides.
const FILES: usize = 1000;
/// The first connections make pools and arenas that are there once.
const FIRST: usize = 64;

impl State {
    /// How many connections the limit of open files allows; a WebSocket is two of the proxy's.
    fn connections(self) -> Result<usize> {
        let (limit, _) = rlimit::Resource::NOFILE.get()?;
        let each = match self {
            Self::Http => 1,
            Self::WebSocket => 2,
        };
        // The proxy keeps the last eighth of its own for what is not a connection to an app.
        let limit = (limit - limit / 8) as usize;
        Ok(CONNECTIONS.min(limit.saturating_sub(FILES) / each))
    }
}

/// What is kept open.
enum Held {
    Http(Kept),
    WebSocket(WebSocket),
}

impl Held {
    async fn open(connector: &Connector, state: State) -> Result<Self> {
        match state {
            State::Http => {
                let ask = Ask::get("/", false);
                let mut kept = Kept::connect(connector, ask, Right::Ok(SMALL)).await?;
                kept.ask().await?;
                if !kept.is_kept() {
                    return Err("it ends each connection after one answer".into());
                }
                Ok(Self::Http(kept))
            }
            State::WebSocket => {
                let mut socket = WebSocket::open(connector.connect().await?).await?;
                socket.ask().await?;
                Ok(Self::WebSocket(socket))
            }
        }
    }

    async fn ask(&mut self) -> Result<()> {
        match self {
            Self::Http(kept) => kept.ask().await,
            Self::WebSocket(socket) => socket.ask().await,
        }
    }
}

pub(super) fn run(
    bench: &Bench,
    scenario: &Scenario,
    state: State,
    peers: &[&'static dyn Peer],
) -> Result<ScenarioResult> {
    let mut result = scenario.result();
    let count = state.connections()?;
    if count < CONNECTIONS {
        let told = format!("{}: the limit of open files allows {count}", scenario.name);
        bench.progress.say(&told);
    }
    for &peer in peers {
        bench
            .progress
            .at(format!("{}: {}", scenario.name, peer.name()));
        let measured = match peer.lacks(&scenario.needs) {
            Some(why) => Err(why.into()),
            // The origin has nothing to keep that is of interest, and the relay keeps a connection of the
            // origin's for each.
            None if matches!(peer.name(), "direct" | "relay") => Err("not a proxy".into()),
            None => bench
                .start(peer, scenario.name, scenario.needs)
                .and_then(|running| one(bench, scenario, state, count, &running)),
        };
        match measured {
            Ok(row) => result.rows.push(row),
            Err(error) => result.leave_out(peer.name(), &error.to_string()),
        }
        bench.progress.step();
    }
    Ok(result)
}

fn one(
    bench: &Bench,
    scenario: &Scenario,
    state: State,
    count: usize,
    running: &Running<'_>,
) -> Result<Row> {
    let tls = scenario.needs.tls;
    let tls = tls.then(|| bench.identity.client("http/1.1")).transpose()?;
    let connector = Connector {
        address: running.address,
        tls,
    };
    let pid = running.pid();
    let mut row = Row::new(running.peer.name().to_owned(), running.peer.name());
    bench.runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..FIRST {
            held.push(patience(Held::open(&connector, state)).await?);
        }
        let before = settled(pid).await?;
        for _ in 0..count {
            held.push(patience(Held::open(&connector, state)).await?);
        }
        row.memory = settled(pid).await?;
        let more = row.memory.saturating_sub(before);
        row.each = Some(more as f64 / count as f64);
        // All of them are still there.
        for one in &mut held {
            patience(one.ask()).await?;
        }
        Ok(row)
    })
}

/// The memory once it has stopped changing.
async fn settled(pid: u32) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = measure::memory(pid)?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = measure::memory(pid)?;
        if now.abs_diff(last) < 256 * 1024 || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
