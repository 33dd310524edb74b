//! A proxy with tokens, on TCP and on a Unix socket.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Client, Response, TestProxy, answer, api_request, eventually, over_unix, problem};

/// A proxy whose callers are told apart by tokens. A token is `drp_` and its name.
pub(crate) struct Guarded {
    pub(crate) proxy: TestProxy,
    folder: tempfile::TempDir,
}

impl Guarded {
    /// Starts a proxy with these tokens: their names, and their scopes as a YAML list in one line, or
    /// nothing for all rights.
    pub(crate) async fn start(tokens: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut text = "tokens:\n".to_owned();
        for (name, scopes) in tokens {
            let hash = Sha256::digest(format!("drp_{name}"));
            let hash = hash
                .iter()
                .fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"));
            writeln!(text, "  - name: {name}\n    hash: sha256:{hash}").expect("a string grows");
            if !scopes.is_empty() {
                writeln!(text, "    scopes: {scopes}").expect("a string grows");
            }
        }
        let file = folder.path().join("tokens.yaml");
        std::fs::write(&file, text).expect("a file");
        let configuration = format!(
            "control:\n  listen: [127.0.0.1:0, 'unix:{}']\n  tokens: {}\n",
            folder.path().join("control.sock").display(),
            file.display(),
        );
        let proxy = TestProxy::start(&configuration).await;
        eventually("both listeners are named", async || {
            proxy.control_listeners().count() == 2
        })
        .await;
        Self { proxy, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    /// A call with somebody's token.
    pub(crate) async fn call(
        &self,
        name: &str,
        method: &str,
        target: &str,
        body: Option<Value>,
    ) -> Response {
        let bearer = format!("Bearer drp_{name}");
        let fields = [("Authorization", bearer.as_str())];
        let request = api_request(method, target, &fields, body.as_ref());
        let address = self.proxy.control().await;
        Client::connect(address).await.exchange(request).await
    }

    /// A call that has to succeed.
    pub(crate) async fn done(
        &self,
        name: &str,
        method: &str,
        target: &str,
        body: Option<Value>,
    ) -> Value {
        let response = self.call(name, method, target, body).await;
        assert!(
            response.status < 300,
            "{name} {method} {target}: {}",
            response.text()
        );
        answer(&response, response.status)
    }

    /// A call that has to be refused with 403 and this code.
    pub(crate) async fn refused(
        &self,
        name: &str,
        method: &str,
        target: &str,
        body: Option<Value>,
        code: &str,
    ) -> Value {
        let response = self.call(name, method, target, body).await;
        problem(&response, (403, code))
    }

    /// A registration at the traffic listener, with somebody's token or none.
    pub(crate) async fn register(&self, name: Option<&str>, body: &Value) -> Response {
        let bearer = name.map(|name| format!("Bearer drp_{name}"));
        let fields: Vec<(&str, &str)> = bearer
            .iter()
            .map(|b| ("Authorization", b.as_str()))
            .collect();
        let request = api_request("POST", "/register", &fields, Some(body));
        self.proxy.client().await.exchange(request).await
    }

    /// A call over the Unix socket, without a token: the status and the document.
    pub(crate) async fn over_unix(
        &self,
        method: &str,
        target: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let fields = [("Connection", "close")];
        let request = api_request(method, target, &fields, body.as_ref());
        let (status, _, text) = over_unix(&self.socket(), &request)
            .await
            .expect("an answer");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    /// Every route, as who may see all of them sees it.
    pub(crate) async fn total(&self) -> Value {
        let (status, list) = self.over_unix("GET", "/v1/status", None).await;
        assert_eq!(status, 200);
        list["routes"].clone()
    }
}
