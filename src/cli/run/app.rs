//! The command that is run: its port, its process, its end.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::error::RunError;
use crate::cli::client::API;

/// How often a free port is looked for that is free in both families.
const ATTEMPTS: usize = 100;

/// Between two looks whether the app listens.
const EVERY: Duration = Duration::from_millis(50);

/// How long an app has to end before it is killed, when it is of no use.
const GRACE: Duration = Duration::from_secs(5);

/// A running command.
pub(super) struct App {
    child: Child,
    pid: Pid,
    /// Whether it has a process group, and the signals of the terminal do not reach it.
    has_group: bool,
}

/// A port on loopback that nobody listens on, in either family.
pub(super) fn port(wanted: Option<u16>) -> Result<u16, RunError> {
    if let Some(port) = wanted {
        return probe(port).map_err(|source| RunError::Port { port, source });
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        match probe(0) {
            Ok(port) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(RunError::NoPort(last))
}

/// Binds the port and lets it go; 0 is any.
fn probe(port: u16) -> io::Result<u16> {
    let ipv4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = ipv4.local_addr()?.port();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // A machine without IPv6 has nobody there.
        Ok(_) | Err(_) => Ok(port),
    }
}

impl App {
    /// Starts a command with the port in `$PORT` and in the place of `{port}`.
    ///
    /// It gets a process group of its own, so that ctrl-C reaches the supervisor alone, which drains
    /// before it passes the signal on. A group in the background must not read from the terminal, so
    /// it has no input then; an interactive one keeps the terminal, and gets ctrl-C at once.
    pub(super) fn start(
        command: &[OsString],
        port: u16,
        api: &str,
        is_interactive: bool,
    ) -> Result<Self, RunError> {
        let mut words = command.iter().map(|word| with_port(word, port));
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command
            .args(words)
            .env("PORT", port.to_string())
            .env(API, api)
            .kill_on_drop(true);
        if !is_interactive {
            command.process_group(0);
            if io::stdin().is_terminal() {
                command.stdin(Stdio::null());
            }
        }
        let failed = |source| RunError::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        };
        let child = command.spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Ok(Self {
            child,
            pid: Pid::from_raw(pid),
            has_group: !is_interactive,
        })
    }

    /// Waits for the end; it can be waited for again.
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, RunError> {
        let ended = self.child.wait().await;
        ended.map_err(|source| RunError::Machine {
            what: "the command cannot be waited for",
            source,
        })
    }

    /// Passes a signal on: to the whole group what a terminal would send there, and the order to
    /// end; to the command alone what only it can understand.
    pub(super) fn signal(&self, signal: Signal) {
        // Once it has been waited for, the number may be another process's.
        if self.child.id().is_none() {
            return;
        }
        let is_private = matches!(signal, Signal::SIGUSR1 | Signal::SIGUSR2);
        let is_from_terminal = matches!(signal, Signal::SIGINT | Signal::SIGQUIT);
        let sent = match (self.has_group, is_private, is_from_terminal) {
            (true, false, _) => killpg(self.pid, signal),
            (true, true, _) | (false, _, false) => kill(self.pid, signal),
            // The terminal has sent it already.
            (false, _, true) => return,
        };
        if let Err(error) = sent {
            log::debug!("{signal} to {}: {error}", self.pid);
        }
    }

    /// Ends it, by force if it does not listen to reason.
    pub(super) async fn stop(&mut self) -> Result<ExitStatus, RunError> {
        self.signal(Signal::SIGTERM);
        if let Ok(ended) = timeout(GRACE, self.ended()).await {
            return ended;
        }
        self.signal(Signal::SIGKILL);
        self.ended().await
    }
}

/// Waits until something listens on the port.
pub(super) async fn listens(port: u16) {
    loop {
        let ipv4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        if ipv4.is_ok()
            || TcpStream::connect((Ipv6Addr::LOCALHOST, port))
                .await
                .is_ok()
        {
            return;
        }
        sleep(EVERY).await;
    }
}

/// The exit code that says how a command ended, as a shell says it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => signal.saturating_add(128),
        (None, None) => 1,
    };
    // The kernel keeps eight bits of it.
    u8::try_from(code & 0xff).unwrap_or(1)
}

fn with_port(word: &OsStr, port: u16) -> OsString {
    word.to_str().map_or_else(
        || word.to_owned(),
        |word| word.replace("{port}", &port.to_string()).into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_in_either_family_is_not_free() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(taken) = TcpListener::bind(address) else {
                continue;
            };
            let number = taken.local_addr().unwrap().port();
            assert!(matches!(port(Some(number)), Err(RunError::Port { .. })));
            drop(taken);
            assert!(matches!(port(Some(number)), Ok(free) if free == number));
        }
    }

    #[test]
    fn the_port_is_put_into_arguments() {
        let word = with_port(OsStr::new("--listen=:{port},{port}"), 80);
        assert_eq!(word, "--listen=:80,80");
    }

    #[test]
    fn ends_are_told_as_a_shell_tells_them() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
    }
}
