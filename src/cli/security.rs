//! What a route asks of its clients' connections, as options of the commands that put or register
//! one.

use clap::Args;

use super::wire::Security;

/// The options.
#[derive(Args, Debug)]
pub(super) struct SecurityArgs {
    /// What becomes of requests in cleartext: optional (they are served), redirect (308 to https) or
    /// require (403); by default what `tls.routes` of the proxy's configuration says.
    #[arg(long, value_name = "POLICY", value_parser = ["optional", "redirect", "require"])]
    tls: Option<String>,
    /// The field Strict-Transport-Security of answers over TLS, or off; by default what `tls.hsts`
    /// says.
    #[arg(long, value_name = "VALUE")]
    hsts: Option<String>,
    /// Whether clients have to show a certificate: optional (the default) or require (403).
    #[arg(long, value_name = "WHETHER", value_parser = ["optional", "require"])]
    client_certificate: Option<String>,
}

impl SecurityArgs {
    /// The settings as the API takes them.
    pub(super) fn settings(&self) -> Security {
        Security {
            tls: self.tls.clone(),
            hsts: self.hsts.clone(),
            client_certificate: self.client_certificate.clone(),
        }
    }
}
