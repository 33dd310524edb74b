//! What orders and questions come to.

use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};
use tokio::task::{Id, JoinError};

use super::super::failure::{Failure, Scope};
use super::super::files::KeptCertificate;
use super::super::order::Issued;
use super::super::tries::{Tried, seconds};
use super::super::wanted::name;
use super::{Done, Manager};

/// How many hosts a log line names.
const NAMED: usize = 5;

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
            directory: self.acme.options.directory.clone(),
            issued: seconds(SystemTime::now()),
            certificate: issued.certificate,
            key: issued.key,
        };
        self.authority = Tried::default();
        if let Err(problem) = self.take(host, kept.clone()) {
            return self.fail(host, &Failure::host(problem));
        }
        let written = self.files.as_ref();
        if let Some(Err(error)) = written.map(|files| files.write_certificate(host, &kept)) {
            error!("ACME: {error}; the certificate of {host} is lost at the next start");
        }
        if let Some(managed) = self.hosts.get_mut(host) {
            managed.got_at = Some(SystemTime::now());
            if let Some(at) = managed.renews_at() {
                let at = humantime::format_rfc3339_seconds(at);
                info!("ACME: {host}: there is a certificate; it is renewed at {at}");
            }
        }
        self.keep_tries();
    }

    pub(super) fn fail(&mut self, host: &Arc<str>, failure: &Failure) {
        match failure.scope {
            Scope::Authority => return self.fail_all(std::slice::from_ref(host), failure),
            Scope::Account => {
                warn!("ACME: {host}: {failure}; a new account is made");
                if self.account.take().is_some()
                    && let Some(files) = &self.files
                {
                    files.put_account_aside(&self.acme.options.directory);
                }
                // It may be all that was missing.
                return self.fail_all(std::slice::from_ref(host), failure);
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
        let next = humantime::format_rfc3339_seconds(next);
        let named: Vec<&str> = hosts.iter().take(NAMED).map(|host| &**host).collect();
        let more = hosts.len().saturating_sub(NAMED);
        let mut shown = named.join(", ");
        if hosts.is_empty() {
            "any host".clone_into(&mut shown);
        } else if more > 0 {
            shown = format!("{shown} and {more} more");
        }
        error!("ACME: no new certificate for {shown}: {failure}; next try at {next}");
        for host in hosts {
            let status = format!("no new certificate: {failure}; next try at {next}");
            self.acme.certificates.note_failure(&name(host), &status);
        }
    }
}
