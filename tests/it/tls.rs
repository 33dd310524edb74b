//! TLS at the front, as it is configured: the real program, real certificates, curl.

use std::path::Path;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Origin, TestProxy, eventually, in_time};

/// An authority, and a folder with what it has signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than what it signs, or that would seem to have signed itself.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority of the test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for a name and its key, PEM; also as files under a name.
    pub(crate) fn sign(&self, file: &str, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        std::fs::write(self.path().join(format!("{file}.pem")), &certificate).unwrap();
        std::fs::write(self.path().join(format!("{file}.key")), &key).unwrap();
        (certificate, key)
    }

    /// A configuration that listens for TLS with the certificate of a file.
    pub(crate) fn configuration(&self, file: &str, more: &str) -> String {
        let at = self.path().display();
        format!(
            "tls:\n  listen: [\"127.0.0.1:0\"]\n  certificates:\n  - name: {file}\n    \
             certificate: {at}/{file}.pem\n    key: {at}/{file}.key\n{more}"
        )
    }
}

/// The port that TLS is listened on.
pub(crate) async fn tls_port(proxy: &TestProxy) -> u16 {
    let found = || {
        let log = proxy.log();
        let line = log
            .lines()
            .find_map(|line| line.split_once("TLS on 127.0.0.1:"));
        line.and_then(|(_, port)| port.trim().parse().ok())
    };
    eventually("TLS is listened on", async || found().is_some()).await;
    found().expect("a port")
}

/// What curl says of a path at a host name: version, status and body, or its error.
async fn curl(authority: &Authority, port: u16, name: &str, path: &str, more: &[&str]) -> String {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "15", "--cacert"])
        .arg(authority.path().join("ca.pem"))
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(["-w", "\n%{http_version} %{http_code}"])
        .args(more)
        .arg(format!("https://{name}:{port}{path}"))
        .stdin(Stdio::null());
    let output = in_time("curl ends", command.output()).await.expect("curl");
    let text = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_behind_tls_is_reached_over_http1_and_http2() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    for (version, expected) in [("--http1.1", "app\n1.1 200"), ("--http2", "app\n2 200")] {
        for tls in ["--tlsv1.3", "--tls-max=1.2"] {
            let mut more: Vec<&str> = tls.split('=').collect();
            more.push(version);
            let answer = curl(&authority, port, "shop.test", "/a", &more);
            assert_eq!(answer.await, expected, "{version} {tls}");
        }
    }
    for request in origin.requests() {
        assert_eq!(request.head.field("x-forwarded-proto"), Some("https"));
        assert_eq!(
            request.head.field("host"),
            Some(&*format!("shop.test:{port}"))
        );
    }
    let refused = curl(&authority, port, "else.test", "/", &[]).await;
    assert!(refused.starts_with("curl: ("), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_put_over_the_api_is_used_at_once() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let (certificate, key) = authority.sign("late", "late.test");
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    let before = curl(&authority, port, "late.test", "/", &[]).await;
    assert!(before.starts_with("curl: ("), "{before}");
    let body = json!({ "certificate": certificate, "key": key });
    let put = proxy.api("PUT", "/v1/certificates/late", Some(body)).await;
    assert!(matches!(put.status, 200 | 201), "{}", put.text());
    assert_eq!(
        curl(&authority, port, "late.test", "/", &[]).await,
        "app\n2 200"
    );
    assert_eq!(
        curl(&authority, port, "shop.test", "/", &[]).await,
        "app\n2 200"
    );
    let removed = proxy.api("DELETE", "/v1/certificates/late", None).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    let after = curl(&authority, port, "late.test", "/", &[]).await;
    assert!(after.starts_with("curl: ("), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_used_without_a_restart() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    let origin = Origin::saying("app").await;
    let proxy = TestProxy::start(&authority.configuration("shop", "")).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    assert_eq!(
        curl(&authority, port, "shop.test", "/", &[]).await,
        "app\n2 200"
    );
    authority.sign("shop", "new.test");
    eventually("the new certificate is used", async || {
        curl(&authority, port, "new.test", "/", &[]).await == "app\n2 200"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_certificate_that_is_required_is_refused() {
    let authority = Authority::new();
    authority.sign("shop", "shop.test");
    authority.sign("client", "client.test");
    let at = authority.path().display().to_string();
    let origin = Origin::saying("app").await;
    let require = format!("  client_auth: {{mode: require, ca: {at}/ca.pem}}");
    let proxy = TestProxy::start(&authority.configuration("shop", &require)).await;
    proxy.register("/", origin.port()).await;
    let port = tls_port(&proxy).await;
    let (certificate, key) = (format!("{at}/client.pem"), format!("{at}/client.key"));
    let identity = ["--cert", &certificate, "--key", &key];
    assert_eq!(
        curl(&authority, port, "shop.test", "/", &identity).await,
        "app\n2 200"
    );
    let refused = curl(&authority, port, "shop.test", "/", &[]).await;
    assert!(refused.starts_with("curl: ("), "{refused}");
}
