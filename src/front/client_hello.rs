//! A look at a `ClientHello` before its handshake: rustls says `access_denied` to a client that asks
//! for a name without a certificate, which browsers take for a question for a certificate of theirs.

use bytes::BytesMut;
use pingora_core::protocols::l4::stream::Stream as Socket;
use rustls::ServerConfig;
use rustls::server::Acceptor;

use super::listener::{AcceptError, read_more};

/// A fatal `unrecognized_name` (RFC 6066, 3).
pub(super) const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// The longest `ClientHello` that is looked at; of a longer one the handshake decides.
const LONGEST: usize = 16 * 1024;

/// Whether there is a certificate for a client whose first bytes are these; reads on until it is
/// clear. What is no `ClientHello` is left to the handshake, which has the right alert for it.
pub(super) async fn is_known(
    config: &ServerConfig,
    socket: &mut Socket,
    bytes: &mut BytesMut,
) -> Result<bool, AcceptError> {
    let mut acceptor = Acceptor::default();
    let mut seen = 0;
    loop {
        let mut unread = bytes.get(seen..).unwrap_or_default();
        while !unread.is_empty() {
            if acceptor.read_tls(&mut unread)? == 0 {
                return Ok(true);
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let chosen = config.cert_resolver.resolve(accepted.client_hello());
                    return Ok(chosen.is_some());
                }
                Err(_malformed) => return Ok(true),
            }
        }
        seen = bytes.len();
        if seen > LONGEST {
            return Ok(true);
        }
        read_more(socket, bytes).await?;
    }
}
