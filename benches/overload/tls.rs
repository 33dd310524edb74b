//! The certificate of the proxy, and clients that trust it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::Result;

const NAME: &str = "localhost";

/// A certificate that has signed itself.
pub(crate) struct Certificate {
    config: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes one, and leaves it with its key in a folder: `cert.pem` and `key.pem`.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        fs::write(folder.join("cert.pem"), made.cert.pem())?;
        fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// A client that trusts it and resumes nothing.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }
}

/// The name that the certificate is for.
pub(crate) fn name() -> Result<ServerName<'static>> {
    Ok(ServerName::try_from(NAME)?)
}
