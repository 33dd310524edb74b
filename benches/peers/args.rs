//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::machine::Cores;

/// Measures the proxy beside its peers.
#[allow(clippy::struct_excessive_bools)] // Flags.
#[derive(Parser, Debug)]
#[command(name = "peers")]
pub(crate) struct Args {
    /// Only these scenarios; a name also stands for all that begin with it
    #[arg(long, value_delimiter = ',')]
    pub(crate) scenario: Vec<String>,
    /// Only these peers
    #[arg(long, value_delimiter = ',')]
    pub(crate) peer: Vec<String>,
    /// One more peer: `NAME=FILE`, another binary of the proxy, or `NAME=KEY: VALUE`, the proxy with
    /// another line in its configuration, such as `two=threads: 2`, which takes two cores
    #[arg(long, value_name = "NAME=WHAT")]
    pub(crate) variant: Vec<String>,
    /// How many rounds, each with all peers
    #[arg(long, default_value_t = 7)]
    pub(crate) rounds: usize,
    /// How long each peer is loaded in each round
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// How many rounds at a fixed arrival rate; 0 leaves them out
    #[arg(long, default_value_t = 3)]
    pub(crate) rate_rounds: usize,
    /// The cores of the proxy and of the load [default: 0,1]
    #[arg(long, value_name = "PROXY,LOAD")]
    pub(crate) cores: Option<Cores>,
    /// Run the proxies at a real-time priority (`chrt --rr 1`) and the load at the highest of the
    /// others, for root: the machine's other work has to wait
    #[arg(long)]
    pub(crate) realtime: bool,
    /// The proxy's binary [default: the one that cargo has built with this bench]
    #[arg(long)]
    pub(crate) proxy: Option<PathBuf>,
    /// Where the npm packages are installed (`node_modules` is in it)
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench/npm"))]
    pub(crate) npm: PathBuf,
    /// Where nginx and `HAProxy` of Debian trixie are
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench/trixie"))]
    pub(crate) trixie: PathBuf,
    /// Where the programs from `PyPI` are installed (`bin` is in it)
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench/pypi"))]
    pub(crate) pypi: PathBuf,
    /// Where the results go
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench"))]
    pub(crate) out: PathBuf,
    /// Also put the charts and the tables there
    #[arg(long)]
    pub(crate) charts: Option<PathBuf>,
    /// Keep the folder with the peers' configurations and logs, and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// Say what scenarios and peers there are
    #[arg(long)]
    pub(crate) list: bool,
    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}
