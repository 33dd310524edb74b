//! A request from its plan to its end: connections that are tried, sent again, failures.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response};
use log::debug;
use pingora_timeout::timeout;

use super::Direct;
use super::answer::Asked;
use super::answering::Answering;
use super::body::Framing;
use super::client::Client;
use super::failure::Failure;
use super::http1::Http1;
use super::name::Name;
use super::plan::Plan;
use super::pump::{Left, Pump, Upload};
use super::socket::Socket;
use super::tunnel::{Flow, Tunnel};
use crate::answer::Refusal;
use crate::front::{Deadline, Ended, Leash};
use crate::proxy::demand::Way;
use crate::proxy::error::{self, Fault};
use crate::proxy::peer;
use crate::proxy::session::DRAIN;
use crate::registry::ProxyError;

/// A request on its way.
pub(super) struct Exchange<'x, C> {
    direct: &'x Direct,
    client: C,
    answering: Answering,
    upload: Upload,
    leash: &'x Leash,
    /// Whether it may be made twice (RFC 9110, 9.2.2): not if it asks for another protocol.
    is_idempotent: bool,
    has_certificate: bool,
    /// Set once the request has been sent again on a new connection.
    is_resent: bool,
    /// How many connections have been tried.
    tries: usize,
    /// The connection to the target, once it has agreed to another protocol.
    switched: Option<Socket>,
}

/// Why a try has failed, and whether there may be another.
struct Miss {
    failure: Failure,
    /// Whether the connection had died idle, before a byte of an answer.
    died_idle: bool,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            died_idle: false,
        }
    }
}

/// What an exchange over HTTP/1 leaves behind.
pub(super) enum Outcome<'c> {
    Ended(Ended),
    Switched(Box<Tunnel<'c>>),
}

impl<'c> Exchange<'_, Http1<'c>> {
    /// What is left when the answer is complete, or failed.
    pub(super) fn into_outcome(self, timer: &'c mut Deadline) -> Outcome<'c> {
        let name = self.switched.is_some().then(|| self.name());
        match (self.switched, self.answering.visit, name) {
            (Some(target), Some(visit), Some(name)) => Outcome::Switched(Box::new(Tunnel {
                client: self.client.into_connection(),
                target,
                timer,
                policy: self.answering.policy,
                visit,
                name,
                flow: Flow::default(),
            })),
            _ => Outcome::Ended(self.client.ended()),
        }
    }
}

impl<'x, C: Client> Exchange<'x, C> {
    pub(super) fn new(direct: &'x Direct, plan: Plan, client: C, leash: &'x Leash) -> Self {
        let asked = match plan.body {
            Framing::Upgrade => Asked::Upgrade,
            _ if plan.method == Method::HEAD => Asked::Head,
            _ => Asked::Body,
        };
        Self {
            direct,
            client,
            upload: Upload::new(plan.head, plan.body),
            leash,
            is_idempotent: plan.method.is_idempotent() && asked != Asked::Upgrade,
            has_certificate: plan.has_certificate,
            is_resent: false,
            tries: 0,
            switched: None,
            answering: Answering {
                policy: Arc::clone(&direct.policy),
                visit: Some(plan.visit),
                id: plan.id,
                asked,
                is_encrypted: plan.is_encrypted,
            },
        }
    }

    /// Answers the request.
    pub(super) async fn run(&mut self, timer: &mut Deadline) {
        self.answer(timer).await;
        if self.client.wants_drain() {
            Box::pin(self.drain()).await;
        }
    }

    async fn answer(&mut self, timer: &mut Deadline) {
        loop {
            let Err(miss) = self.attempt(timer).await else {
                return;
            };
            let may_resend = miss.died_idle
                && self.is_idempotent
                && !self.is_resent
                && self.tries < self.direct.most_tries;
            if !may_resend || !self.upload.rewind() {
                return Box::pin(self.fail(miss.failure)).await;
            }
            debug!(
                "{}: sent again, its connection had died: {}",
                self.summary(),
                miss.failure.reason
            );
            self.is_resent = true;
            if let Err(failure) = self.find_again(miss.failure) {
                return Box::pin(self.fail(failure)).await;
            }
        }
    }

