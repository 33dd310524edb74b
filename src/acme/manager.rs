//! The loop: looks at what is wanted and what there is, orders what is due, keeps what comes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{error, info, warn};
use tokio::task::{Id, JoinError, JoinSet};

use super::Acme;
use super::account::{self, Open};
use super::failure::{Failure, Scope};
use super::files::{Files, KeptCertificate, Stamp};
use super::host::Host;
use super::order::{self, Issued, Wish};
use super::renewal::Window;
use super::tries::{Tried, Tries, seconds};
use super::wanted::{name, wanted};
use crate::route::Generation;
use crate::tls::{Given, Source, StoreError};

/// How often it is looked.
const TICK: Duration = Duration::from_secs(1);

/// How many orders, and questions about renewal, there are at a time.
const AT_ONCE: usize = 4;

/// How many hosts a log line names.
const NAMED: usize = 5;

/// What a task came to.
enum Done {
    Issued(Result<Issued, Failure>),
    /// When the authority suggests to renew, and when to ask again.
    Window(Result<Option<(Window, Duration)>, Failure>),
}

/// What is known, and what goes on.
pub(super) struct Manager {
    acme: Arc<Acme>,
    files: Option<Files>,
    /// The right to order.
    lock: Option<File>,
    account: Option<Open>,
    /// The failures of the authority, or of our own disk.
    authority: Tried,
    /// The failures of hosts, as on the disk.
    tries: Tries,
    hosts: BTreeMap<Arc<str>, Host>,
    generation: Option<Generation>,
    seen: Option<Stamp>,
    work: JoinSet<Done>,
    busy: HashMap<Id, Arc<str>>,
}

impl Manager {
    pub(super) fn new(acme: Arc<Acme>) -> Self {
        Self {
            acme,
            files: None,
            lock: None,
            account: None,
            authority: Tried::default(),
            tries: Tries::default(),
            hosts: BTreeMap::new(),
            generation: None,
            seen: None,
            work: JoinSet::new(),
            busy: HashMap::new(),
        }
    }

