//! The registration of a running app: taken, renewed in time, given back.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cli::clean::clean;
use crate::cli::client::{Call, Client, ClientError};
use crate::cli::key::{ANY, Key};
use crate::cli::wire::{Instance, Registered, Registration, Route};
use crate::cli::{drain, duration, output};

/// The first pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a drain is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// How long a proxy may take beyond a drain's deadline.
const MARGIN: Duration = Duration::from_secs(2);

/// The instance that an app is when it has no other name.
pub(super) const DEFAULT: &str = "default";

/// The instance of a route that an app is.
pub(super) struct Lease {
    client: Client,
    registration: Registration,
    instance: String,
    ttl: Duration,
    /// The routes, as the proxy knows them once it has answered.
    keys: Vec<Key>,
    state: State,
    /// The last failure, as it was reported; `None` after a success.
    trouble: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Never asked for.
    Fresh,
    /// Asked for; perhaps the answer was lost.
    Asked,
    /// Confirmed once.
    Held,
    /// Given back, or somebody else's now.
    Over,
}

impl Lease {
    pub(super) fn new(
        mut client: Client,
        registration: Registration,
        instance: String,
        ttl: Duration,
        timeout: Duration,
    ) -> Self {
        // A proxy that hangs must not cost the lease.
        client.set_timeout(timeout.min((ttl / 3).max(Duration::from_secs(1))));
        let keys = keys(&registration, &registration.prefix);
        Self {
            client,
            registration,
            instance,
            ttl,
            keys,
            state: State::Fresh,
            trouble: None,
        }
    }

