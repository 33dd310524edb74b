//! The connection to the control API, and the calls over it.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::Answer;
use super::body::Body;
use super::call::Call;
use super::endpoint::Endpoint;
use super::error::{ClientError, Refusal};

/// The longest answer: a million routes with room to spare.
const LONGEST_ANSWER: usize = 1 << 30;

/// The longest answer of a refusal.
const LONGEST_REFUSAL: usize = 1 << 20;

/// A client with at most one connection, which is kept between calls.
pub(in super::super) struct Client {
    endpoint: Endpoint,
    token: Option<HeaderValue>,
    timeout: Duration,
    sender: Option<SendRequest<Body>>,
}

impl Client {
    /// A client without a connection; its first call makes one.
    pub(super) fn new(endpoint: Endpoint, token: Option<HeaderValue>, timeout: Duration) -> Self {
        Self {
            endpoint,
            token,
            timeout,
            sender: None,
        }
    }

    /// The address as a user would write it.
    pub(in super::super) fn address(&self) -> String {
        self.endpoint.to_string()
    }

    /// This client with another deadline.
    pub(in super::super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Makes a call and reads its answer; one that is not a success is an error.
    pub(in super::super) async fn call(&mut self, call: Call) -> Result<Answer, ClientError> {
        let response = self.open(call).await?;
        let (head, body) = response.into_parts();
        let body = self.collect(body, LONGEST_ANSWER).await?;
        Ok(Answer {
            fields: head.headers,
            body,
        })
    }

    /// Makes a call whose answer goes on: it is read as it comes, and its connection is not used again.
    pub(super) async fn stream(&mut self, call: Call) -> Result<Incoming, ClientError> {
        let body = self.open(call).await?.into_body();
        self.sender = None;
        Ok(body)
    }

    /// Makes a call, up to the head of its answer.
    async fn open(&mut self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let response = self.send(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = self.collect(body, LONGEST_REFUSAL).await?;
        let refusal = Refusal::read(head.status, &body, self.token.is_some());
        Err(ClientError::Refused(Box::new(refusal)))
    }

    /// Sends on the connection that is there; on a new one if it has ended meanwhile and nothing of
    /// the call has been sent.
    async fn send(&mut self, call: Call) -> Result<Response<Incoming>, ClientError> {
        let mut request = self.request(call)?;
        if let Some(kept) = self.sender.take().filter(|sender| !sender.is_closed()) {
            match self.attempt(kept, request).await? {
                Ok(response) => return Ok(response),
                Err(unsent) => request = unsent,
            }
        }
        let fresh = self.connect().await?;
        match self.attempt(fresh, request).await? {
            Ok(response) => Ok(response),
            Err(_unsent) => Err(self.silent("ended the connection before the call was sent")),
        }
    }

    /// One attempt; the request comes back if nothing of it was sent.
    async fn attempt(
        &mut self,
        mut sender: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Result<Response<Incoming>, Request<Body>>, ClientError> {
        let progress = request.body().progress();
        let sending = async {
            if let Err(error) = sender.ready().await {
                log::debug!("the kept connection has ended: {error}");
                return Ok(Err(request));
            }
            match sender.try_send_request(request).await {
                Ok(response) => Ok(Ok(response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => Ok(Err(unsent)),
                    None => Err(error.into_error()),
                },
            }
        };
        let watchdog = async {
            // As long as bytes go out, the proxy is at work.
            while progress.at() + self.timeout > Instant::now() {
                sleep_until(progress.at() + self.timeout).await;
            }
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = watchdog => return Err(self.too_slow()),
        };
        match sent {
            Ok(Ok(response)) => {
                self.sender = Some(sender);
                Ok(Ok(response))
            }
            Ok(Err(unsent)) => Ok(Err(unsent)),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn request(&self, call: Call) -> Result<Request<Body>, ClientError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.target)
            .body(Body::new(call.body, call.progress))
            .map_err(|error| ClientError::Request(error.to_string()))?;
        let fields = request.headers_mut();
        fields.extend(call.fields);
        fields.insert(HOST, self.endpoint.authority());
        if let Some(token) = &self.token {
            fields.insert(AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, ClientError> {
        let failed = |source| ClientError::Connect {
            endpoint: self.endpoint.to_string(),
            source,
        };
        let connecting = async {
            match &self.endpoint {
                Endpoint::Tcp { host, port, .. } => {
                    let stream = TcpStream::connect((host.as_str(), *port))
                        .await
                        .map_err(failed)?;
                    stream.set_nodelay(true).map_err(failed)?;
                    self.shake_hands(TokioIo::new(stream)).await
                }
                Endpoint::Unix(path) => {
                    let stream = UnixStream::connect(path).await.map_err(failed)?;
                    self.shake_hands(TokioIo::new(stream)).await
                }
            }
        };
        timeout(self.timeout, connecting)
            .await
            .map_err(|_elapsed| failed(io::ErrorKind::TimedOut.into()))?
    }

    async fn shake_hands<T>(&self, stream: T) -> Result<SendRequest<Body>, ClientError>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(stream)
            .await
            .map_err(|source| self.broken(source))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("the connection to the control API: {error}");
            }
        });
        Ok(sender)
    }

    async fn collect(&self, mut body: Incoming, most: usize) -> Result<Bytes, ClientError> {
        let mut whole = BytesMut::new();
        loop {
            let frame = timeout(self.timeout, body.frame())
                .await
                .map_err(|_elapsed| self.too_slow())?;
            let Some(frame) = frame else {
                return Ok(whole.freeze());
            };
            let frame = frame.map_err(|source| self.broken(source))?;
            if let Some(data) = frame.data_ref() {
                if whole.len() + data.len() > most {
                    return Err(self.silent("sent an answer that is too long"));
                }
                whole.extend_from_slice(data);
            }
        }
    }

    fn too_slow(&self) -> ClientError {
        ClientError::TooSlow {
            endpoint: self.endpoint.to_string(),
            after: self.timeout,
        }
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken {
            endpoint: self.endpoint.to_string(),
            source,
        }
    }

    fn silent(&self, what: &'static str) -> ClientError {
        ClientError::Odd {
            endpoint: self.endpoint.to_string(),
            what: what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
