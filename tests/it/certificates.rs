//! Certificates of TLS with clients: from files, over the control API, and over a restart.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::store_faults::limit_files;
use crate::support::{
    Client, Response, TestProxy, api_request, command, eventually, output_of, run,
};

const DAY: Duration = Duration::from_hours(24);

/// A certificate that vouches for itself, and its key, PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

impl Identity {
    fn of(names: &[&str]) -> Self {
        let now = SystemTime::now();
        Self::valid(names, now - DAY, now + 30 * DAY)
    }

    fn valid(names: &[&str], from: SystemTime, until: SystemTime) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = from.into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn body(&self) -> Value {
        json!({"certificate": self.certificate, "key": self.key})
    }

    fn default(&self) -> Value {
        json!({"certificate": self.certificate, "key": self.key, "default": true})
    }
}

/// A folder with the files of a certificate `site`.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(identity: &Identity) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        site.put(identity);
        site
    }

    fn put(&self, identity: &Identity) {
        std::fs::write(self.path("site.crt"), &identity.certificate).unwrap();
        std::fs::write(self.path("site.key"), &identity.key).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The configuration that names them.
    fn tls(&self) -> String {
        format!(
            "tls:\n  certificates:\n    - name: site\n      certificate: {}\n      key: {}\n",
            self.path("site.crt").display(),
            self.path("site.key").display()
        )
    }
}

const AT: &str = "/v1/certificates";

async fn put(proxy: &TestProxy, name: &str, body: Value) -> Response {
    proxy.api("PUT", &format!("{AT}/{name}"), Some(body)).await
}

