//! `routes import`: the routes of a file in one request, all or none.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::import_file::{self, ImportError};
use crate::cli::client::{Answer, Call, Client, ClientError, ConnectionArgs, block_on};
use crate::cli::wire::Applied;
use crate::cli::{CliError, output};
use crate::route::RouteSpec;

/// `routes import`.
#[derive(Args, Debug)]
pub(in super::super) struct ImportArgs {
    /// The file, as `routes export` writes it; `-` is standard input.
    file: PathBuf,
    /// Remove every route that is not in the file.
    #[arg(long)]
    replace: bool,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the proxy's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The body of a batch that puts every route.
#[derive(Serialize)]
struct Batch<'a> {
    changes: Vec<Put<'a>>,
}

#[derive(Serialize)]
struct Put<'a> {
    op: &'static str,
    #[serde(flatten)]
    route: &'a RouteSpec,
}

pub(super) fn run(args: &ImportArgs) -> Result<(), CliError> {
    let mut client = args.connection.client()?;
    let bar = bar("reading");
    let set = import_file::read(&args.file, &bar)?;
    bar.finish_and_clear();
    let call = if args.replace {
        Call::json(Method::PUT, "/v1/routes", &set)?
    } else {
        let put = |route| Put { op: "put", route };
        let changes = set.routes.iter().map(put).collect();
        Call::json(Method::PATCH, "/v1/routes", &Batch { changes })?
    };
    let outcome = block_on(send(&mut client, call.dry_run(args.dry_run)));
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => return Err(ImportError::told(&args.file, &set, error)?.into()),
    };
    if args.json {
        return output::document(&answer.body);
    }
    let applied: Applied = answer.read()?;
    let would = if applied.dry_run { "would be: " } else { "" };
    output::line(format_args!(
        "{would}{} created, {} replaced, {} unchanged, {} removed (generation {})",
        applied.created, applied.replaced, applied.unchanged, applied.removed, applied.generation
    ))
}

async fn send(client: &mut Client, call: Call) -> Result<Answer, ClientError> {
    let bar = bar("sending");
    let size = u64::try_from(call.size()).unwrap_or(u64::MAX);
    bar.set_length(size);
    let call = call.shown_on(&bar);
    let answer = tokio::select! {
        answer = client.call(call) => answer,
        never = show(&bar, size) => match never {},
    };
    bar.finish_and_clear();
    answer
}

/// Keeps the bar going, and says when everything has been sent.
async fn show(bar: &ProgressBar, size: u64) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        if bar.position() >= size {
            bar.set_message("applying");
        }
        bar.tick();
    }
}

/// A bar that is only seen on a terminal.
fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg:9} {wide_bar} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar
}