    /// Keeps the lease until it is told to stop. A refusal of the very first attempt is an error:
    /// somebody has to change what was written. Later ones are told once and tried again.
    pub(super) async fn keep(
        &mut self,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ClientError> {
        let mut pause = PAUSE;
        loop {
            let is_first = self.state == State::Fresh;
            let next = match self.renew().await {
                Ok(()) if self.state == State::Over => return Ok(()),
                Ok(()) => {
                    pause = PAUSE;
                    self.ttl.mul_f64(0.3 + 0.06 * fastrand::f64())
                }
                Err(error) if is_first && !error.is_passing() => return Err(error),
                Err(error) => {
                    self.complain(&error);
                    let now = pause;
                    pause = pause.saturating_mul(2).min((self.ttl / 3).max(PAUSE));
                    now.mul_f64(0.8 + 0.4 * fastrand::f64())
                }
            };
            tokio::select! {
                () = sleep(next) => {}
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Says each trouble once.
    fn complain(&mut self, error: &ClientError) {
        let error = error.to_string();
        if self.trouble.as_ref() == Some(&error) {
            return;
        }
        let is = if self.state == State::Held {
            "not renewed"
        } else {
            "not registered"
        };
        output::note(format_args!(
            "{is}, the command goes on and it is tried again: {error}"
        ));
        self.trouble = Some(error);
    }

    /// Registers, or registers again. It does not take back what somebody else has taken: a newer
    /// process may stand in our place.
    async fn renew(&mut self) -> Result<(), ClientError> {
        if self.state == State::Held
            && let Some(other) = self.usurper().await?
        {
            self.state = State::Over;
            output::note(format_args!(
                "{} is {} now; the command goes on without a registration",
                self.name(),
                clean(&other)
            ));
            return Ok(());
        }
        let call = Call::json(Method::POST, "/register", &self.registration)?;
        if self.state == State::Fresh {
            self.state = State::Asked;
        }
        let registered: Registered = self.client.call(call).await?.read()?;
        self.keys = keys(&self.registration, &registered.prefix);
        if self.state != State::Held || self.trouble.is_some() {
            let target = registered.target();
            output::note(format_args!(
                "registered: {} -> {}",
                self.name(),
                clean(&target)
            ));
        }
        self.state = State::Held;
        self.trouble = None;
        Ok(())
    }

    /// The routes and the instance, for people.
    fn name(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(Key::to_string).collect();
        let keys = clean(&keys.join(", "));
        if self.instance == DEFAULT {
            keys
        } else {
            format!("{keys} instance {}", self.instance)
        }
    }

    /// Who stands in our place; nobody, if nothing does or it cannot be seen.
    async fn usurper(&mut self) -> Result<Option<String>, ClientError> {
        for key in self.keys.clone() {
            let place = self.place(&key).await?;
            if let Some(found) =
                place.filter(|found| found.group.port != self.registration.spec.port)
            {
                return Ok(Some(found.target()));
            }
        }
        Ok(None)
    }

    /// The instance of our name that takes requests. A token that may register may not be one that may read: then there
    /// is nothing to be seen.
    async fn place(&mut self, key: &Key) -> Result<Option<Instance>, ClientError> {
        match self.client.call(Call::get(key.path())).await {
            Ok(answer) => {
                let route: Route = answer.read()?;
                let mut instances = route.own.instances.into_iter();
                Ok(instances.find(|found| found.id() == self.instance && !found.is_draining()))
            }
            Err(error) => match error.status() {
                Some(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Gives the lease back, with time for what is in flight, and waits until that is through.
    pub(super) async fn drain(&mut self, within: Duration) {
        if matches!(self.state, State::Fresh | State::Over) {
            return;
        }
        let end = Instant::now() + within + MARGIN;
        let done = tokio::time::timeout_at(end, async {
            self.leave(Some(within)).await?;
            for key in self.keys.clone() {
                loop {
                    let instance = self.instance.clone();
                    let left = drain::draining(&mut self.client, &key, Some(&instance)).await;
                    let is_gone = match left {
                        Ok(left) => left
                            .iter()
                            .all(|left| left.group.port != self.registration.spec.port),
                        // It may register, and not look.
                        Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => {
                            sleep(within).await;
                            true
                        }
                        Err(error) => return Err(error),
                    };
                    if is_gone {
                        break;
                    }
                    sleep(EVERY).await;
                }
            }
            Ok(())
        });
        match done.await {
            Ok(Ok(())) => self.state = State::Over,
            Ok(Err(error)) => output::note(format_args!("cannot be drained: {error}")),
            Err(_elapsed) => output::note(format_args!(
                "not drained within {}; what is in flight is cut",
                duration::written(within)
            )),
        }
    }

    /// Gives the lease back at once: there is nobody any more.
    pub(super) async fn drop_now(&mut self) {
        if matches!(self.state, State::Fresh | State::Over) {
            return;
        }
        let why = match tokio::time::timeout(MARGIN, self.leave(None)).await {
            Ok(Ok(())) => {
                self.state = State::Over;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the proxy keeps silent".to_owned(),
        };
        output::note(format_args!(
            "not taken out, it expires within {}: {why}",
            duration::written(self.ttl)
        ));
    }

    /// Takes our instance out of every route, unless somebody else stands there.
    async fn leave(&mut self, drain: Option<Duration>) -> Result<(), ClientError> {
        let drain = drain
            .filter(|drain| !drain.is_zero())
            .map(duration::written);
        for key in self.keys.clone() {
            let place = self.place(&key).await?;
            if place.is_some_and(|found| found.group.port != self.registration.spec.port) {
                continue;
            }
            let call =
                Call::delete(key.instance_path(&self.instance)).query_if("drain", drain.as_deref());
            match self.client.call(call).await {
                Err(error) if error.status() != Some(StatusCode::NOT_FOUND) => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// One route for each request host.
fn keys(registration: &Registration, prefix: &str) -> Vec<Key> {
    if registration.req_host_names.is_empty() {
        return vec![Key::new(ANY, prefix)];
    }
    let hosts = registration.req_host_names.iter();
    hosts.map(|host| Key::new(host, prefix)).collect()
}
