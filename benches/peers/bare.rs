//! The least that a proxy on Pingora can be: a `ProxyHttp` with one target. Same build, allocator,
//! cryptography and runtime as the proxy's, so that the difference is the proxy's own part.

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::{HttpPeer, ProxyHttp, Session, http_proxy_service};
use pingora::protocols::ALPN;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What it is told on the command line, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    /// The certificate and the key, if it is to speak TLS.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    pub(crate) target: SocketAddr,
    /// Whether the target speaks HTTP/2.
    pub(crate) h2c: bool,
}

struct Bare {
    target: SocketAddr,
    h2c: bool,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.target, false, String::new());
        if self.h2c {
            peer.options.alpn = ALPN::H2;
        }
        Ok(Box::new(peer))
    }
}

/// Serves until a signal ends the process.
pub(crate) fn serve(settings: &str) -> Result<()> {
    let settings: Settings = serde_json::from_str(settings)?;
    dynamic_reverse_proxy::tls::install();
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 128,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare {
        target: settings.target,
        h2c: settings.h2c,
    };
    let mut service = http_proxy_service(&server.configuration, bare);
    let address = format!("127.0.0.1:{}", settings.port);
    if let Some((certificate, key)) = &settings.tls {
        let mut tls =
            TlsSettings::intermediate(&certificate.to_string_lossy(), &key.to_string_lossy())?;
        tls.enable_h2();
        service.add_tls_with_settings(&address, None, tls);
    } else {
        service.add_tcp(&address);
    }
    server.add_service(service);
    server.run_forever()
}
