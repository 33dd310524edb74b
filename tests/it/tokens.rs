//! Tokens: who may use the control API, and register, once there are some.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{
    Client, Response, TestProxy, api_request, command, eventually, in_time, output_of, run,
};

/// A token and its entry in the tokens file, made by the program.
struct Made {
    token: String,
    entry: String,
}

async fn make(name: &str) -> Made {
    let mut command = command();
    command.args(["token", "--name", name]);
    let output = output_of(command).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().next().unwrap().to_owned();
    let entry = text.lines().filter(|line| line.starts_with("  "));
    let entry = entry.collect::<Vec<_>>().join("\n") + "\n";
    assert!(token.starts_with("drp_") && token.len() == 47, "{text}");
    assert!(
        entry.contains("hash: sha256:") && !entry.contains(&token),
        "{text}"
    );
    Made { token, entry }
}

/// A folder with a tokens file, and a proxy that has it.
struct Fixture {
    folder: tempfile::TempDir,
    proxy: TestProxy,
}

impl Fixture {
    async fn start(entries: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.yaml");
        std::fs::write(&path, format!("tokens:\n{entries}")).unwrap();
        let configuration = format!(
            "control:\n  listen: 127.0.0.1:0\n  tokens: {}\n{more}",
            path.display()
        );
        let proxy = TestProxy::start(&configuration).await;
        Self { folder, proxy }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("tokens.yaml")
    }

    async fn status(&self, fields: &[(&str, &str)]) -> Response {
        let mut client = Client::connect(self.proxy.control().await).await;
        client
            .exchange(api_request("GET", "/v1/status", fields, None))
            .await
    }

    async fn takes(&self, token: &str) -> bool {
        let bearer = format!("Bearer {token}");
        self.status(&[("Authorization", &bearer)]).await.status == 200
    }

