//! What the proxy does with four times the requests that it can serve, while it is held to a quarter of a
//! core. `make overload` runs it; benches/README.md says what came out.
//!
//! The proxy runs as a process of its own. First it is asked as fast as it answers, for the rate that it
//! sustains; then at a multiple of that rate, whether the answers come or not, on as many connections as that
//! takes. Beside this load somebody asks the control API, and an app registers over the traffic's port.
//! At last the load ends, and the time counts until answers come as before.

#![allow(clippy::print_stdout, clippy::print_stderr)] // It prints its figures.
#![allow(clippy::expect_used)] // The app behind the proxy ends with what went wrong.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // Figures for people, of three digits.

mod args;
mod client;
mod hold;
mod http2;
mod load;
mod origin;
mod report;
mod server;
mod tls;

use std::time::Duration;

use args::Args;
use hold::Hold;
use load::Load;
use server::Proxy;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let args = Args::parse();
    rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let origin = origin::start()?;
    for mode in &args.modes {
        let proxy = Proxy::start(&args, origin)?;
        let hold = Hold::to(args.share, proxy.pid());
        let (mode_name, hold_name) = (mode.name(), hold.name());
        println!("{mode_name}: {hold_name} to {:.2} cores", args.share);
        let load = Load::new(*mode, args.connections, &proxy);
        let outcome = runtime.block_on(run(&load, &proxy, &args));
        drop(hold);
        report::print(&outcome?);
        println!("{}", proxy.log_of_overload());
    }
    Ok(())
}

async fn run(load: &Load, proxy: &Proxy, args: &Args) -> Result<report::Outcome> {
    let sustained = load.sustained(Duration::from_secs(5)).await?;
    let rate = sustained * args.factor;
    let beside = client::Beside::start(proxy, args.time);
    let offered = load.offer(rate, args.time).await;
    let beside = beside.seen()?;
    let recovery = client::recovery(proxy).await?;
    Ok(report::Outcome {
        sustained,
        rate,
        offered,
        beside,
        recovery,
        shed: proxy.shed().await?,
    })
}
