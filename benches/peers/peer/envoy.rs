//! Envoy, from `PyPI`, with a configuration that does not change.

use std::fmt::Write as _;

use super::{Needs, Peer, Places, Setup, Source};
use crate::process::Program;
use crate::{Result, routes};

pub(super) struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn version(&self, places: &Places) -> Result<String> {
        // "envoy  version: COMMIT/VERSION/Clean/RELEASE/BoringSSL"
        let said = places.says(Source::Pypi, "envoy", "--version")?;
        Ok(said.split('/').rev().nth(3).ok_or("no version")?.to_owned())
    }

    fn lacks(&self, needs: &Needs) -> Option<&'static str> {
        if needs.routes > 1000 {
            Some("it tries its routes one after the other: 1,000 at most here")
        } else if needs.dynamic || needs.churn {
            Some("no API for routes: they come from a control plane of one's own")
        } else if needs.leases {
            Some("no leases")
        } else {
            needs.beyond_plain()
        }
    }

    fn program(&self, setup: &Setup<'_>) -> Result<Option<Program>> {
        let program = setup.places.program(Source::Pypi, "envoy")?;
        let mut list = String::new();
        for number in 0..setup.needs.routes {
            let prefix = routes::prefix(number);
            write!(
                list,
                "- {{match: {{prefix: {prefix}/}}, route: {{cluster: origin, timeout: 0s}}}}\n              "
            )?;
        }
        let tls = if setup.needs.tls {
            transport_socket(setup)
        } else {
            String::new()
        };
        let text = setup.fill(
            include_str!("../conf/envoy.yaml"),
            &[("routes", list), ("tls", tls)],
        );
        let path = setup.folder.join("envoy.yaml");
        std::fs::write(&path, text)?;
        let path = path.display().to_string();
        let arguments = [
            "--config-path",
            &path,
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ];
        Ok(Some(Program::new(program, arguments)))
    }
}

/// TLS of a listener.
fn transport_socket(setup: &Setup<'_>) -> String {
    let identity = setup.identity;
    format!(
        r#"transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_maximum_protocol_version: TLSv1_3}}
            tls_certificates: [{{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}]"#,
        identity.certificate.display(),
        identity.key.display()
    )
}
