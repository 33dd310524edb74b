//! Runs the examples of a page, in their order and in one shell, against a proxy of their own.
//!
//! The pages name ports (3000 for the traffic, 3001 for the control API, those of apps); what is run has ports
//! that the system chose in their places. Before the shell's own commands it finds some of ours:
//!
//! - `curl` fails on statuses from 400 on, and stops reading events after a second.
//! - `dynamic-reverse-proxy` knows where the control API is. `run` is stopped once its app can be reached.
//! - `pgrep` finds the proxy of the page, whatever else is running.
//! - `npm start` starts an app in Python, so that nothing has to be installed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use super::markdown::Fence;
use super::root;
use crate::support::{Origin, ReservedPort, TestProxy};

/// How long the commands of one page may take.
const TIMEOUT: Duration = Duration::from_mins(2);

const PROXY_BINARY: &str = env!("CARGO_BIN_EXE_dynamic-reverse-proxy");

/// The configuration of the proxy that is running, as the pages name it.
const CONFIGURATION: &str = "proxy.yaml";

/// What stands before the output of a block.
const MARK: &str = "@@@ ";

/// How the script begins: whatever fails ends it, and its end is that of what it has started.
const BEGIN: &str = "\
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
";

const CURL: &str = r#"#!/bin/bash
if [[ "$*" == */v1/events* ]]; then
    "$REAL_CURL" --fail-with-body --silent --max-time 1 "$@"
    code=$?
    ((code == 28)) && exit 0
    exit "$code"
fi
exec "$REAL_CURL" --fail-with-body --silent --show-error --max-time 20 "$@"
"#;

const PROXY: &str = r#"#!/bin/bash
[[ ${1:-} == run ]] || exec "$REAL_PROXY" "$@"
"$REAL_PROXY" "$@" &
pid=$!
for ((i = 0; i < 400; i++)); do
    "$REAL_CURL" --silent --include "http://localhost:$TRAFFIC/shop/" | grep -q StartedByNpm && break
    sleep 0.05
done
kill -TERM "$pid"
wait "$pid"
code=$?
((i < 400 && code == 143))
"#;

const NPM: &str = r#"#!/bin/bash
[[ $1 == start ]] && exec python3 -c '
import http.server, os
App = http.server.BaseHTTPRequestHandler
App.server_version = "StartedByNpm"
App.do_GET = lambda self: self.send_error(404)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
'
"#;

/// Stands for the way to find the running proxy: the machine may have others.
const PGREP: &str = "#!/bin/bash\necho \"$OLD_PROXY\"\n";

/// A proxy, its apps, and a folder for the commands of a page.
pub(super) struct Stage {
    proxy: TestProxy,
    _apps: Vec<Origin>,
    /// For the app that a page starts itself, which can share it.
    _free: ReservedPort,
    ports: HashMap<String, u16>,
    folder: TempDir,
}

impl Stage {
    /// Starts a proxy, as `make run` does, and an app for each of the ports.
    pub(super) async fn start(apps: &[u16]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let [traffic, control, free] = [(); 3].map(|()| ReservedPort::new());
        let mut ports = HashMap::from([
            ("3000".to_owned(), traffic.port()),
            ("3001".to_owned(), control.port()),
            ("4321".to_owned(), free.port()),
        ]);
        prepare(folder.path(), &ports);
        drop((traffic, control));
        let proxy = spawn(folder.path()).await;
        let mut running = Vec::new();
        for port in apps {
            let app = Origin::saying("app").await;
            ports.insert(port.to_string(), app.port());
            running.push(app);
        }
        Self {
            proxy,
            _apps: running,
            _free: free,
            ports,
            folder,
        }
    }

