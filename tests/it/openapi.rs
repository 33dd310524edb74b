//! The API's description: that it is one, and that the running server is as it says. What looks from
//! outside, schemathesis and a validator, is Python; `make test` installs it and names its folder in
//! `SCHEMATHESIS`. Without that, these tests say that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Client, TestProxy, api_request, command, output_of};

/// How long a run of schemathesis may take when nobody asked for a longer one.
const RUN: Duration = Duration::from_mins(10);

/// A proxy whose API, and registration, need a token.
struct Guarded {
    proxy: TestProxy,
    bearer: String,
    folder: tempfile::TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let mut making = command();
        making.args(["token", "--name", "tester"]);
        let made = String::from_utf8(output_of(making).await.stdout).unwrap();
        let token = made.lines().next().unwrap().to_owned();
        let entry: Vec<_> = made.lines().filter(|line| line.starts_with("  ")).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        std::fs::write(&path, format!("tokens:\n{}\n", entry.join("\n"))).unwrap();
        let proxy = TestProxy::start(&format!(
            "control:\n  listen: 127.0.0.1:0\n  tokens: {}\nregistration:\n  require_token: true",
            path.display()
        ))
        .await;
        Self {
            proxy,
            bearer: format!("Bearer {token}"),
            folder,
        }
    }

    async fn description(&self) -> String {
        let fields = [("Authorization", self.bearer.as_str())];
        let mut client = Client::connect(self.proxy.control().await).await;
        let response = client
            .exchange(api_request("GET", "/openapi.json", &fields, None))
            .await;
        assert_eq!(response.status, 200);
        response.text()
    }
}

/// Where the Python programs are; none if this machine does not have to have them.
fn installed() -> Option<PathBuf> {
    let folder = std::env::var_os("SCHEMATHESIS");
    if folder.is_none() {
        eprintln!("skipped: SCHEMATHESIS does not name a folder; `make test` does");
    }
    folder.map(PathBuf::from)
}

/// Certificates with their keys, for hooks.py: the server takes no others.
fn made_identities() -> Value {
    let identity = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        json!({"certificate": made.cert.pem(), "key": made.signing_key.serialize_pem()})
    };
    json!([
        identity(&["a.example"]),
        identity(&["b.example", "*.b.example"])
    ])
}

async fn succeeds(what: &str, mut command: Command, time: Duration) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn();
    let child = child.unwrap_or_else(|error| panic!("{what} does not run: {error}"));
    let output = tokio::time::timeout(time, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} takes longer than {time:?}"));
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", text(&output.stdout));
    let status = output.status;
    assert!(
        status.success(),
        "{what}: {status}\n{}",
        text(&output.stderr)
    );
}

fn operations(description: &Value) -> impl Iterator<Item = (&str, Vec<String>)> {
    description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            (path.as_str(), methods.map(|m| m.to_uppercase()).collect())
        })
}

fn filled_in(path: &str) -> String {
    path.replace("{host}", "*")
        .replace("{prefix}", "shop")
        .replace("{id}", "a")
        .replace("{name}", "site")
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_nothing() {
    let Some(installed) = installed() else { return };
    let guarded = Guarded::start().await;
    let identities = guarded.folder.path().join("identities.json");
    std::fs::write(&identities, made_identities().to_string()).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    let mut run = Command::new(installed.join("bin/schemathesis"));
    run.current_dir(&sources)
        .args(["--config-file", "schemathesis.toml", "run", "--no-color"])
        .arg(format!(
            "http://{}/openapi.json",
            guarded.proxy.control().await
        ))
        .arg("--header")
        .arg(format!("Authorization:{}", guarded.bearer))
        .env("IDENTITIES", identities)
        // Nothing is written beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONWARNINGS", "ignore::FutureWarning");
    let more = std::env::var("SCHEMATHESIS_ARGS").unwrap_or_default();
    run.args(more.split_whitespace());
    let time = if more.is_empty() { RUN } else { Duration::MAX };
    succeeds("schemathesis", run, time).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_valid_openapi() {
    let Some(installed) = installed() else { return };
    let guarded = Guarded::start().await;
    let file = guarded.folder.path().join("openapi.json");
    std::fs::write(&file, guarded.description().await).unwrap();
    let mut validator = Command::new(installed.join("bin/openapi-spec-validator"));
    validator.args(["--schema", "3.1"]).arg(file);
    succeeds("openapi-spec-validator", validator, RUN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_methods_of_every_path_are_those_described() {
    let proxy = TestProxy::plain().await;
    let description = proxy.api("GET", "/openapi.json", None).await.json();
    assert_eq!(description["openapi"], "3.1.0");
    for (path, mut methods) in operations(&description) {
        let response = proxy.api("OPTIONS", &filled_in(path), None).await;
        assert_eq!(response.status, 405, "{path}: {}", response.text());
        let allow = response.field("allow").unwrap_or_default();
        let mut allowed: Vec<_> = allow.split(',').map(str::trim).collect();
        // Whatever can be read has a head.
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        methods.sort_unstable();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_needs_a_token_if_there_are_any() {
    let guarded = Guarded::start().await;
    let description: Value = serde_json::from_str(&guarded.description().await).unwrap();
    for (path, methods) in operations(&description) {
        for method in methods {
            let response = guarded.proxy.api(&method, &filled_in(path), None).await;
            assert_eq!(response.status, 401, "{method} {path}");
            let challenge = response.field("www-authenticate");
            assert_eq!(challenge, Some("Bearer"), "{method} {path}");
            let operation = &description["paths"][path][method.to_lowercase()];
            assert_eq!(operation["security"], json!([{ "token": [] }]));
        }
    }
}

/// The one operation that schemathesis does not ask for: it has no end.
#[tokio::test(flavor = "multi_thread")]
async fn the_events_are_as_described() {
    let proxy = TestProxy::plain().await;
    let description = proxy.api("GET", "/openapi.json", None).await.json();
    let answer = &description["paths"]["/v1/events"]["get"]["responses"]["200"];
    let mut client = Client::connect(proxy.control().await).await;
    let fields = [("Last-Event-ID", "00000000-1")];
    client
        .send(api_request("GET", "/v1/events", &fields, None))
        .await;
    let head = client.response_head().await.unwrap();
    assert_eq!(head.status, 200);
    for name in answer["headers"].as_object().unwrap().keys() {
        assert!(head.field(name).is_some(), "{name}");
    }
    let media_type = head.field("content-type").unwrap();
    assert!(answer["content"].get(media_type).is_some(), "{media_type}");
}

/// Every text of a document that is for people, with its place.
fn descriptions(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let ("description" | "summary", Value::String(text)) = (&**name, value) {
                    found.push((place.to_owned(), text.clone()));
                }
                descriptions(value, &format!("{place}/{name}"), found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                descriptions(value, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_texts_are_for_users_of_the_api() {
    let proxy = TestProxy::plain().await;
    let mut found = Vec::new();
    descriptions(&proxy.look("/openapi.json").await, "", &mut found);
    assert!(found.len() > 100, "{}", found.len());
    // What only readers of the code know: its types, its values, links into its documentation.
    let leaks = [
        "None`", "is None", "Some(", "[`", "::", "`with_", "serde", "unwrap", "enum", "struct",
        "Option", "u16", "NonZero", "Vec<", "`Ok", "`Err", "TODO",
    ];
    for (place, text) in found {
        let leak = leaks.iter().find(|leak| text.contains(**leak));
        assert_eq!(leak, None, "{place}: {text}");
    }
}
