//! A call from its plan to its end: connections that are tried, made again, failures.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Response};
use log::debug;
use pingora_timeout::timeout;

use super::super::Direct;
use super::super::exchange::unless_cut;
use super::super::failure::{self, Failure};
use super::super::name::Name;
use super::super::pool::Kept;
use super::answer::Answer;
use super::line::{Line, Sent};
use super::plan::{Call, Facts, takes_calls};
use super::pump::{Expected, Miss, Pump};
use super::upload::Upload;
use crate::front::{Caller, Deadline, Incoming, Leash};
use crate::proxy::context::View;
use crate::proxy::demand::Way;
use crate::proxy::error::{self, Fault};
use crate::proxy::options::Timeouts;
use crate::proxy::peer;
use crate::proxy::visit::Visit;
use crate::registry::ProxyError;

/// A call on its way.
pub(in super::super) struct Exchange<'x> {
    direct: &'x Direct,
    head: Parts,
    facts: Facts,
    upload: Upload,
    answer: Answer<'x>,
    timeouts: Timeouts,
    leash: &'x Leash,
    has_certificate: bool,
    /// Set once the call has been made again on a new connection.
    is_resent: bool,
    /// How many connections have been tried.
    tries: usize,
}

impl<'x> Exchange<'x> {
    pub(in super::super) fn new(
        direct: &'x Direct,
        call: Call,
        request: Incoming,
        leash: &'x Leash,
    ) -> Self {
        let (visit, id) = (call.visit, call.id);
        Self {
            direct,
            head: request.head,
            facts: call.facts,
            upload: Upload::new(request.body),
            answer: Answer::new(&direct.policy, request.reply, visit, id, call.is_encrypted),
            timeouts: call.timeouts,
            leash,
            has_certificate: call.has_certificate,
            is_resent: false,
            tries: 0,
        }
    }

    /// Answers the call.
    pub(in super::super) async fn run(&mut self, timer: &mut Deadline) {
        loop {
            let Err(miss) = self.attempt(timer).await else {
                return;
            };
            let may_resend = miss.is_untouched
                && !self.is_resent
                && !self.answer.has_begun()
                && self.tries < self.direct.most_tries;
            if !may_resend || !self.upload.rewind() {
                return Box::pin(self.fail(miss)).await;
            }
            let reason = &miss.failure.reason;
            debug!(
                "{}: sent again, nobody has looked at it: {reason}",
                self.summary()
            );
            self.is_resent = true;
            match self.find_again() {
                Ok(true) => {}
                Ok(false) => return Box::pin(self.fail(miss)).await,
                Err(failure) => return Box::pin(self.fail(failure.into())).await,
            }
        }
    }

    /// Sends the call over one connection, and moves its answer.
    async fn attempt(&mut self, timer: &mut Deadline) -> Result<(), Miss> {
        let is_whole = self.upload.is_over();
        let (line, sent) = self.send(is_whole).await?;
        let (upload, answer) = (&mut self.upload, &mut self.answer);
        let mut pump = Pump::new(upload, answer, line, sent, is_whole, self.timeouts);
        let leash = self.leash;
        let done = std::future::poll_fn(|context| pump.poll(context, leash, timer)).await;
        // One that hangs would keep the next call waiting as well.
        let is_late = |miss: &Miss| miss.failure.fault == Fault::Origin(ProxyError::Timeout);
        let line = pump.into_line();
        if !done.as_ref().is_err_and(is_late) {
            self.keep(line);
        }
        done
    }

    /// Keeps a connection for the next call, unless there is none to come.
    fn keep(&self, line: Line) {
        if let Some(visit) = &self.answer.visit
            && visit.instance().drain_ends().is_none()
            && line.is_usable()
        {
            self.direct.lines.keep(line);
        }
    }

