//! nghttp2's own load generator, as the closed load of HTTP/2: it takes far less time than the proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::closed::Closed;
use crate::Result;
use crate::measure;
use crate::process::{Place, Program};

/// How it asks.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) path: &'a str,
    /// A file with the addresses that are asked in turn, instead of the path.
    pub(crate) addresses: Option<&'a Path>,
    /// The file with the message of a unary call, if that is what it asks for.
    pub(crate) message: Option<&'a Path>,
    /// The length of an answer's body.
    pub(crate) length: u64,
}

/// Loads for this time, over TLS. The time of the proxy's process counts from the first handshake to
/// the last answer.
pub(crate) async fn run(plan: Plan<'_>, place: Place, time: Duration, pid: u32) -> Result<Closed> {
    let mut arguments = vec![
        "--threads=1".to_owned(),
        format!("--clients={}", plan.connections),
        format!("--max-concurrent-streams={}", plan.streams),
        // Whole seconds are all that it knows.
        format!("--duration={}", time.as_secs_f64().ceil() as u64),
        format!("--connect-to={}", plan.address),
    ];
    if let Some(message) = plan.message {
        arguments.push(format!("--data={}", message.display()));
        arguments.push("--header=content-type: application/grpc".to_owned());
        arguments.push("--header=te: trailers".to_owned());
    }
    let port = plan.address.port();
    match plan.addresses {
        Some(file) => arguments.push(format!("--input-file={}", file.display())),
        None => arguments.push(format!("https://localhost:{port}{}", plan.path)),
    }
    let before = measure::cpu(pid)?;
    let command = Program::new("h2load", arguments).command(place);
    let output = tokio::process::Command::from(command)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let cpu = measure::cpu(pid)?.since(before);
    let said = String::from_utf8_lossy(&output.stdout);
    read(&said, cpu, plan.length)
        .ok_or_else(|| format!("h2load: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Reads what it prints, such as
///
/// ```text
/// finished in 1.00s, 9832.00 req/s, 1.10MB/s
/// requests: 9832 total, 10152 started, 9832 done, 9832 succeeded, 0 failed, 0 errored, 0 timeout
/// status codes: 9880 2xx, 0 3xx, 0 4xx, 0 5xx
/// traffic: 1.10MB (1153984) total, 297.42KB (304560) headers (space savings 74.84%), 637.11KB (652396) data
/// ```
fn read(said: &str, cpu: measure::Cpu, length: u64) -> Option<Closed> {
    let line = |begin: &str| said.lines().find_map(|line| line.strip_prefix(begin));
    let rate: f64 = before(line("finished in ")?, " req/s")?.parse().ok()?;
    let requests = line("requests: ")?;
    let count = |name: &str| before(requests, name)?.parse::<u64>().ok();
    let succeeded = count(" succeeded")?;
    let mut errors = Vec::new();
    for kind in [" failed", " errored", " timeout"] {
        if count(kind)? != 0 {
            errors.push(format!("h2load: {requests}"));
        }
    }
    let status = line("status codes: ")?;
    for kind in [" 3xx", " 4xx", " 5xx"] {
        if before(status, kind)? != "0" {
            errors.push(format!("h2load: {status}"));
        }
    }
    // Answers that were on their way at the end count here and not above.
    let data = line("traffic: ")?.rsplit_once('(')?.1;
    let data: u64 = data.split_once(')')?.0.parse().ok()?;
    if data < succeeded * length {
        errors.push(format!("{data} bytes in {succeeded} answers"));
    }
    Some(Closed {
        requests: succeeded,
        seconds: succeeded as f64 / rate,
        cpu,
        errors,
    })
}

/// The word before this.
fn before<'a>(text: &'a str, end: &str) -> Option<&'a str> {
    let (begin, _) = text.split_once(end)?;
    begin.rsplit([' ', ',']).next()
}