    /// Never ends; may be dropped at any time.
    pub(super) async fn run(&mut self) {
        if let Some(files) = self.open_files() {
            let tries = files.tries().into_iter();
            self.tries = tries
                .map(|(host, tried)| (host, tried.at_start()))
                .collect();
        }
        loop {
            self.look();
            self.order().await;
            self.ask().await;
            tokio::select! {
                Some(done) = self.work.join_next_with_id() => self.finish(done),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Looks at what is wanted, and what the disk has.
    pub(super) fn look(&mut self) {
        self.look_at_routes();
        let Some(files) = self.open_files() else {
            return;
        };
        let stamp = files.stamp();
        // A change in the moment of the last look may have the same stamp.
        let is_old = stamp.is_some_and(|(at, _)| {
            u64::try_from(at).is_ok_and(|at| seconds(SystemTime::now()) > at + 2)
        });
        if stamp.is_none() || stamp != self.seen || !is_old {
            self.read_certificates();
            self.seen = stamp;
        }
        self.look_for_removed();
    }

    fn look_at_routes(&mut self) {
        let generation = self.acme.registry.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let wanted = wanted(&self.acme.options, &self.acme.registry);
        for (host, managed) in &mut self.hosts {
            let is_wanted = wanted.contains(&**host);
            if managed.is_wanted && !is_wanted {
                info!("ACME: {host}: there is no route any more; its certificate is not renewed");
                self.acme.certificates.forget_failure(&name(host));
            }
            managed.is_wanted = is_wanted;
        }
        for host in wanted {
            let managed = self.hosts.entry(host.into()).or_default();
            managed.is_wanted = true;
        }
        self.hosts
            .retain(|_, host| host.is_wanted || host.kept.is_some() || host.is_busy);
    }

    /// The folder; what is wrong with it is said, and it is tried again later.
    fn open_files(&mut self) -> Option<&Files> {
        let now = SystemTime::now();
        if self.files.is_none() && self.authority.is_ready(now) {
            match Files::open(&self.acme.options.folder) {
                Ok(files) => self.files = Some(files),
                Err(error) => self.disk_failed(&error),
            }
        }
        self.files.as_ref()
    }

    fn disk_failed(&mut self, error: &StoreError) {
        let failure = Failure::authority(error.to_string());
        let due = self.due(SystemTime::now());
        self.fail_all(&due, &failure);
    }

    /// Takes what the disk has and is not in use.
    fn read_certificates(&mut self) {
        let read = self.files.as_ref().map(Files::certificates);
        let kept = match read {
            None => return,
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                error!("ACME: {error}");
                return;
            }
        };
        for (host, kept) in kept {
            let host: Arc<str> = host.into();
            match kept {
                Ok(kept) => self.take(&host, kept),
                Err(problem) => {
                    let managed = self.hosts.entry(Arc::clone(&host)).or_default();
                    if managed.told.as_deref() != Some(&problem) {
                        error!("ACME: {host}: {problem}; a new certificate is ordered");
                        managed.told = Some(problem);
                    }
                }
            }
        }
    }

    /// Puts a certificate into use, unless it is.
    fn take(&mut self, host: &Arc<str>, kept: KeptCertificate) {
        let managed = self.hosts.entry(Arc::clone(host)).or_default();
        if managed.kept.as_ref() == Some(&kept) {
            return;
        }
        let given = Given {
            certificate: &kept.certificate,
            key: &kept.key,
            default: false,
            source: Source::Acme,
        };
        let certificates = &self.acme.certificates;
        let name = name(host);
        let taken = certificates.take_if(&name, &given, |stored| stored.source == Source::Acme);
        let details = certificates.get(&name).and_then(|stored| stored.details);
        match (taken, details) {
            (Ok(_), Some(details)) => {
                managed.set(kept, &details);
                self.tries.remove(&**host);
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                let problem = format!("the certificate cannot be used: {error}");
                if managed.told.as_deref() != Some(&problem) {
                    error!("ACME: {host}: {problem}");
                    certificates.note_failure(&name, &problem);
                    managed.told = Some(problem);
                }
            }
        }
    }

    /// A certificate that somebody has removed, over the control API, is to be replaced; one that has
    /// expired and that nobody wants is removed here.
    fn look_for_removed(&mut self) {
        let now = SystemTime::now();
        let mut gone = Vec::new();
        for (host, managed) in &mut self.hosts {
            if managed.kept.is_none() || managed.is_busy {
                continue;
            }
            let name = name(host);
            let is_there = self.acme.certificates.get(&name).is_some();
            let is_over = !managed.is_wanted && managed.has_expired(now);
            if is_there && !is_over {
                continue;
            }
            if is_there && let Err(error) = self.acme.certificates.remove(&name) {
                warn!("ACME: {host}: {error}");
                continue;
            }
            if let Some(Err(error)) = self
                .files
                .as_ref()
                .map(|files| files.remove_certificate(host))
            {
                error!("ACME: {error}");
            }
            info!("ACME: {host}: the certificate is removed");
            managed.kept = None;
            gone.push(Arc::clone(host));
        }
        for host in gone {
            self.tries.remove(&*host);
            self.hosts
                .retain(|_, host| host.is_wanted || host.kept.is_some() || host.is_busy);
        }
    }

    /// The hosts that are to be ordered for now.
    fn due(&self, now: SystemTime) -> Vec<Arc<str>> {
        let directory = &self.acme.options.directory;
        let is_ready = |host: &str| {
            let tried = self.tries.get(host);
            tried.is_none_or(|tried| tried.is_ready(now))
        };
        self.hosts
            .iter()
            .filter(|(host, managed)| managed.is_due(directory, now) && is_ready(host))
            .map(|(host, _)| Arc::clone(host))
            .collect()
    }

    /// Begins the orders that are due, as many as there may be at a time.
    async fn order(&mut self) {
        let now = SystemTime::now();
        if self.due(now).is_empty() {
            let is_ordering = self.busy.values().any(|host| self.is_ordering(host));
            if !is_ordering {
                self.lock = None;
            }
            return;
        }
        if !self.authority.is_ready(now) || !self.take_lock() {
            return;
        }
        // What another process has done meanwhile.
        let due = self.due(now);
        if due.is_empty() || !self.open_account(&due).await {
            return;
        }
        let Some(account) = self.account.clone() else {
            return;
        };
        for host in due {
            if self.busy.len() >= AT_ONCE {
                return;
            }
            let Some(managed) = self.hosts.get_mut(&host) else {
                continue;
            };
            let mut challenges = self.acme.options.challenges.clone();
            let failures = self.tries.get(&*host).map_or(0, |tried| tried.failures);
            let turns = usize::try_from(failures).unwrap_or(0);
            let count = challenges.len().max(1);
            challenges.rotate_left(turns % count);
            managed.is_busy = true;
            managed.is_ordering = true;
            let wish = Wish {
                host: Arc::clone(&host),
                challenges,
                replaces: managed.replaces(&self.acme.options.directory),
            };
            info!("ACME: {host}: ordering a certificate");
            let (acme, account) = (Arc::clone(&self.acme), account.clone());
            let task = async move { Done::Issued(order::issue(&acme, &account, wish).await) };
            let task = self.work.spawn(task);
            self.busy.insert(task.id(), host);
        }
    }

    fn is_ordering(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.is_ordering)
    }

    /// Whether we may order. With the lock comes what another process has left.
    fn take_lock(&mut self) -> bool {
        if self.lock.is_some() {
            return true;
        }
        let Some(files) = &self.files else {
            return false;
        };
        match files.lock() {
            Ok(Some(lock)) => {
                self.lock = Some(lock);
                self.merge_tries();
                self.read_certificates();
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.disk_failed(&error);
                false
            }
        }
    }

    /// Takes over what another process has tried since.
    fn merge_tries(&mut self) {
        let Some(files) = &self.files else { return };
        for (host, theirs) in files.tries() {
            let ours = self.tries.entry(host).or_default();
            if theirs.is_after(ours) {
                *ours = theirs;
            }
        }
    }

    fn keep_tries(&self) {
        if let Some(Err(error)) = self
            .files
            .as_ref()
            .map(|files| files.write_tries(&self.tries))
        {
            error!("ACME: {error}");
        }
    }

    async fn open_account(&mut self, due: &[Arc<str>]) -> bool {
        if self.account.is_some() {
            return true;
        }
        let Some(files) = &self.files else {
            return false;
        };
        match account::open(&self.acme.options, files).await {
            Ok(open) => {
                self.account = Some(open);
                self.authority = Tried::default();
                true
            }
            Err(failure) => {
                self.fail_all(due, &failure);
                false
            }
        }
    }

    /// Asks when to renew, one host after the other (RFC 9773).
    async fn ask(&mut self) {
        let now = SystemTime::now();
        let directory = &self.acme.options.directory;
        let is_to_ask = |managed: &Host| managed.is_to_ask(directory, now);
        let to_ask: Vec<Arc<str>> = self
            .hosts
            .iter()
            .filter(|(_, managed)| is_to_ask(managed))
            .map(|(host, _)| Arc::clone(host))
            .take(AT_ONCE.saturating_sub(self.busy.len()))
            .collect();
        if to_ask.is_empty() || !self.authority.is_ready(now) {
            return;
        }
        if self.account.is_none() {
            let Some(files) = &self.files else { return };
            match account::kept(&self.acme.options, files).await {
                Ok(Some(open)) => self.account = Some(open),
                Ok(None) => {}
                Err(failure) => return self.fail_all(&to_ask, &failure),
            }
        }
        for host in to_ask {
            let Some(managed) = self.hosts.get_mut(&host) else {
                continue;
            };
            managed.asked(now);
            let (Some(account), Some(identifier)) = (self.account.clone(), managed.identifier())
            else {
                continue;
            };
            managed.is_busy = true;
            let task = async move {
                Done::Window(match account.account.renewal_info(&identifier).await {
                    Ok((info, again)) => {
                        let start = info.suggested_window.start.into();
                        let end = info.suggested_window.end.into();
                        Ok(Some((Window { start, end }, again)))
                    }
                    Err(instant_acme::Error::Unsupported(_)) => Ok(None),
                    Err(error) => Err(Failure::of_library(&error, &account.retry_after)),
                })
            };
            let task = self.work.spawn(task);
            self.busy.insert(task.id(), host);
        }
    }

    /// Keeps what a task came to.
    fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
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

    fn keep(&mut self, host: &Arc<str>, issued: Issued) {
        let kept = KeptCertificate {
            directory: self.acme.options.directory.clone(),
            issued: seconds(SystemTime::now()),
            certificate: issued.certificate,
            key: issued.key,
        };
        if let Some(Err(error)) = self
            .files
            .as_ref()
            .map(|files| files.write_certificate(host, &kept))
        {
            error!("ACME: {error}; the certificate of {host} is lost at the next start");
        }
        self.authority = Tried::default();
        self.take(host, kept);
        match self.hosts.get(host).and_then(Host::renews_at) {
            Some(at) => {
                self.tries.remove(&**host);
                let at = humantime::format_rfc3339_seconds(at);
                info!("ACME: {host}: there is a certificate; it is renewed at {at}");
            }
            None => self.fail(host, &Failure::host("the certificate cannot be used")),
        }
        self.keep_tries();
    }

    fn fail(&mut self, host: &Arc<str>, failure: &Failure) {
        let now = SystemTime::now();
        match failure.scope {
            Scope::Authority => return self.fail_all(std::slice::from_ref(host), failure),
            Scope::Account => {
                warn!("ACME: {host}: {failure}; a new account is made");
                if self.account.take().is_some()
                    && let Some(files) = &self.files
                {
                    files.put_account_aside(&self.acme.options.directory);
                }
            }
            Scope::Host => {}
        }
        let tried = self.tries.entry(host.to_string()).or_default();
        let next = match failure.scope {
            Scope::Host => tried.fail_host(now, failure.retry_after),
            // The new account may be all that was missing.
            Scope::Authority | Scope::Account => tried.fail_authority(now, failure.retry_after),
        };
        self.keep_tries();
        self.tell(std::slice::from_ref(host), failure, next);
    }

    /// A failure that others would meet as well: nobody is tried until later.
    fn fail_all(&mut self, hosts: &[Arc<str>], failure: &Failure) {
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
            shown.push_str(&format!(" and {more} more"));
        }
        error!("ACME: no new certificate for {shown}: {failure}; next try at {next}");
        for host in hosts {
            let status = format!("no new certificate: {failure}; next try at {next}");
            self.acme.certificates.note_failure(&name(host), &status);
        }
    }
}
