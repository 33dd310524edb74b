//! The scenarios, and how they are run.

mod churn;
mod idle;
mod load;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::identity::Identity;
use crate::machine::{self, Cores, Machine};
use crate::origin::Origin;
use crate::peer::{self, Needs, Ours, Peer, Places, Running, Setup};
use crate::process::Place;
use crate::progress::Progress;
use crate::report::{self, Results, ScenarioResult};
use crate::{Result, load as loads};

use table::{SCENARIOS, Scenario, Work};

/// What every scenario has at hand.
struct Bench {
    args: Args,
    cores: Cores,
    runtime: Runtime,
    folder: PathBuf,
    identity: Identity,
    origin: Origin,
    places: Places,
    progress: Progress,
}

impl Bench {
    fn place(&self, core: usize, cores: usize) -> Place {
        Place {
            core,
            cores,
            realtime: self.args.realtime,
        }
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.args.seconds)
    }

    /// Starts a proxy for a scenario.
    fn start(&self, peer: &'static dyn Peer, name: &str, needs: Needs) -> Result<Running<'_>> {
        let [port, control] = peer::free_ports()?;
        let setup = Setup {
            needs,
            port,
            control,
            origin: self.origin.http1,
            https: self.origin.https,
            grpc: self.origin.grpc,
            identity: &self.identity,
            folder: self.folder.join(format!("{name}-{}", peer.name())),
            places: &self.places,
        };
        Running::start(peer, setup, self.place(self.cores.proxy, peer.cores()))
    }
}

/// Runs what the command line names.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.list {
        list();
        return Ok(());
    }
    let scenarios = chosen(&args.scenario, &SCENARIOS, |scenario| scenario.name)?;
    let mut all = peer::ALL.to_vec();
    for variant in &args.variant {
        all.push(Box::leak(Box::new(variant.parse::<Ours>()?)));
    }
    let peers = chosen(&args.peer, &all, |peer| peer.name())?;
    let steps = scenarios
        .iter()
        .map(|scenario| scenario.steps(&args) * peers.len())
        .sum();
    raise_limit()?;
    let cores = match args.cores {
        Some(cores) => cores,
        None => Cores::of_this_machine()?,
    };
    let keep = args.keep;
    let folder = TempDir::with_prefix("peers-")?;
    let path = folder.path().to_owned();
    // Workers of nginx are nobody; they have to get at their folders.
    machine::run("chmod", &["755", &path.display().to_string()])?;
    if keep {
        eprintln!("configurations and logs: {}", folder.keep().display());
    }
    let built = Path::new(env!("CARGO_BIN_EXE_dynamic-reverse-proxy"));
    let proxy = args.proxy.clone().unwrap_or_else(|| built.to_owned());
    machine::pin_self(cores.load)?;
    let runtime = loads::runtime()?;
    let identity = Identity::make(&path)?;
    let bench = Bench {
        cores,
        origin: runtime.block_on(Origin::start(&identity))?,
        identity,
        runtime,
        folder: path,
        places: Places {
            npm: args.npm.clone(),
            trixie: args.trixie.clone(),
            pypi: args.pypi.clone(),
            proxy,
        },
        progress: Progress::new(steps)?,
        args,
    };
    if bench.args.realtime {
        machine::hurry_self()?;
    }
    let mut results = Results {
        machine: Machine::here()?,
        cores,
        command: told(),
        rounds: bench.args.rounds,
        seconds: bench.args.seconds,
        peers: Vec::new(),
        scenarios: Vec::new(),
    };
    let mut able = Vec::new();
    for &&peer in &peers {
        match peer.version(&bench.places) {
            Ok(version) => {
                results.peers.push((peer.name(), version));
                able.push(peer);
            }
            Err(error) => bench.progress.say(&format!("{}: {error}", peer.name())),
        }
    }
    for scenario in scenarios {
        bench
            .progress
            .say(&format!("{}: {}", scenario.name, scenario.about));
        let mut result = match scenario.work {
            Work::Load(load) => load::run(&bench, scenario, load, &able)?,
            Work::Idle(state) => idle::run(&bench, scenario, state, &able)?,
            Work::Churn => churn::run(&bench, scenario, &able),
        };
        result.name_versions(&results.peers);
        bench.progress.say(&report::table::of(&result));
        results.scenarios.push(result);
        // A run that is cut short keeps what it has.
        results.write(&bench.args.out)?;
    }
    report::finish(&results, &bench.args)
}

impl Scenario {
    fn result(&self) -> ScenarioResult {
        ScenarioResult {
            name: self.name,
            about: self.about,
            unit: self.unit(),
            rows: Vec::new(),
            left_out: Vec::new(),
        }
    }
}

/// The arguments, without those that only say where things are.
fn told() -> Vec<String> {
    let mut arguments = std::env::args().skip(1);
    let mut told = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--npm" | "--trixie" | "--pypi" | "--out" | "--proxy" | "--charts" => {
                arguments.next();
            }
            "--bench" | "--keep" => {}
            _ => told.push(argument),
        }
    }
    told
}

/// Those whose names the command line has, or begins; all if it has none.
fn chosen<'a, T>(
    wanted: &[String],
    all: &'a [T],
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<&'a T>> {
    let fits = |one: &T, wanted: &String| {
        // The exact name stands for itself alone.
        let exact = all.iter().any(|other| name(other) == wanted);
        name(one) == wanted || (!exact && name(one).starts_with(wanted.as_str()))
    };
    for wanted in wanted {
        if !all.iter().any(|one| fits(one, wanted)) {
            let known: Vec<_> = all.iter().map(&name).collect();
            return Err(format!("no {wanted}; there are {}", known.join(", ")).into());
        }
    }
    let chosen = all
        .iter()
        .filter(|one| wanted.is_empty() || wanted.iter().any(|wanted| fits(one, wanted)));
    Ok(chosen.collect())
}

fn list() {
    println!("scenarios:");
    for scenario in &SCENARIOS {
        println!("  {:20} {}", scenario.name, scenario.about);
    }
    println!("peers:");
    for peer in peer::ALL {
        println!("  {}", peer.name());
    }
}

/// Ten thousand WebSockets are twenty thousand open files of a proxy. Who may raises the limit, and what
/// is started inherits it.
fn raise_limit() -> Result<()> {
    const WANTED: u64 = 65_536;
    let (_, hard) = rlimit::Resource::NOFILE.get()?;
    if hard < WANTED && rlimit::Resource::NOFILE.set(WANTED, WANTED).is_ok() {
        return Ok(());
    }
    rlimit::increase_nofile_limit(WANTED)?;
    Ok(())
}