    async fn register(&self, prefix: &str, fields: &str) -> Response {
        let body = format!(r#"{{"prefix": "{prefix}", "port": 4321}}"#);
        let request = format!(
            "POST /register HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.proxy.client().await.exchange(request).await
    }
}

fn replace(path: &Path, text: &str) {
    let other = path.with_extension("new");
    std::fs::write(&other, text).unwrap();
    std::fs::rename(&other, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_one_is_needed() {
    let made = make("deploy").await;
    let fixture = Fixture::start(&made.entry, "").await;
    let none = fixture.status(&[]).await;
    assert_eq!(
        (none.status, none.field("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(none.json()["code"], "UNAUTHENTICATED");
    let bearer = format!("Bearer {}", made.token);
    assert_eq!(
        fixture.status(&[("Authorization", &bearer)]).await.status,
        200
    );
    // Who has a token is no web page, wherever the request came along.
    let fields = [
        ("Authorization", bearer.as_str()),
        ("Host", "proxy.example"),
        ("Origin", "https://proxy.example"),
        ("Via", "1.1 other"),
    ];
    assert_eq!(fixture.status(&fields).await.status, 200);
    let begin = Instant::now();
    let wrong = fixture
        .status(&[("Authorization", "Bearer drp_wrong")])
        .await;
    assert_eq!(wrong.status, 401);
    assert_eq!(
        wrong.field("www-authenticate"),
        Some("Bearer error=\"invalid_token\"")
    );
    assert!(
        begin.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    // Unknown paths tell strangers nothing either.
    let unknown = fixture.proxy.api("GET", "/v1/none", None).await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_wait_beside_each_other_and_hold_nobody_up() {
    let made = make("deploy").await;
    let fixture = Fixture::start(&made.entry, "").await;
    let address = fixture.proxy.control().await;
    let wrong: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let fields = [("Authorization", "Bearer drp_wrong")];
                let request = api_request("GET", "/v1/status", &fields, None);
                Client::connect(address)
                    .await
                    .exchange(request)
                    .await
                    .status
            })
        })
        .collect();
    assert!(fixture.takes(&made.token).await);
    let mut statuses = Vec::new();
    for wrong in wrong {
        statuses.push(wrong.await.unwrap());
    }
    assert!(statuses.contains(&401), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 401 | 429)),
        "{statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_again_when_it_changes() {
    let (first, second) = (make("first").await, make("second").await);
    let fixture = Fixture::start(&first.entry, "").await;
    assert!(fixture.takes(&first.token).await);
    replace(&fixture.file(), &format!("tokens:\n{}", second.entry));
    eventually("the new token is taken", async || {
        fixture.takes(&second.token).await
    })
    .await;
    assert!(!fixture.takes(&first.token).await);
    replace(&fixture.file(), "tokens:\n  - name: a b\n");
    eventually("a bad file is logged", async || {
        assert!(fixture.takes(&second.token).await);
        fixture
            .proxy
            .log()
            .contains("tokens.yaml:2:11: not the name of a token")
    })
    .await;
    std::fs::remove_file(fixture.file()).unwrap();
    eventually("a missing file is logged", async || {
        assert!(fixture.takes(&second.token).await);
        fixture.proxy.log().contains("tokens.yaml: cannot be read")
    })
    .await;
    std::fs::write(fixture.file(), format!("tokens:\n{}", first.entry)).unwrap();
    eventually("a file that is back is read", async || {
        fixture.takes(&first.token).await
    })
    .await;
    let log = fixture.proxy.log();
    assert_eq!(log.matches("not the name of a token").count(), 1, "{log}");
    assert_eq!(
        log.matches("tokens.yaml: cannot be read").count(),
        1,
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.yaml");
    let configuration = format!("port: 0\ncontrol:\n  tokens: {}", path.display());
    let missing = run(&["check"], &configuration).await;
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(1), "{text}");
    assert!(
        text.contains("control.tokens") && text.contains("tokens.yaml"),
        "{text}"
    );
    std::fs::write(&path, "tokens:\n  - name: a\n").unwrap();
    for arguments in [&[][..], &["check"]] {
        let wrong = run(arguments, &configuration).await;
        let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
        assert_eq!(wrong.status.code(), Some(2), "{text}");
        assert!(
            text.contains("tokens.yaml:2:5") && text.contains("hash"),
            "{text}"
        );
    }
    let mut command = command();
    command.args(["token", "--name", "a b"]);
    assert_eq!(output_of(command).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_takes_a_token_and_needs_none() {
    let made = make("deploy").await;
    let fixture = Fixture::start(&made.entry, "").await;
    let bearer = format!("Authorization: Bearer {}\r\n", made.token);
    assert_eq!(fixture.register("/a", "").await.status, 200);
    assert_eq!(fixture.register("/b", &bearer).await.status, 200);
    // A relay on this machine passes a token on.
    let relayed = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(fixture.register("/c", relayed).await.status, 403);
    let both = format!("{bearer}{relayed}");
    assert_eq!(fixture.register("/c", &both).await.status, 200);
    let wrong = fixture
        .register("/d", "Authorization: Bearer drp_wrong\r\n")
        .await;
    assert_eq!(
        (wrong.status, wrong.field("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(wrong.json()["error"], "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_can_be_made_to_need_a_token() {
    let made = make("deploy").await;
    let fixture = Fixture::start(&made.entry, "registration:\n  require_token: true\n").await;
    let none = fixture.register("/a", "").await;
    assert_eq!(
        (none.status, none.field("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(none.json()["error"], "UNAUTHENTICATED");
    let bearer = format!("Authorization: Bearer {}\r\n", made.token);
    assert_eq!(fixture.register("/a", &bearer).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_a_token_is_nothing_special() {
    let proxy = TestProxy::plain().await;
    let mut client = Client::connect(proxy.control().await).await;
    let fields = [("Authorization", "Bearer drp_any")];
    let request = api_request("GET", "/v1/status", &fields, None);
    assert_eq!(client.exchange(request).await.status, 200);
    let fields = [
        ("Authorization", "Bearer drp_any"),
        ("Host", "evil.example"),
    ];
    let mut client = Client::connect(proxy.control().await).await;
    let request = api_request("GET", "/v1/status", &fields, None);
    assert_eq!(client.exchange(request).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_load_balancer_a_token_registers() {
    let made = make("deploy").await;
    let more = "proxy_protocol:\n  trusted: [127.0.0.1]\n";
    let fixture = Fixture::start(&made.entry, more).await;
    let register = async |fields: &str| {
        let body = r#"{"prefix": "/a", "port": 4321}"#;
        let request = format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nPOST /register HTTP/1.1\r\nHost: localhost\r\n\
             {fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        fixture.proxy.client().await.exchange(request).await.status
    };
    let bearer = format!("Authorization: Bearer {}\r\n", made.token);
    assert_eq!(register("").await, 403);
    assert_eq!(register("Authorization: Bearer drp_wrong\r\n").await, 401);
    assert_eq!(register(&bearer).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_open_streams() {
    let (first, second) = (make("first").await, make("second").await);
    let entries = format!("{}{}", first.entry, second.entry);
    let fixture = Fixture::start(&entries, "").await;
    let follow = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let fields = [("Authorization", bearer.as_str())];
        let mut client = Client::connect(fixture.proxy.control().await).await;
        client
            .send(api_request("GET", "/v1/events", &fields, None))
            .await;
        assert_eq!(client.response_head().await.unwrap().status, 200);
        client
    };
    let mut revoked = follow(&first.token).await;
    let mut narrowed = follow(&second.token).await;
    replace(&fixture.file(), &format!("tokens:\n{}", second.entry));
    let begin = Instant::now();
    in_time("the stream ends", revoked.rest()).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    // The other one goes on, until its token may do less.
    assert_eq!(fixture.register("/a", "").await.status, 200);
    let mut text = String::new();
    while !text.contains("route_registered") {
        text.push_str(&String::from_utf8_lossy(&narrowed.chunk().await.unwrap()));
    }
    let less = format!(
        "tokens:\n{}    scopes:\n      - actions: [read]\n",
        second.entry
    );
    replace(&fixture.file(), &less);
    let begin = Instant::now();
    in_time("the stream ends", narrowed.rest()).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    eventually("the log says why", async || {
        let log = fixture.proxy.log();
        let ended = |name: &str| log.contains(&format!("the events for {name} end"));
        ended("first") && ended("second")
    })
    .await;
}