    /// A text with the ports that are really there.
    pub(super) fn in_place(&self, text: &str) -> String {
        let mut replaced = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = |letter: char| letter.is_ascii_digit();
            let end = rest.find(|letter| !digits(letter)).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            match self.ports.get(number) {
                Some(port) => write!(replaced, "{port}").expect("a string grows"),
                None => replaced.push_str(number),
            }
            let next = after.find(digits).unwrap_or(after.len());
            replaced.push_str(&after[..next]);
            rest = &after[next..];
        }
        replaced
    }

    /// Runs the blocks of a page. Returns those of JSON, each with the output of the block before it.
    pub(super) async fn run<'a>(
        &self,
        page: &str,
        fences: &'a [Fence],
    ) -> Vec<(&'a Fence, String)> {
        let output = self.shell(&self.script(page, fences)).await;
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{page}, at the last mark: {err}\n{out}"
        );
        let said: HashMap<&str, &str> = out
            .split(MARK)
            .filter_map(|part| part.split_once('\n'))
            .collect();
        let pairs = fences.iter().zip(fences.iter().skip(1));
        pairs
            .filter(|(_, fence)| fence.language == "json")
            .map(|(before, fence)| {
                let said = said.get(before.line.to_string().as_str());
                (fence, said.copied().unwrap_or_default().to_owned())
            })
            .collect()
    }

    fn script(&self, page: &str, fences: &[Fence]) -> String {
        let mut script = String::from(BEGIN);
        for (index, fence) in fences.iter().enumerate() {
            let text = self.in_place(&fence.text);
            let is_refused = fences.get(index + 1).is_some_and(says_an_error);
            let Some(run) = in_bash(&fence.language, &text, is_refused) else {
                continue;
            };
            let line = fence.line;
            let mark = format!("printf '\\n{MARK}{line}\\n' | tee /dev/stderr");
            let waits = waits(&text);
            writeln!(script, "{mark} # {page}\n{run}{waits}").expect("a string grows");
        }
        script
    }

    async fn shell(&self, script: &str) -> Output {
        let bin = self.folder.path().join("bin");
        let path = std::env::var("PATH").expect("a path");
        let mut shell = Command::new("bash");
        shell
            .args(["-c", script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("REAL_CURL", real_curl(&path))
            .env("REAL_PROXY", PROXY_BINARY)
            .env("OLD_PROXY", self.proxy.pid().to_string())
            .env("TRAFFIC", self.proxy.port().to_string())
            .env(
                "DYNAMIC_REVERSE_PROXY_API",
                format!("http://127.0.0.1:{}", self.ports["3001"]),
            )
            .env_remove("DYNAMIC_REVERSE_PROXY_TOKEN")
            .env_remove("PORT")
            .env_remove("port")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(TIMEOUT, shell.output()).await;
        output
            .expect("the commands end in time")
            .expect("bash runs")
    }
}

/// The proxy of a folder's configuration.
async fn spawn(folder: &Path) -> TestProxy {
    let mut command = Command::new(root().join("scripts/run"));
    command
        .arg(PROXY_BINARY)
        .arg("--conf")
        .arg(folder.join(CONFIGURATION));
    for name in ["PORT", "port", "RUST_LOG", "STATE_DIRECTORY"] {
        command.env_remove(name);
    }
    TestProxy::spawn(command, tempfile::tempdir().expect("a directory")).await
}

/// Where the real curl is.
fn real_curl(path: &str) -> PathBuf {
    let mut places = std::env::split_paths(path).map(|folder| folder.join("curl"));
    places
        .find(|place| place.exists())
        .expect("curl is installed")
}

/// What runs a block in bash; `None` if it is not to be run.
fn in_bash(language: &str, text: &str, is_refused: bool) -> Option<String> {
    match language {
        "sh" if is_refused => Some(format!("! ( set -e\n{text}) || exit 1\n")),
        "sh" => Some(text.to_owned()),
        "python" => Some(format!("python3 - <<'PYTHON'\n{text}PYTHON\n")),
        "js" => Some(format!(
            "if command -v node >&2; then node --input-type=module - <<'JS'\n{text}JS\nfi\n"
        )),
        _ => None,
    }
}

/// Whether a block shows a refusal, so that the commands before it fail.
fn says_an_error(fence: &Fence) -> bool {
    fence.language == "json"
        && (fence.text.contains("\"error\"") || fence.text.contains("\"status\":4"))
}

/// Waits for the apps that a block has started, and for the end of a proxy whose place another one takes.
fn waits(text: &str) -> String {
    let mut waits = String::new();
    for rest in text.split("http.server ").skip(1) {
        let port = rest.split(' ').next().unwrap_or(rest);
        let is_there = format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null");
        writeln!(waits, "until {is_there}; do sleep 0.05; done").expect("a string grows");
    }
    if text.contains("--upgrade") {
        // It stays as a zombie for as long as nobody has asked how it ended.
        let runs = r#"state=$(ps -o stat= -p "$OLD_PROXY") && [[ $state != Z* ]]"#;
        writeln!(waits, "while {runs}; do sleep 0.05; done").expect("a string grows");
    }
    waits
}

/// What the commands find: our own commands, a certificate, the configuration.
fn prepare(folder: &Path, ports: &HashMap<String, u16>) {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    for (name, script) in [
        ("curl", CURL),
        ("dynamic-reverse-proxy", PROXY),
        ("npm", NPM),
        ("pgrep", PGREP),
    ] {
        let path = bin.join(name);
        std::fs::write(&path, script).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    certificate(&folder.join("site.crt"), &folder.join("site.key"));
    let place = folder.display();
    let (traffic, control) = (ports["3000"], ports["3001"]);
    let text = format!(
        "listen: ['127.0.0.1:{traffic}']\ncontrol:\n  listen: 127.0.0.1:{control}\nthreads: 1\n\
         state_directory: {place}/state\nstore:\n  embedded:\n    path: routes.redb\n\
         upgrade_sock: {place}/upgrade.sock\n"
    );
    std::fs::write(folder.join(CONFIGURATION), text).expect("a file");
    std::os::unix::fs::symlink(root().join("conf"), folder.join("conf")).expect("a link");
}

fn certificate(certificate: &Path, key: &Path) {
    let names = vec!["www.example.com".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(certificate, made.cert.pem()).expect("a file");
    std::fs::write(key, made.signing_key.serialize_pem()).expect("a file");
}

/// Writes a configuration, with the files that it names below `/etc`, to a folder; a file of tokens with a
/// configuration that names it. Returns the configuration's path.
pub(super) fn configuration(folder: &str, text: &str) -> String {
    let etc = format!("{folder}/etc/");
    let mut text = text.replace("/etc/", &etc);
    if text.starts_with("tokens:") {
        std::fs::write(format!("{folder}/tokens.yaml"), &text).expect("a file");
        text = format!("control:\n  tokens: {folder}/tokens.yaml\n");
    }
    let (crt, key) = (format!("{folder}/made.crt"), format!("{folder}/made.key"));
    certificate(Path::new(&crt), Path::new(&key));
    for name in text.split(&etc).skip(1) {
        let end = name.find([' ', ',', '}', '\n']).unwrap_or(name.len());
        let path = format!("{etc}{}", &name[..end]);
        let parent = Path::new(&path).parent().expect("a folder");
        std::fs::create_dir_all(parent).expect("a folder");
        match Path::new(&path).extension().and_then(|end| end.to_str()) {
            Some("key") => drop(std::fs::copy(&key, &path).expect("a copy")),
            Some("yaml") => std::fs::write(&path, TOKENS).expect("a file"),
            _ => drop(std::fs::copy(&crt, &path).expect("a copy")),
        }
    }
    let path = format!("{folder}/proxy.yaml");
    std::fs::write(&path, text).expect("a file");
    path
}

/// A file of tokens, for configurations that name one.
const TOKENS: &str = "\
tokens:
  - name: deploy
    hash: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
";
