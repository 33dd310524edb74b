//! Certificates of clients: who has to show one, and what apps are told about it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Client, Origin, TestProxy};
use crate::tls::{Authority, curl, tls_port};

/// A proxy whose clients may show certificates, and an app that they may reach with and without.
struct Site {
    authority: Authority,
    origin: Origin,
    proxy: TestProxy,
    port: u16,
}

impl Site {
    async fn start() -> Self {
        let authority = Authority::new();
        authority.sign("shop", "shop.test");
        authority.sign("client", "client.test");
        let origin = Origin::saying("app").await;
        let ca = authority.path().join("ca.pem");
        let optional = format!("  client_auth: {{mode: optional, ca: {}}}", ca.display());
        let proxy = TestProxy::start(&authority.configuration("shop", &optional)).await;
        let app = origin.port();
        proxy.register("/open", app).await;
        let closed = json!({"prefix": "/closed", "port": app, "client_certificate": "require"});
        let registered = proxy.register_json(closed.to_string()).await;
        assert_eq!(registered.status, 200, "{}", registered.text());
        let port = tls_port(&proxy).await;
        Self {
            authority,
            origin,
            proxy,
            port,
        }
    }

    /// What curl gets, with the certificate of a file or without one.
    async fn get(&self, path: &str, certificate: Option<&str>, more: &[&str]) -> String {
        let at = self.authority.path().display();
        let file = |extension: &str| {
            let name = certificate.unwrap_or_default();
            format!("{at}/{name}.{extension}")
        };
        let (certificate_file, key) = (file("pem"), file("key"));
        let mut all = more.to_vec();
        if certificate.is_some() {
            all.extend(["--cert", &certificate_file, "--key", &key]);
        }
        curl(&self.authority, self.port, "shop.test", path, &all).await
    }
}

/// What nobody but the proxy may say.
const CLAIMS: [&str; 8] = [
    "Client.Cert: :AAAA:",
    "X~Client+Cert.Subject: CN=root",
    "Client-Cert: :AAAA:",
    "Client-Cert-Chain: :AAAA:",
    "client_cert: :AAAA:",
    "X-Client-Cert-Subject: CN=root",
    "X_Client_Cert_Subject: CN=root",
    "x-client-cert-anything: 1",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_require_one() {
    let site = Site::start().await;
    for http in ["--http1.1", "--http2"] {
        let version = if http == "--http2" { "2" } else { "1.1" };
        let none = site
            .get("/closed", None, &[http, "-H", "Accept: application/json"])
            .await;
        assert!(none.contains("CLIENT_CERTIFICATE_REQUIRED"), "{none}");
        assert!(none.ends_with(&format!("\n{version} 403")), "{none}");
        let served = format!("app\n{version} 200");
        assert_eq!(site.get("/closed", Some("client"), &[http]).await, served);
        assert_eq!(site.get("/open", None, &[http]).await, served);
    }
    let cleartext = "GET /closed HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    let mut client = Client::connect(site.proxy.address()).await;
    assert_eq!(client.exchange(cleartext).await.status, 403);
    let stranger = Authority::new();
    stranger.sign("stranger", "client.test");
    for extension in ["pem", "key"] {
        let file = format!("stranger.{extension}");
        std::fs::copy(
            stranger.path().join(&file),
            site.authority.path().join(&file),
        )
        .unwrap();
    }
    let refused = site.get("/open", Some("stranger"), &[]).await;
    assert!(refused.starts_with("curl: ("), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_told_who_it_is() {
    let site = Site::start().await;
    let claims: Vec<&str> = CLAIMS.iter().flat_map(|claim| ["-H", claim]).collect();
    let pem = std::fs::read_to_string(site.authority.path().join("client.pem")).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    for http in ["--http1.1", "--http2"] {
        let mut more = claims.clone();
        more.push(http);
        site.get("/open", Some("client"), &more).await;
        let request = site.origin.requests().pop().unwrap();
        let field = |name: &str| request.field(name).map(str::to_owned);
        assert_eq!(field("client-cert"), Some(format!(":{der}:")), "{http}");
        assert!(STANDARD.decode(&der).is_ok());
        assert_eq!(
            field("x-client-cert-san").as_deref(),
            Some("DNS:client.test")
        );
        let issuer = field("x-client-cert-issuer").unwrap();
        assert!(issuer.contains("CN=authority of the test"), "{issuer}");
        assert!(field("x-client-cert-subject").unwrap().starts_with("CN="));
        assert_eq!(field("x-client-cert-sha256").unwrap().len(), 64);
        assert!(field("x-client-cert-serial").is_some());
        for claim in ["client-cert-chain", "client_cert", "x-client-cert-anything"] {
            assert_eq!(field(claim), None, "{claim}");
        }
        assert_eq!(field("x_client_cert_subject"), None);
        let all = &request.head.fields;
        let copies = all
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("client-cert"));
        assert_eq!(copies.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_say_it_himself() {
    let site = Site::start().await;
    let claims: Vec<&str> = CLAIMS.iter().flat_map(|claim| ["-H", claim]).collect();
    site.get("/open", None, &claims).await;
    let spoofed = format!(
        "GET /open HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n",
        CLAIMS.join("\r\n")
    );
    let mut client = Client::connect(site.proxy.address()).await;
    assert_eq!(client.exchange(spoofed).await.text(), "app");
    let requests = site.origin.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        for (name, value) in &request.head.fields {
            let name = name.to_ascii_lowercase();
            let name = name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
            assert!(!name.contains("client-cert"), "{name}: {value}");
        }
    }
}