    /// Sends the request over one connection, and moves its answer.
    async fn attempt(&mut self, timer: &mut Deadline) -> Result<(), Miss> {
        let (socket, is_reused) = self.connect().await?;
        if is_reused && self.is_idempotent {
            self.upload.keep();
        }
        let timeouts = self.answering.policy.options.timeouts;
        let mut pump = Pump::new(
            &mut self.client,
            &mut self.upload,
            &mut self.answering,
            socket,
            timeouts,
        );
        let leash = self.leash;
        let done = std::future::poll_fn(|context| pump.poll(context, leash, timer)).await;
        let has_heard = pump.has_heard();
        match done {
            Ok(()) => {
                match pump.into_left() {
                    Left::Idle(socket) => self.keep(socket),
                    Left::Switched(socket) => self.switched = Some(socket),
                    Left::Nothing => {}
                }
                Ok(())
            }
            Err(failure) => Err(Miss {
                died_idle: is_reused && failure.is_death && !has_heard,
                failure,
            }),
        }
    }

    /// Keeps a connection for the next request, unless there is none to come.
    fn keep(&self, socket: Socket) {
        let Some(visit) = &self.answering.visit else {
            return;
        };
        let instance = visit.instance();
        if instance.drain_ends().is_none() {
            self.direct.pool.keep(socket);
        }
    }

    /// A connection to the chosen instance, or to one behind it; and whether it was used before.
    async fn connect(&mut self) -> Result<(Socket, bool), Failure> {
        let mut failure = Failure::of_origin(ProxyError::NotFound, "the route went away meanwhile");
        let Some(visit) = &mut self.answering.visit else {
            return Err(failure);
        };
        let chosen = visit.index();
        let mut attempt = 0;
        while let Some((index, address)) = peer::aim(visit.route(), chosen, attempt)
            && self.tries < self.direct.most_tries
        {
            self.tries += 1;
            let instance = visit.route().instance(index);
            self.leash.serve(instance.serial);
            if instance.is_over() {
                // Before that call nobody could have cut it.
                return Err(Failure::drained());
            }
            if !self.is_resent
                && let Some(socket) = self.direct.pool.take(address, instance.serial)
            {
                visit.go_to(index);
                return Ok((socket, true));
            }
            match unless_cut(self.leash, self.direct.connect(instance, address)).await {
                None => return Err(Failure::drained()),
                Some(Ok(socket)) => {
                    visit.go_to(index);
                    return Ok((socket, false));
                }
                Some(Err(error)) => failure = Failure::unreachable(error),
            }
            attempt += 1;
        }
        Err(failure)
    }

    /// Finds the route of a request that is sent again; it may be another by now, and ask for more.
    fn find_again(&mut self, failure: Failure) -> Result<(), Failure> {
        let policy = Arc::clone(&self.answering.policy);
        let Some(view) = self.client.view() else {
            // It was read once, so it can be.
            return Err(failure);
        };
        policy.find(&view, &mut self.answering.visit);
        let Some(visit) = &self.answering.visit else {
            let reason = "the route went away meanwhile";
            return Err(Failure::of_origin(ProxyError::NotFound, reason));
        };
        let method = self.client.method();
        let way = || Way {
            is_encrypted: self.answering.is_encrypted,
            has_certificate: self.has_certificate,
            host: &view.host,
            method: &method,
            target: self.client.target(),
        };
        if let Err(unmet) = policy.meet(visit.route(), way) {
            return Err(Failure::refused(unmet.refusal()));
        }
        if visit.route().is_plain() {
            Ok(())
        } else {
            // Another way, and the request is on this one.
            Err(failure)
        }
    }