    /// Sends the head of the call to the chosen instance, or to one behind it.
    async fn send(&mut self, is_whole: bool) -> Result<(Line, Sent), Miss> {
        let mut miss = Miss::from(gone_away());
        let Some(chosen) = self.answer.visit.as_ref().map(Visit::index) else {
            return Err(miss);
        };
        let mut attempt = 0;
        while self.tries < self.direct.most_tries
            && let Some(visit) = &mut self.answer.visit
            && let Some((index, address)) = peer::aim(visit.route(), chosen, attempt)
        {
            let instance = visit.route().instance(index);
            self.leash.serve(instance.serial);
            if instance.is_over() {
                // Before that call nobody could have cut it.
                return Err(Failure::drained().into());
            }
            if !self.is_resent
                && let Some(line) = self.direct.lines.take(address, instance.serial)
            {
                visit.go_to(index);
                match line.send(self.request(), is_whole) {
                    Ok(sent) => return Ok((line, sent)),
                    // It has ended meanwhile; the next has not, or is new.
                    Err(error) => debug!("a connection to a target takes no more: {error}"),
                }
                continue;
            }
            self.tries += 1;
            match unless_cut(self.leash, self.direct.connect(instance, address)).await {
                None => return Err(Failure::drained().into()),
                Some(Ok(socket)) => {
                    visit.go_to(index);
                    let line = Line::open(socket).await;
                    let sent = line.and_then(|line| {
                        let sent = line.send(self.request(), is_whole)?;
                        Ok((line, sent))
                    });
                    return sent.map_err(|error| Miss::of_target(error, Expected::Head));
                }
                Some(Err(error)) => miss = Failure::unreachable(error).into(),
            }
            attempt += 1;
        }
        Err(miss)
    }

    fn request(&self) -> http::Request<()> {
        let id_field = self.direct.policy.id_field;
        self.facts
            .request(&self.head, self.caller(), id_field, &self.answer.id)
    }

    fn caller(&self) -> &Caller {
        &self.answer.reply.client().caller
    }

    /// Finds the route of a call that is made again; it may be another by now, and ask for more. Whether it
    /// is one for this way.
    fn find_again(&mut self) -> Result<bool, Failure> {
        let policy = Arc::clone(&self.direct.policy);
        let Some(view) = view(&self.head) else {
            // It was read once, so it can be.
            return Ok(false);
        };
        policy.find(&view, &mut self.answer.visit);
        let Some(visit) = &self.answer.visit else {
            return Err(gone_away());
        };
        let way = || Way {
            is_encrypted: self.answer.is_encrypted,
            has_certificate: self.has_certificate,
            host: &view.host,
            method: &self.head.method,
            target: target(&self.head),
        };
        if let Err(unmet) = policy.meet(visit.route(), way) {
            return Err(Failure::refused(unmet.refusal()));
        }
        Ok(takes_calls(visit.route()))
    }

    /// Ends a failed call: tells everybody, and the client by a status.
    #[cold]
    async fn fail(&mut self, miss: Miss) {
        let summary = self.summary();
        miss.failure.log(&summary);
        let (refusal, own) = match miss.failure.fault {
            Fault::ClientGone => return,
            Fault::Origin(error) => {
                let visit = self.answer.visit.as_ref();
                self.name().tell(&self.direct.policy, visit, error)
            }
            Fault::Client(refusal) => (refusal, None),
            Fault::Proxy => (error::internal(), None),
        };
        // What follows is the proxy's own, which no instance can be taken down under.
        self.leash.release();
        let told = match own {
            _ if self.answer.has_begun() => self.answer.end(&refusal, miss.reset),
            Some(own) => self.say(own).await,
            None => self.answer.refuse(&refusal, miss.reset),
        };
        if let Err(failure) = told {
            let reason: failure::Reason = failure.reason;
            debug!("{summary}: the client left before its answer: {reason}");
        }
    }

    /// Answers with what a handler has to say.
    async fn say(&mut self, answer: Response<Bytes>) -> Result<(), Failure> {
        let said = self.answer.say(answer);
        match self.timeouts.send {
            Some(limit) => match timeout(limit, said).await {
                Ok(said) => said,
                Err(_elapsed) => Err(Failure::gone("it does not take its answer")),
            },
            None => said.await,
        }
    }

    fn name(&self) -> Name {
        let as_it_came = || String::from_utf8_lossy(target(&self.head)).into_owned();
        let (host, path) = match view(&self.head) {
            Some(view) => (view.host.into_owned(), view.path.into_owned()),
            None => (String::new(), as_it_came()),
        };
        Name {
            method: self.head.method.clone(),
            host,
            path,
        }
    }

    /// The call in a log line.
    fn summary(&self) -> String {
        self.name().summary(self.answer.visit.as_ref())
    }
}

fn gone_away() -> Failure {
    Failure::of_origin(ProxyError::NotFound, "the route went away meanwhile")
}

fn target(head: &Parts) -> &[u8] {
    let target = head.uri.path_and_query().map(PathAndQuery::as_str);
    target.unwrap_or_default().as_bytes()
}

/// The request as it is matched.
fn view(head: &Parts) -> Option<View<'_>> {
    let authority = head.uri.authority().map(Authority::as_str);
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    View::read(target(head), authority, host).ok()
}
