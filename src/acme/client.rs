//! The HTTP client of a certificate authority: HTTPS, one connection a request, with limits. It keeps
//! what the ACME library does not tell (`Retry-After` of an error), and lets nothing through that the
//! library would fall over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use log::debug;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::{Authorities, provider};

/// The time for a request, its connection and its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of an answer; a chain has less than ten thousand.
const LARGEST: usize = 1024 * 1024;

/// A server that wants to be left alone for longer is asked all the same.
const LONGEST_WAIT: Duration = Duration::from_hours(7 * 24);

/// The pause before renewal information is requested again, without a `Retry-After` (RFC 9773, 4.3.2).
const ASK_AGAIN: Duration = Duration::from_hours(6);

/// Why a request has no answer.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error("{0} is not a URL of https with a host")]
    Url(Uri),
    #[error("{0} cannot be reached: {1}")]
    Connect(String, std::io::Error),
    #[error("{0} cannot be trusted: {1}; if it is a private authority, name its root in `acme.ca`")]
    Tls(String, std::io::Error),
    #[error("{0} does not speak HTTP: {1}")]
    Http(String, hyper::Error),
    #[error("{0} broke off: {1}")]
    Body(String, Box<dyn std::error::Error + Send + Sync>),
    #[error("{0} did not answer within {TIMEOUT:?}")]
    TooSlow(String),
    #[error("{0} answered {1}, without a reason")]
    Status(Uri, StatusCode),
    #[error("{0} is not the directory of a certificate authority: {1}; check `acme.directory`")]
    Directory(Uri, String),
    #[error(
        "this machine has no certificate authorities ({0}); install ca-certificates, or name a file \
         of them in `acme.ca`"
    )]
    NoAuthorities(String),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// The client. Clones are the same.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
    directory: Arc<str>,
    retry_after: RetryAfter,
}

/// When the server wants to be asked again, as it said last with an error.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<SystemTime>>>);

impl RetryAfter {
    /// The moment, once.
    pub(super) fn take(&self) -> Option<SystemTime> {
        self.0.lock().take()
    }
}

impl Client {
    /// A client that trusts the system's authorities and some others.
    pub(super) fn new(directory: &str, more: Option<&Authorities>) -> Result<Self, ClientError> {
        let mut roots = more.map_or_else(RootCertStore::empty, Authorities::to_roots);
        match rustls_native_certs::load_native_certs() {
            Ok(native) => drop(roots.add_parsable_certificates(native)),
            Err(error) if roots.is_empty() => {
                return Err(ClientError::NoAuthorities(error.to_string()));
            }
            Err(error) => debug!("the system's authorities cannot be read: {error}"),
        }
        if roots.is_empty() {
            return Err(ClientError::NoAuthorities("none were found".to_owned()));
        }
        let mut tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(tls),
            directory: directory.into(),
            retry_after: RetryAfter::default(),
        })
    }

    pub(super) fn retry_after(&self) -> RetryAfter {
        self.retry_after.clone()
    }

    async fn answer(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, ClientError> {
        let (uri, method) = (request.uri().clone(), request.method().clone());
        let shown = uri.host().unwrap_or_default().to_owned();
        let answer = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
        let (mut parts, body) = answer
            .map_err(|_elapsed| ClientError::TooSlow(shown))??
            .into_parts();
        self.check_retry_after(&mut parts.headers, parts.status, &method);
        if parts.status.is_client_error() || parts.status.is_server_error() {
            // The library wants every error to say why (RFC 8555, 6.7).
            let is_problem = matches!(
                serde_json::from_slice(&body),
                Ok(serde_json::Value::Object(_))
            );
            if !is_problem || *uri.to_string() == *self.directory {
                return Err(ClientError::Status(uri, parts.status));
            }
        } else if *uri.to_string() == *self.directory {
            check_directory(&uri, &body)?;
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(body),
        })
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, ClientError> {
        let uri = request.uri().clone();
        let bad = || ClientError::Url(uri.clone());
        let authority = uri.authority().ok_or_else(bad)?;
        let host = authority.host();
        if uri.scheme_str() != Some("https") || host.is_empty() {
            return Err(bad());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_not_a_name| bad())?;
        let shown = || host.to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let socket = TcpStream::connect((bare, port))
            .await
            .map_err(|error| ClientError::Connect(shown(), error))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, socket)
            .await
            .map_err(|error| ClientError::Tls(shown(), error))?;
        let http = |error| ClientError::Http(shown(), error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        // It ends with the sender.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!("the connection to a certificate authority: {error}");
            }
        });
        let field = HeaderValue::from_str(authority.as_str()).map_err(|_not_a_field| bad())?;
        request.headers_mut().insert(HOST, field);
        if let Some(path) = uri.path_and_query() {
            *request.uri_mut() = path.clone().into();
        }
        let (parts, body) = sender
            .send_request(request)
            .await
            .map_err(http)?
            .into_parts();
        let body = Limited::new(body, LARGEST)
            .collect()
            .await
            .map_err(|error| ClientError::Body(shown(), error))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// Keeps when to ask again after an error, and makes it a number that no clock overflows with.
    fn check_retry_after(&self, fields: &mut HeaderMap, status: StatusCode, method: &Method) {
        let wait = fields.remove(RETRY_AFTER).and_then(|value| wait(&value));
        let is_error = status.is_client_error() || status.is_server_error();
        if is_error {
            let until = wait.and_then(|wait| SystemTime::now().checked_add(wait));
            *self.retry_after.0.lock() = until;
        }
        let wait = match wait {
            None if *method == Method::GET => ASK_AGAIN,
            None => return,
            Some(wait) => wait,
        };
        fields.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let answer = client.answer(request).await;
            answer.map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

/// How long a server wants to be left alone (RFC 9110, 10.2.3).
fn wait(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_not_seconds) => {
            let until = httpdate::parse_http_date(text).ok()?;
            // In the past: at once.
            until
                .duration_since(SystemTime::now())
                .unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Checks that a directory has the URLs that the ACME library takes for granted (RFC 8555, 7.1.1).
fn check_directory(uri: &Uri, body: &[u8]) -> Result<(), ClientError> {
    #[derive(Deserialize)]
    struct Urls {
        #[serde(rename = "newNonce")]
        nonce: String,
        #[serde(rename = "newAccount")]
        account: String,
        #[serde(rename = "newOrder")]
        order: String,
    }
    let wrong = |reason: String| ClientError::Directory(uri.clone(), reason);
    let urls: Urls = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    for url in [urls.nonce, urls.account, urls.order] {
        url.parse::<Uri>()
            .map_err(|error| wrong(format!("{url:?} is no URL: {error}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date_and_has_an_end() {
        let wait = |text: &str| wait(&HeaderValue::from_str(text).unwrap());
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait(" 0 "), Some(Duration::ZERO));
        assert_eq!(wait("18446744073709551615"), Some(LONGEST_WAIT));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_WAIT));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn a_directory_has_the_urls_that_are_needed() {
        let uri = Uri::from_static("https://ca.test/dir");
        let check = |text: &str| check_directory(&uri, text.as_bytes());
        let good =
            r#"{"newNonce":"https://a/n","newAccount":"https://a/a","newOrder":"https://a/o"}"#;
        assert!(check(good).is_ok());
        for bad in [
            "<html>",
            "{}",
            r#"{"newNonce":"a b","newAccount":"https://a/a","newOrder":"https://a/o"}"#,
        ] {
            let error = check(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("https://ca.test/dir is not the directory"),
                "{error}"
            );
        }
    }
}