    /// Ends a failed exchange: tells everybody, and the client if it has no answer yet.
    #[cold]
    async fn fail(&mut self, failure: Failure) {
        let summary = self.summary();
        failure.log(&summary);
        let (refusal, own) = match failure.fault {
            Fault::ClientGone => return self.client.abandon(),
            Fault::Origin(error) => self.tell(error),
            Fault::Client(refusal) => (refusal, None),
            Fault::Proxy => (error::internal(), None),
        };
        // What follows is the proxy's own, which no instance can be taken down under.
        self.leash.release();
        if !self.client.has_begun() {
            return self.refuse(&refusal, own).await;
        }
        // What has come of the answer is the client's, its end is not.
        let client = &mut self.client;
        let sent = std::future::poll_fn(|context| client.poll_flush(context));
        if let Ok(Err(failure)) = timeout(DRAIN, sent).await {
            debug!("{summary}: the client has gone: {}", failure.reason);
        }
        self.client.abandon();
    }

    /// Reads the rest of a body whose answer came before its end, so that the kernel does not reset the
    /// connection and lose the answer on its way (RFC 9112, 9.6).
    async fn drain(&mut self) {
        let client = &mut self.client;
        let mut room = [0; 4096];
        let rest = async {
            loop {
                match std::future::poll_fn(|context| client.poll_body(context, &mut room)).await {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(failure) => return Err(failure),
                }
            }
        };
        match timeout(DRAIN, Box::pin(rest)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => debug!("a refused client broke off: {}", failure.reason),
            Err(_elapsed) => debug!("a refused client goes on sending; its connection is closed"),
        }
    }

    /// Emits the event, and makes the answer.
    fn tell(&self, error: ProxyError) -> (Refusal, Option<Response<Bytes>>) {
        let name = self.name();
        let visit = self.answering.visit.as_ref();
        name.tell(&self.answering.policy, visit, error)
    }

    /// Answers in the target's place.
    async fn refuse(&mut self, refusal: &Refusal, own: Option<Response<Bytes>>) {
        let answer = own.unwrap_or_else(|| {
            let body = refusal.body(self.client.accept());
            let mut response = Response::new(body.bytes);
            *response.status_mut() = refusal.status;
            let fields = response.headers_mut();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        });
        self.client.close();
        let (answering, client) = (&mut self.answering, &mut self.client);
        let limit = answering.policy.options.timeouts.send;
        let told = async {
            answering.write(client, &answer)?;
            std::future::poll_fn(|context| Poll::Ready(client.write(context, answer.body())))
                .await?;
            client.end()?;
            std::future::poll_fn(|context| client.poll_flush(context)).await
        };
        let told = match limit {
            Some(limit) => match timeout(limit, told).await {
                Ok(told) => told,
                Err(_elapsed) => Err(Failure::gone("it does not take its answer")),
            },
            None => told.await,
        };
        if let Err(failure) = told {
            debug!(
                "{}: the client left before its answer: {}",
                self.summary(),
                failure.reason
            );
            self.client.abandon();
        }
    }

    fn name(&self) -> Name {
        let as_it_came = || String::from_utf8_lossy(self.client.target()).into_owned();
        let (host, path) = match self.client.view() {
            Some(view) => (view.host.into_owned(), view.path.into_owned()),
            None => (String::new(), as_it_came()),
        };
        Name {
            method: self.client.method(),
            host,
            path,
        }
    }

    /// The request in a log line.
    fn summary(&self) -> String {
        self.name().summary(self.answering.visit.as_ref())
    }
}

/// Waits for what is no read or write of the client's, unless the exchange is cut meanwhile.
pub(super) async fn unless_cut<T>(leash: &Leash, wait: impl Future<Output = T>) -> Option<T> {
    let mut wait = std::pin::pin!(wait);
    std::future::poll_fn(|context| match wait.as_mut().poll(context) {
        Poll::Pending if leash.is_cut() => Poll::Ready(None),
        waited => waited.map(Some),
    })
    .await
}
