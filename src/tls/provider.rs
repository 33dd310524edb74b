//! The cryptography behind TLS: aws-lc-rs.
//!
//! Chosen by `cargo bench --bench tls_handshake`, whose source holds the figures: it is faster than
//! ring, and alone has the hybrid X25519MLKEM768.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    })
});

/// The algorithms of all TLS here; X25519MLKEM768 comes first in the exchange of keys.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Makes [`provider`] the process's default. The first one wins, so this comes before Pingora, which
/// installs ring.
pub fn install() {
    let provider = CryptoProvider::clone(&PROVIDER);
    if provider.install_default().is_err() {
        log::debug!("the process has its default of TLS already");
    }
}
