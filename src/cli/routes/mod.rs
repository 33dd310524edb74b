//! `routes`: the routes of a running proxy, seen and changed.

mod change;
mod export;
mod import;
mod import_file;
mod show;
mod told;
mod url;
mod watch;

use clap::Subcommand;

pub use import_file::ImportError;

use super::CliError;

/// The commands on routes.
#[derive(Debug, Subcommand)]
pub(super) enum RoutesCommand {
    /// List routes and their instances.
    List(show::ListArgs),
    /// Show one route.
    Get(show::GetArgs),
    /// Create or replace a route, or one instance of it.
    Put(Box<change::PutArgs>),
    /// Remove a route, or one instance of it.
    Remove(change::RemoveArgs),
    /// Say which route takes a URL, and why.
    Match(url::MatchArgs),
    /// Write all routes to a file, to be imported again.
    Export(export::ExportArgs),
    /// Put the routes of a file, all or none.
    Import(import::ImportArgs),
    /// Follow what happens.
    Watch(watch::WatchArgs),
}

pub(super) fn run(command: RoutesCommand) -> Result<(), CliError> {
    match command {
        RoutesCommand::List(args) => show::list(&args),
        RoutesCommand::Get(args) => show::get(&args),
        RoutesCommand::Put(args) => change::put(&args),
        RoutesCommand::Remove(args) => change::remove(&args),
        RoutesCommand::Match(args) => url::run(&args),
        RoutesCommand::Export(args) => export::run(&args),
        RoutesCommand::Import(args) => import::run(&args),
        RoutesCommand::Watch(args) => watch::run(&args),
    }
}
