//! Real apps in other languages, as child processes on ports that the system chose.

use std::io::ErrorKind;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::in_time;

/// A running app, killed when it is dropped.
pub(crate) struct App {
    _child: Child,
    /// Kept open, so that the app can go on writing.
    _stdout: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl App {
    /// Starts a command that prints `... port NUMBER ...`; `None`, with a word on it, if there is
    /// no such program on this machine.
    pub(crate) async fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("skipped: {program} is not installed");
                return None;
            }
            Err(error) => panic!("{program}: {error}"),
        };
        let stdout = child.stdout.take().expect("standard output");
        let mut lines = BufReader::new(stdout).lines();
        let line = in_time("the app starts", lines.next_line()).await;
        let line = line.expect("text").expect("a line with its port");
        let port = line
            .split_whitespace()
            .skip_while(|word| *word != "port")
            .nth(1)
            .and_then(|word| word.parse().ok());
        Some(Self {
            _child: child,
            _stdout: lines,
            port: port.unwrap_or_else(|| panic!("no port: {line}")),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
