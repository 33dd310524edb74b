//! The results of orders, and of requests for renewal information.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{debug, error, info, warn};
use tokio::task::{Id, JoinError};

use super::super::backoff::Tried;
use super::super::check::check_new;
use super::super::failure::{Failure, Scope};
use super::super::files::{Files, KeptCertificate};
use super::super::host::Host;
use super::super::names::certificate_name;
use super::super::order::Issued;
use super::super::time::{seconds, shown};
use super::plan::{details, unusable};
use super::{Done, Manager};

/// How many hosts a log line names.
const NAMED: usize = 5;

/// A certificate that could not be written is written again after this.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// An authority that takes no more orders is left alone no longer than this: it may have meant one
/// host's, which waits for as long as it was told.
const LIMITED: Duration = Duration::from_hours(1);

/// The most hosts that nobody wants any more, and whose failures are known.
const MOST_UNWANTED: usize = 10_000;

impl Manager {
    /// Keeps what a task came to.
    pub(super) fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
        let (id, done) = match done {
            Ok((id, done)) => (id, done),
            Err(error) => {
                let failure = Failure::host(format!("the proxy's own fault: {error}"));
                (error.id(), Done::Issued(Err(failure)))
            }
        };
        let Some(host) = self.busy.remove(&id) else {
            return;
        };
        if let Some(managed) = self.hosts.get_mut(&host) {
            managed.is_busy = false;
            managed.is_ordering = false;
        }
        self.hosts.retain(|_, host| host.is_known());
        match done {
            Done::Issued(Ok(issued)) => self.keep(&host, issued),
            Done::Issued(Err(failure)) => self.fail(&host, &failure),
            Done::Window(Ok(Some((window, again)))) => {
                if let Some(managed) = self.hosts.get_mut(&host) {
                    managed.suggest(&host, window, again);
                }
            }
            Done::Window(Ok(None)) => {}
            Done::Window(Err(failure)) => {
                info!("ACME: {host}: when to renew is not known: {failure}");
            }
        }
    }

    pub(super) fn keep(&mut self, host: &Arc<str>, issued: Issued) {
        let kept = KeptCertificate {
            directory: self.context.options.directory.clone(),
            issued: seconds(SystemTime::now()),
            certificate: issued.certificate,
            key: issued.key,
        };
        self.authority = Tried::default();
        if let Err(problem) = self.take_new(host, kept.clone()) {
            return self.fail(host, &Failure::host(problem));
        }
        let now = SystemTime::now();
        let written = self.files.as_ref();
        let written = written.map(|files| files.write_certificate(host, &kept));
        if let Some(managed) = self.hosts.get_mut(host) {
            managed.got_at = Some(now);
            if let Some(at) = managed.renews_at() {
                let at = shown(at);
                info!("ACME: {host}: there is a certificate; it is renewed at {at}");
            }
            if let Some(Err(error)) = written {
                error!(
                    "ACME: {error}; the certificate of {host} is in use, and would be lost with this \
                     process; it is tried again every {WRITE_AGAIN:?}"
                );
                managed.write_at = now.checked_add(WRITE_AGAIN);
            }
        }
        self.keep_tries();
    }

    /// Puts a certificate that has just come into use, or says why it cannot be.
    fn take_new(&mut self, host: &Arc<str>, kept: KeptCertificate) -> Result<(), String> {
        let details = details(host, &kept)?;
        check_new(&details, SystemTime::now()).map_err(|problem| unusable(&problem))?;
        self.take(host, kept, &details)?;
        self.tries.remove(&**host);
        Ok(())
    }

    /// Writes the certificates that could not be written when they came.
    pub(super) fn write_again(&mut self) {
        let now = SystemTime::now();
        // A moment that is too far away is of a clock that was set back.
        let is_time = |at: SystemTime| now >= at || at > now + WRITE_AGAIN;
        let is_due = |(_, managed): &(_, &Host)| managed.write_at.is_some_and(is_time);
        let hosts: Vec<Arc<str>> = self
            .hosts
            .iter()
            .filter(is_due)
            .map(|(host, _)| Arc::clone(host))
            .collect();
        if hosts.is_empty() || !self.can_lock(&hosts, now) || !self.take_lock() {
            return;
        }
        for host in hosts {
            let (Some(files), Some(managed)) = (&self.files, self.hosts.get_mut(&host)) else {
                continue;
            };
            // With the lock may have come a newer one, which is on the disk.
            let Some(kept) = managed.kept.as_ref().filter(|_| managed.write_at.is_some()) else {
                continue;
            };
            match files.write_certificate(&host, kept) {
                Ok(()) => {
                    info!("ACME: {host}: the certificate is written");
                    managed.write_at = None;
                }
                Err(error) => {
                    debug!("ACME: {error}");
                    managed.write_at = now.checked_add(WRITE_AGAIN);
                }
            }
        }
    }

    /// Whether the lock can be had. A disk that does not even give that is tried again as late as one
    /// that cannot be written to, and is no failure of the authority.
    fn can_lock(&mut self, hosts: &[Arc<str>], now: SystemTime) -> bool {
        let locked = self.files.as_ref().map(Files::lock);
        if self.lock.is_some() || matches!(locked, Some(Ok(_))) {
            return true;
        }
        if let Some(Err(error)) = locked {
            debug!("ACME: {error}");
        }
        for host in hosts {
            if let Some(managed) = self.hosts.get_mut(host) {
                managed.write_at = now.checked_add(WRITE_AGAIN);
            }
        }
        false
    }

    /// Writes when to try again.
    fn keep_tries(&mut self) {
        let now = SystemTime::now();
        self.tries.retain(|_, tried| !tried.is_forgotten(now));
        let is_unwanted = |host: &str| self.hosts.get(host).is_none_or(|host| !host.is_wanted);
        let unwanted = self.tries.iter().filter(|(host, _)| is_unwanted(host));
        let mut unwanted: Vec<(u64, String)> = unwanted
            .map(|(host, tried)| (tried.last(), host.clone()))
            .collect();
        unwanted.sort_unstable();
        let too_many = unwanted.len().saturating_sub(MOST_UNWANTED);
        for (_, host) in unwanted.into_iter().take(too_many) {
            self.tries.remove(&host);
        }
        if let Some(Err(error)) = self
            .files
            .as_ref()
            .map(|files| files.write_tries(&self.tries))
        {
            error!("ACME: {error}");
        }
    }

    pub(super) fn fail(&mut self, host: &Arc<str>, failure: &Failure) {
        match failure.scope {
            Scope::Authority => return self.fail_all(std::slice::from_ref(host), failure),
            Scope::Account => {
                // One that was just made may not be known everywhere yet.
                if self.context.rest_of_account().is_none()
                    && self.account.take().is_some()
                    && let Some(files) = &self.files
                {
                    warn!("ACME: {host}: {failure}; a new account is made");
                    files.put_account_aside(&self.context.options.directory);
                }
                return self.fail_all(std::slice::from_ref(host), failure);
            }
            Scope::Limit => {
                let now = SystemTime::now();
                let most = now.checked_add(LIMITED);
                let after = failure
                    .retry_after
                    .zip(most)
                    .map(|(after, most)| after.min(most));
                self.fail_all(&[], &failure.clone().not_before(after));
            }
            Scope::Host => {}
        }
        let tried = self.tries.entry(host.to_string()).or_default();
        let next = tried.fail_host(SystemTime::now(), failure.retry_after);
        self.keep_tries();
        self.tell(std::slice::from_ref(host), failure, next);
    }

    /// A failure that others would meet as well: nobody is tried until later.
    pub(super) fn fail_all(&mut self, hosts: &[Arc<str>], failure: &Failure) {
        let now = SystemTime::now();
        // Those that were on their way fail together.
        let next = if self.authority.is_ready(now) {
            self.account = None;
            self.authority.fail_authority(now, failure.retry_after)
        } else {
            self.authority.next()
        };
        self.tell(hosts, failure, next);
    }

    /// Says in the log, and in each certificate's status, what has failed.
    fn tell(&self, hosts: &[Arc<str>], failure: &Failure, next: SystemTime) {
        let next = shown(next);
        let named: Vec<&str> = hosts.iter().take(NAMED).map(|host| &**host).collect();
        let more = hosts.len().saturating_sub(NAMED);
        let mut shown = named.join(", ");
        if hosts.is_empty() {
            "any host".clone_into(&mut shown);
        } else if more > 0 {
            shown = format!("{shown} and {more} more");
        }
        for host in hosts {
            // What is shown of a host is forgotten when nobody wants it any more.
            if self
                .hosts
                .get(host)
                .is_some_and(|managed| managed.is_wanted)
            {
                let status = format!("no new certificate: {failure}; next try at {next}");
                self.context
                    .certificates
                    .note_failure(&certificate_name(host), &status);
            }
        }
        // Behind what is shown: whoever reads the line finds it there.
        error!("ACME: no new certificate for {shown}: {failure}; next try at {next}");
    }
}
