//! Clients of HTTP/1.0 get no chunks, which they do not know (RFC 9112, 6.1): their bodies end with the
//! connection.

use std::any::Any;

use async_trait::async_trait;
use http::Version;
use http::header::TRANSFER_ENCODING;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_core::modules::http::{HttpModule, HttpModuleBuilder, Module};

/// Makes the module of each request. Pingora decides on chunks behind the last filter of the proxy, and
/// asks only its modules after that.
pub(in crate::proxy) struct NoChunks;

/// Whether the client of a request speaks HTTP/1.0.
#[derive(Default)]
struct ForClient {
    is_http10: bool,
}

impl HttpModuleBuilder for NoChunks {
    fn init(&self) -> Module {
        Box::new(ForClient::default())
    }
}

#[async_trait]
impl HttpModule for ForClient {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.is_http10 = request.version == Version::HTTP_10;
        Ok(())
    }

    /// Without its coding and without a length, Pingora ends the body with the connection.
    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        _is_end: bool,
    ) -> Result<()> {
        if self.is_http10 {
            response.remove_header(&TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
