//! The commands that talk to a running proxy, as somebody types them.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{TestProxy, command, output_of};

/// A proxy whose control API is on a Unix socket, and the place of both.
pub(crate) struct Edge {
    pub(crate) proxy: TestProxy,
    directory: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let proxy = TestProxy::start(&configuration(directory.path())).await;
        Self { proxy, directory }
    }

    /// Stops the proxy and starts another one in the same place, on another port.
    pub(crate) async fn restart(&mut self) {
        self.proxy.stop().await;
        self.proxy = TestProxy::start(&configuration(self.path())).await;
    }

    /// A directory for files.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A command that knows where the control API is.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        client(&api(self.path()), arguments)
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        output_of(self.command(arguments)).await.into()
    }

    /// Runs a command that has to succeed.
    pub(crate) async fn ok(&self, arguments: &[&str]) -> Done {
        let done = self.run(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done
    }

    /// Runs a command that has to succeed and to print one document of JSON.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        self.ok(arguments).await.json()
    }
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code and what was said are as expected.
    pub(crate) fn is(&self, code: i32, said: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(said), "{said}: {self:?}");
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// Where the control API of a directory's proxy is.
pub(crate) fn api(directory: &Path) -> String {
    format!("unix:{}/control.sock", directory.display())
}

/// A command for the control API at a place.
pub(crate) fn client(api: &str, arguments: &[&str]) -> Command {
    let mut command = command();
    command
        .args(arguments)
        .env("DYNAMIC_REVERSE_PROXY_API", api)
        .env_remove("DYNAMIC_REVERSE_PROXY_TOKEN");
    command
}

/// The configuration of a proxy in a directory.
pub(crate) fn configuration(directory: &Path) -> String {
    format!("port: 0\ncontrol:\n  listen: {}\n", api(directory))
}

/// A token that may do some things, and its place in a file for tokens.
pub(crate) async fn token(name: &str, actions: &str) -> (String, String) {
    let mut make = command();
    make.args(["token", "--name", name]);
    let printed = Done::from(output_of(make).await).out;
    let token = printed.lines().next().expect("a token").to_owned();
    let entry = printed.lines().filter(|line| line.starts_with("  "));
    let mut entry: Vec<&str> = entry.collect();
    let actions = format!("      - actions: [{actions}]\n");
    entry.extend(["    scopes:", &actions]);
    (token, entry.join("\n"))
}
