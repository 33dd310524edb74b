//! `run`: an app on a free port, registered as long as it runs.

mod app;
mod error;
mod lease;
mod signals;

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Args;
use nix::sys::signal::Signal;
use tokio::sync::watch;
use tokio::time::timeout;

pub use error::RunError;

use super::client::{ClientError, ConnectionArgs, block_on};
use super::settings::SettingArgs;
use super::wire::Registration;
use super::{duration, output};
use crate::route::{InstanceSpec, Port};
use app::App;
use lease::{DEFAULT, Lease};
use signals::{Signals, is_stop};

/// How long a renewal that is on its way may take once the lease is given back.
const HURRY: Duration = Duration::from_secs(2);

/// `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The path prefix: /shop.
    #[arg(long)]
    prefix: String,
    /// The request hosts that the route is for; any, if there is none.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    req_host_name: Vec<String>,
    #[command(flatten)]
    settings: SettingArgs,
    /// How long the registration holds once it is no longer renewed.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::lease)]
    ttl: Duration,
    /// The name of this instance of the route; each process of several needs its own.
    #[arg(long, value_name = "ID", alias = "id", default_value = DEFAULT)]
    instance: String,
    /// Whose it is.
    #[arg(long)]
    owner: Option<String>,
    /// How long requests may go on after a stop.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::any)]
    drain: Duration,
    /// How long the command may take until it listens.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::positive)]
    ready_timeout: Duration,
    /// A port of your choice instead of a free one.
    #[arg(long, value_name = "N")]
    port: Option<NonZeroU16>,
    /// The command keeps the terminal: it can read keys, but ctrl-C reaches it before requests are
    /// drained.
    #[arg(long)]
    interactive: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How the time of a registered app ends.
enum Turn {
    Ended(ExitStatus),
    Stop(Signal),
    Refused(ClientError),
}

pub(super) fn run(args: RunArgs) -> Result<ExitCode, RunError> {
    let client = args.connection.client()?;
    block_on(async {
        let mut signals = Signals::take().map_err(|source| RunError::Machine {
            what: "signals cannot be taken",
            source,
        })?;
        let port = app::port(args.port.map(NonZeroU16::get))?;
        let mut app = App::start(&args.command, port, &client.address(), args.interactive)?;
        let registration = Registration {
            prefix: args.prefix,
            req_host_names: args.req_host_name,
            instance: Some(args.instance.clone()),
            spec: InstanceSpec {
                port: Port::new(port),
                owner: args.owner,
                ttl: Some(duration::written(args.ttl)),
                ..InstanceSpec::default()
            },
            settings: args.settings.0,
        };
        let timeout = args.connection.timeout();
        let mut lease = Lease::new(client, registration, args.instance, args.ttl, timeout);
        let status = match ready(&mut app, &mut signals, port, args.ready_timeout).await? {
            Some(status) => status,
            None => serve(&mut app, &mut signals, &mut lease, args.drain).await?,
        };
        lease.drop_now().await;
        Ok(ExitCode::from(app::code(status)))
    })
}

/// Waits until the app listens; signals go straight to it. Its status, if it ends before.
async fn ready(
    app: &mut App,
    signals: &mut Signals,
    port: u16,
    within: Duration,
) -> Result<Option<ExitStatus>, RunError> {
    let mut listening = pin!(timeout(within, app::listens(port)));
    loop {
        tokio::select! {
            // Whoever listens after its end is not the app.
            biased;
            status = app.ended() => {
                let status = status?;
                output::note(format_args!(
                    "the command ended before it listened on port {port} ({status})"
                ));
                return Ok(Some(status));
            }
            signal = signals.next() => app.signal(signal),
            listening = &mut listening => match listening {
                Ok(()) => return Ok(None),
                Err(_elapsed) => {
                    app.stop().await?;
                    return Err(RunError::NotReady { port, within });
                }
            },
        }
    }
}

/// Keeps the app registered until it ends or is told to; in the second case drains it first.
async fn serve(
    app: &mut App,
    signals: &mut Signals,
    lease: &mut Lease,
    drain: Duration,
) -> Result<ExitStatus, RunError> {
    match registered(app, signals, lease).await? {
        Turn::Ended(status) => Ok(status),
        Turn::Refused(error) => {
            app.stop().await?;
            Err(RunError::Refused(error))
        }
        Turn::Stop(signal) => {
            let last = match drained(app, signals, lease, drain).await? {
                Drained::Ended(status) => return Ok(status),
                Drained::Done => signal,
                Drained::Again(signal) => signal,
            };
            app.signal(last);
            loop {
                tokio::select! {
                    status = app.ended() => return status,
                    signal = signals.next() => app.signal(signal),
                }
            }
        }
    }
}

async fn registered(
    app: &mut App,
    signals: &mut Signals,
    lease: &mut Lease,
) -> Result<Turn, RunError> {
    let (stop, stopped) = watch::channel(false);
    let mut keeping = pin!(lease.keep(stopped));
    let mut is_kept = true;
    let turn = loop {
        tokio::select! {
            status = app.ended() => break Turn::Ended(status?),
            signal = signals.next() => {
                if is_stop(signal) {
                    break Turn::Stop(signal);
                }
                app.signal(signal);
            }
            kept = &mut keeping, if is_kept => {
                is_kept = false;
                if let Err(error) = kept {
                    break Turn::Refused(error);
                }
            }
        }
    };
    // A renewal on its way must not arrive after the end of the lease.
    stop.send_replace(true);
    if is_kept && timeout(HURRY, keeping).await.is_err() {
        log::debug!("a renewal is given up");
    }
    Ok(turn)
}

/// How a drain ends.
enum Drained {
    Done,
    /// There was a second signal.
    Again(Signal),
    Ended(ExitStatus),
}

async fn drained(
    app: &mut App,
    signals: &mut Signals,
    lease: &mut Lease,
    within: Duration,
) -> Result<Drained, RunError> {
    let mut draining = pin!(lease.drain(within));
    loop {
        tokio::select! {
            status = app.ended() => return Ok(Drained::Ended(status?)),
            signal = signals.next() => {
                if is_stop(signal) {
                    return Ok(Drained::Again(signal));
                }
                app.signal(signal);
            }
            () = &mut draining => return Ok(Drained::Done),
        }
    }
}