async fn read(proxy: &TestProxy, name: &str) -> Value {
    let response = proxy.api("GET", &format!("{AT}/{name}"), None).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

/// The names of all certificates.
async fn names(proxy: &TestProxy) -> Vec<String> {
    let list = proxy.api("GET", AT, None).await.json();
    let list = list["certificates"].as_array().unwrap();
    list.iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The status, the code and the place of a problem.
fn problem(response: &Response) -> (u16, String, Option<String>) {
    let document = response.json();
    let text = |field: &str| document[field].as_str().map(str::to_owned);
    (response.status, text("code").unwrap(), text("pointer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_comes_changes_and_goes() {
    let proxy = TestProxy::plain().await;
    let first = Identity::of(&["a.example", "*.a.example"]);
    let created = put(&proxy, "a", first.default()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.field("location"), Some("/v1/certificates/a"));
    assert_eq!(created.json()["result"], "created");
    let shown = read(&proxy, "a").await;
    assert_eq!(created.json()["certificate"], shown);
    assert_eq!(shown["source"], "api");
    assert_eq!(shown["default"], true);
    assert_eq!(shown["last_error"], Value::Null);
    let details = &shown["details"];
    assert_eq!(details["names"], json!(["a.example", "*.a.example"]));
    assert_eq!(details["sha256"].as_str().unwrap().len(), 64);
    assert!(details["not_after"].as_str().unwrap().ends_with('Z'));
    assert!(details["not_before"].as_str() < details["not_after"].as_str());
    for field in ["subject", "issuer", "serial"] {
        assert!(!details[field].as_str().unwrap().is_empty(), "{field}");
    }
    let again = put(&proxy, "a", first.default()).await;
    assert_eq!(
        (again.status, &again.json()["result"]),
        (200, &json!("unchanged"))
    );
    let second = put(&proxy, "a", Identity::of(&["b.example"]).body()).await;
    assert_eq!(
        (second.status, &second.json()["result"]),
        (200, &json!("replaced"))
    );
    assert_ne!(
        read(&proxy, "a").await["details"]["sha256"],
        details["sha256"]
    );
    assert_eq!(names(&proxy).await, ["a"]);

    let gone = proxy.api("DELETE", "/v1/certificates/a", None).await;
    assert_eq!(
        (gone.status, &gone.json()["result"]),
        (200, &json!("removed"))
    );
    for method in ["GET", "DELETE"] {
        let missing = proxy.api(method, "/v1/certificates/a", None).await;
        assert_eq!(problem(&missing), (404, "NO_SUCH_CERTIFICATE".into(), None));
    }
    assert!(names(&proxy).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_nowhere() {
    let mut proxy = TestProxy::plain().await;
    let identity = Identity::of(&["a.example"]);
    let line = identity.key.lines().nth(1).unwrap();
    let mut shown = put(&proxy, "a", identity.body()).await.text();
    for path in [AT, "/v1/certificates/a", "/v1/status"] {
        shown += &proxy.api("GET", path, None).await.text();
    }
    let broken = identity.key.replace("-----END", "-----");
    let body = json!({"certificate": identity.certificate, "key": broken});
    let refused = put(&proxy, "b", body).await;
    assert_eq!(refused.status, 400);
    shown += &refused.text();
    let wrong = json!({"certificate": identity.certificate, "key": [identity.key]});
    shown += &put(&proxy, "b", wrong).await.text();
    proxy.stop().await;
    shown += &proxy.log();
    assert!(
        shown.contains("a.example") && !shown.contains(line),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_with_its_place() {
    let proxy = TestProxy::plain().await;
    let good = Identity::of(&["a.example"]);
    let other = Identity::of(&["a.example"]);
    let now = SystemTime::now();
    let old = Identity::valid(&["a.example"], now - 2 * DAY, now - DAY);
    let early = Identity::valid(&["a.example"], now + DAY, now + 2 * DAY);
    let pair = |certificate: &str, key: &str| json!({"certificate": certificate, "key": key});
    let (certificate, key) = (good.certificate.as_str(), good.key.as_str());
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for (body, code, pointer) in [
        (pair(certificate, &other.key), "KEY_MISMATCH", "/key"),
        (pair("", key), "NOT_PEM", "/certificate"),
        (pair(certificate, "x"), "NOT_PEM", "/key"),
        (pair(key, key), "NO_CERTIFICATE", "/certificate"),
        (pair(certificate, certificate), "NO_KEY", "/key"),
        (pair(certificate, &encrypted), "ENCRYPTED_KEY", "/key"),
        (old.body(), "CERTIFICATE_EXPIRED", "/certificate"),
        (early.body(), "CERTIFICATE_NOT_YET_VALID", "/certificate"),
        (json!({"certificate": certificate}), "INVALID_BODY", ""),
        (
            json!({"certificate": certificate, "key": 1}),
            "INVALID_BODY",
            "/key",
        ),
    ] {
        let answer = put(&proxy, "a", body).await;
        let (status, found, place) = problem(&answer);
        assert_eq!((status, found.as_str()), (400, code), "{}", answer.text());
        assert_eq!(place.unwrap_or_default(), pointer, "{}", answer.text());
    }
    let mut more = good.body();
    more["password"] = json!("x");
    assert_eq!(put(&proxy, "a", more).await.json()["code"], "INVALID_BODY");
    for name in [".a", "a%2Fb", "a%20b", "a%FF", "-a"] {
        let answer = put(&proxy, name, good.body()).await;
        assert_eq!(problem(&answer).1, "INVALID_NAME", "{name}");
    }
    assert!(names(&proxy).await.is_empty());
    let method = proxy.api("POST", AT, Some(good.body())).await;
    assert_eq!(method.status, 405);
}

/// A proxy with an embedded store in a folder.
async fn kept_in(folder: &Path) -> TestProxy {
    let place = folder.display();
    let text = format!("state_directory: {place}\nstore: {{embedded: {{path: r.redb}}}}\n");
    TestProxy::start(&text).await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_puts_survives_a_crash_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = kept_in(folder.path()).await;
    let identity = Identity::of(&["a.example"]);
    assert_eq!(put(&proxy, "a", identity.default()).await.status, 201);
    assert_eq!(put(&proxy, "b", identity.body()).await.status, 201);
    let before = read(&proxy, "a").await;
    // Killed, not stopped.
    drop(proxy);
    let certificates = folder.path().join("certificates");
    assert_eq!(mode(&certificates), 0o700);
    assert_eq!(mode(&certificates.join("a.json")), 0o600);
    std::fs::write(certificates.join("b.json"), "{").unwrap();
    let proxy = kept_in(folder.path()).await;
    assert_eq!(read(&proxy, "a").await, before);
    let damaged = read(&proxy, "b").await;
    assert_eq!(damaged["details"], Value::Null);
    assert!(
        damaged["last_error"]
            .as_str()
            .unwrap()
            .contains("is damaged")
    );
    assert_eq!(put(&proxy, "b", identity.body()).await.status, 200);
    assert_eq!(read(&proxy, "b").await["last_error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = kept_in(folder.path()).await;
    let certificates = folder.path().join("certificates");
    std::fs::remove_dir(&certificates).unwrap();
    std::fs::write(&certificates, "a file in the way").unwrap();
    let identity = Identity::of(&["a.example"]);
    let answer = put(&proxy, "a", identity.body()).await;
    assert_eq!(problem(&answer), (503, "STORE_FAILED".into(), None));
    let detail = answer.json()["detail"].to_string();
    for part in [
        "certificates: cannot make the folder",
        "File exists",
        "try again",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(names(&proxy).await.is_empty());
    std::fs::remove_file(&certificates).unwrap();
    assert_eq!(put(&proxy, "a", identity.body()).await.status, 201);
}

/// One that cannot be written is 507 and not taken, and others can be removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_is_507_and_removals_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = kept_in(folder.path()).await;
    let identity = Identity::of(&["a.example"]);
    assert_eq!(put(&proxy, "a", identity.default()).await.status, 201);
    assert_eq!(put(&proxy, "b", identity.body()).await.status, 201);
    limit_files(proxy.pid(), "100");
    let before = proxy.api("GET", AT, None).await.text();
    for name in ["a", "c"] {
        let answer = put(&proxy, name, Identity::of(&["c.example"]).default()).await;
        assert_eq!(problem(&answer), (507, "STORE_FULL".into(), None));
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains("File too large"), "{detail}");
    }
    assert_eq!(proxy.api("GET", AT, None).await.text(), before);
    let gone = proxy.api("DELETE", "/v1/certificates/b", None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    limit_files(proxy.pid(), "unlimited");
    assert_eq!(put(&proxy, "c", identity.body()).await.status, 201);
    drop(proxy);
    let proxy = kept_in(folder.path()).await;
    assert_eq!(names(&proxy).await, ["a", "c"]);
    assert_eq!(read(&proxy, "a").await["default"], true);
}

/// What is answered is on disk: also what was answered before the folder, or a file in it, was removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_removed_is_made_anew_before_the_next_answer() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates");
    let proxy = kept_in(folder.path()).await;
    let (one, other) = (Identity::of(&["a.example"]), Identity::of(&["b.example"]));
    assert_eq!(put(&proxy, "a", one.default()).await.status, 201);
    std::fs::remove_dir_all(&certificates).unwrap();
    assert_eq!(put(&proxy, "b", other.body()).await.status, 201);
    proxy.logged(&["a.json had been removed"]).await;
    // The very same again, and a removal, are answers too.
    std::fs::remove_file(certificates.join("b.json")).unwrap();
    let again = put(&proxy, "a", one.default()).await.json();
    assert_eq!(again["result"], "unchanged");
    assert!(certificates.join("b.json").is_file());
    assert_eq!(put(&proxy, "c", other.body()).await.status, 201);
    std::fs::remove_dir_all(&certificates).unwrap();
    let gone = proxy.api("DELETE", "/v1/certificates/c", None).await;
    assert_eq!(gone.status, 200, "{}", gone.text());
    let before = (read(&proxy, "a").await, read(&proxy, "b").await);
    drop(proxy);
    assert_eq!(mode(&certificates), 0o700);
    assert_eq!(mode(&certificates.join("a.json")), 0o600);
    let proxy = kept_in(folder.path()).await;
    assert_eq!(names(&proxy).await, ["a", "b"]);
    assert_eq!((read(&proxy, "a").await, read(&proxy, "b").await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_again_and_what_is_of_no_use_keeps_the_old() {
    let first = Identity::of(&["a.example"]);
    let site = Site::new(&first);
    let proxy = TestProxy::start(&site.tls()).await;
    let before = read(&proxy, "site").await;
    assert_eq!(before["source"], "file");
    let fingerprint = async || read(&proxy, "site").await["details"]["sha256"].clone();
    let failures = async || read(&proxy, "site").await["failures"].as_u64().unwrap();

    // The key first, and the certificate soon after it.
    let second = Identity::of(&["b.example"]);
    std::fs::write(site.path("site.key"), &second.key).unwrap();
    std::fs::write(site.path("site.crt"), &second.certificate).unwrap();
    eventually("the files are read again", async || {
        fingerprint().await != before["details"]["sha256"]
    })
    .await;
    assert_eq!(failures().await, 0);
    let used = fingerprint().await;

    let half = &first.certificate[..first.certificate.len() / 2];
    std::fs::write(site.path("site.crt"), half).unwrap();
    eventually("half a file is a failure", async || failures().await == 1).await;
    std::fs::remove_file(site.path("site.crt")).unwrap();
    eventually("no file is another", async || failures().await == 2).await;
    let shown = read(&proxy, "site").await;
    assert_eq!(shown["details"]["sha256"], used);
    assert!(
        shown["last_error"]
            .as_str()
            .unwrap()
            .contains("site.crt: cannot be read")
    );
    let list = proxy.api("GET", AT, None).await.json();
    assert_eq!(list["failures"], 2);
    assert_eq!(
        proxy.log().matches("stays as it was").count(),
        2,
        "{}",
        proxy.log()
    );

    site.put(&first);
    eventually("what is right is read", async || {
        fingerprint().await == before["details"]["sha256"]
    })
    .await;
    assert_eq!(read(&proxy, "site").await["last_error"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_certificates_are_not_the_apis() {
    let identity = Identity::of(&["a.example"]);
    let site = Site::new(&identity);
    let proxy = TestProxy::start(&format!("{}      default: true\n", site.tls())).await;
    let other = Identity::of(&["b.example"]);
    let taken = put(&proxy, "site", other.body()).await;
    assert_eq!(
        problem(&taken),
        (409, "CERTIFICATE_CONFIGURED".into(), None)
    );
    let gone = proxy.api("DELETE", "/v1/certificates/site", None).await;
    assert_eq!(problem(&gone), (409, "CERTIFICATE_CONFIGURED".into(), None));
    let default = put(&proxy, "b", other.default()).await;
    let place = Some("/default".to_owned());
    assert_eq!(problem(&default), (409, "DEFAULT_CONFIGURED".into(), place));
    assert_eq!(put(&proxy, "b", other.body()).await.status, 201);
    assert_eq!(names(&proxy).await, ["b", "site"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_ends_the_start() {
    let identity = Identity::of(&["a.example"]);
    let now = SystemTime::now();
    let old = Identity::valid(&["a.example"], now - 2 * DAY, now - DAY);
    let strange = Identity {
        key: old.key.clone(),
        ..identity.clone()
    };
    let new = Identity::of(&["a.example"]);
    let encrypted = Identity {
        key: new.key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        ..new
    };
    for (identity, says) in [
        (&encrypted, "site.key is encrypted"),
        (&old, "site.crt has a certificate that expired at"),
        (
            &strange,
            "site.key has a private key that is not the certificate's",
        ),
    ] {
        let site = Site::new(identity);
        for arguments in [&["check"][..], &["serve"]] {
            let ended = run(arguments, &format!("port: 0\n{}", site.tls())).await;
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {text}");
            assert!(
                text.contains("tls.certificates: certificate `site`"),
                "{text}"
            );
            assert!(text.contains(says), "{text}");
        }
    }
    let ended = run(
        &["check"],
        "tls: {client_auth: {mode: require, ca: /no/such/ca.pem}}",
    )
    .await;
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(
        text.contains("tls.client_auth.ca: /no/such/ca.pem"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;

    let site = Site::new(&Identity::of(&["a.example"]));
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(site.path("site.key"), mode).unwrap();
    let proxy = TestProxy::start(&site.tls()).await;
    proxy.logged(&["others can read the private key"]).await;
    proxy.logged(&["for [a.example]"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_holds_for_certificates_too() {
    let mut entries = String::new();
    let mut tokens = Vec::new();
    for (name, scope) in [
        ("all", "actions: [certificates]"),
        (
            "some",
            "actions: [certificates]\n        hosts: ['*.a.example']",
        ),
        (
            "none",
            "actions: [read, write, register, events, take_over]",
        ),
    ] {
        let mut command = command();
        command.args(["token", "--name", name]);
        let made = String::from_utf8(output_of(command).await.stdout).unwrap();
        tokens.push(made.lines().next().unwrap().to_owned());
        let entry = made.lines().filter(|line| line.starts_with("  "));
        entries += &(entry.collect::<Vec<_>>().join("\n") + "\n    scopes:\n      - ");
        entries += scope;
        entries.push('\n');
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, format!("tokens:\n{entries}")).unwrap();
    let text = format!(
        "control:\n  listen: 127.0.0.1:0\n  tokens: {}\n",
        path.display()
    );
    let proxy = TestProxy::start(&text).await;
    let ask = async |token: usize, method: &str, target: &str, body: Option<Value>| {
        let bearer = format!("Bearer {}", tokens[token]);
        let request = api_request(method, target, &[("Authorization", &bearer)], body.as_ref());
        let mut client = Client::connect(proxy.control().await).await;
        client.exchange(request).await
    };
    let a = "/v1/certificates/a";
    let b = "/v1/certificates/b";
    let within = Identity::of(&["x.a.example", "*.a.example"]);
    let beyond = Identity::of(&["x.a.example", "b.example"]);
    for (token, target, body, status) in [
        (2, a, within.body(), 403),
        (1, a, beyond.body(), 403),
        (1, a, within.default(), 403),
        (1, a, within.body(), 201),
        (0, b, beyond.default(), 201),
        // What it replaces is not within the scope.
        (1, b, within.body(), 403),
    ] {
        let answer = ask(token, "PUT", target, Some(body)).await;
        assert_eq!(answer.status, status, "{token} {target}: {}", answer.text());
    }
    for (token, target, status) in [
        (0, b, 200),
        (1, a, 200),
        (1, b, 403),
        (2, a, 403),
        (2, AT, 403),
    ] {
        assert_eq!(
            ask(token, "GET", target, None).await.status,
            status,
            "{token} {target}"
        );
    }
    let seen = async |token| {
        ask(token, "GET", AT, None).await.json()["certificates"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((seen(0).await, seen(1).await), (2, 1));
    assert_eq!(ask(1, "DELETE", b, None).await.status, 403);
    assert_eq!(ask(1, "DELETE", a, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_them() {
    let proxy = TestProxy::plain().await;
    let document = proxy.api("GET", "/openapi.json", None).await.json();
    let paths = &document["paths"];
    assert!(paths[AT]["get"].is_object());
    for method in ["get", "put", "delete"] {
        assert!(
            paths["/v1/certificates/{name}"][method].is_object(),
            "{method}"
        );
    }
}
