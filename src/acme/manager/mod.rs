//! The loop: looks at what is wanted and what there is, orders what is due, keeps what comes.

mod plan;
mod result;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::{info, warn};
use tokio::task::{Id, JoinSet};

use super::account::{self, Open};
use super::backoff::{Tried, Tries};
use super::context::Context;
use super::failure::Failure;
use super::files::{Files, Stamp};
use super::host::Host;
use super::names::certificate_name;
use super::order::{self, Issued, Wish};
use super::queue::Priority;
use super::renewal::Window;
use super::time::shown;
use crate::route::Generation;
use crate::tls::Source;

/// How often it is looked.
const TICK: Duration = Duration::from_secs(1);

/// How many orders, and questions about renewal, there are at a time.
const AT_ONCE: usize = 4;

/// The result of a task.
enum Done {
    Issued(Result<Issued, Failure>),
    /// When the authority suggests to renew, and when to ask again.
    Window(Result<Option<(Window, Duration)>, Failure>),
}

/// The state of the loop: the hosts with their failures, and the tasks in progress.
pub(super) struct Manager {
    context: Arc<Context>,
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
    /// Whether there are more registered hosts than there may be, and that is said.
    has_too_many: bool,
    seen: Option<Stamp>,
    /// Whether the folder was removed and cannot be made anew, and that is said.
    is_loss_told: bool,
    work: JoinSet<Done>,
    busy: HashMap<Id, Arc<str>>,
}

impl Manager {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            files: None,
            lock: None,
            account: None,
            authority: Tried::default(),
            tries: Tries::default(),
            hosts: BTreeMap::new(),
            generation: None,
            has_too_many: false,
            seen: None,
            is_loss_told: false,
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
            self.write_again();
            self.order().await;
            self.ask().await;
            tokio::select! {
                Some(done) = self.work.join_next_with_id() => self.finish(done),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// The hosts that are to be ordered for now, in this order.
    fn due(&self, now: SystemTime) -> Vec<Arc<str>> {
        let directory = &self.context.options.directory;
        let is_ready = |host: &str| {
            let tried = self.tries.get(host);
            tried.is_none_or(|tried| tried.is_ready(now))
        };
        let mut due: Vec<(Priority, &Arc<str>)> = self
            .hosts
            .iter()
            .filter(|(host, managed)| managed.is_due(directory, now) && is_ready(host))
            .map(|(host, managed)| {
                let failed = self.tries.get(&**host).map_or(0, Tried::last);
                (managed.place(failed, now), host)
            })
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, host)| Arc::clone(host)).collect()
    }

    /// Begins the orders that are due, as many as there may be at a time.
    async fn order(&mut self) {
        let now = SystemTime::now();
        if !self.authority.is_ready(now) || self.due(now).is_empty() {
            let is_ordering = self.busy.values().any(|host| self.is_ordering(host));
            if !is_ordering {
                self.lock = None;
            }
            return;
        }
        // More than these would wait all the same.
        if self.busy.len() >= AT_ONCE {
            return;
        }
        if !self.take_lock() {
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
            if self.is_taken(&host) {
                let problem =
                    "a certificate was put under its name over the control API; remove that";
                self.fail(&host, &Failure::host(problem));
                continue;
            }
            self.begin_order(host, account.clone());
        }
    }

    /// Begins the order of a host.
    fn begin_order(&mut self, host: Arc<str>, account: Open) {
        let Some(managed) = self.hosts.get_mut(&host) else {
            return;
        };
        let failures = self.tries.get(&*host).map_or(0, |tried| tried.failures);
        managed.is_busy = true;
        managed.is_ordering = true;
        let options = &self.context.options;
        let wish = Wish {
            host: Arc::clone(&host),
            challenges: order::turned(&options.challenges, failures),
            replaces: managed.replaces(&options.directory),
        };
        info!("ACME: {host}: ordering a certificate");
        let context = Arc::clone(&self.context);
        let task = async move { Done::Issued(order::issue(&context, &account, wish).await) };
        let task = self.work.spawn(task);
        self.busy.insert(task.id(), host);
    }

    /// Whether somebody else has the name of a host's certificate.
    fn is_taken(&self, host: &str) -> bool {
        let stored = self.context.certificates.get(&certificate_name(host));
        stored.is_some_and(|stored| stored.source != Source::Acme)
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

    async fn open_account(&mut self, due: &[Arc<str>]) -> bool {
        if self.account.is_some() {
            return true;
        }
        let Some(files) = &self.files else {
            return false;
        };
        match account::open(&self.context, files).await {
            Ok(open) => {
                // That it fails no more is known once a certificate comes.
                self.account = Some(open);
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
        let directory = &self.context.options.directory;
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
        if !self.find_account(now).await {
            return;
        }
        for host in to_ask {
            self.begin_question(host, now);
        }
    }

    /// Opens the account that is kept, if there is one; none is made for a question. Says whether it can be
    /// asked now.
    async fn find_account(&mut self, now: SystemTime) -> bool {
        if self.account.is_some() {
            return true;
        }
        let Some(files) = &self.files else {
            return false;
        };
        match account::kept(&self.context.options, files).await {
            Ok(Some(open)) => self.account = Some(open),
            Ok(None) => {}
            Err(failure) => {
                let next = self.authority.fail_authority(now, failure.retry_after);
                let next = shown(next);
                warn!("ACME: when to renew is not known: {failure}; next try at {next}");
                return false;
            }
        }
        true
    }

    /// Asks when to renew the certificate of a host.
    fn begin_question(&mut self, host: Arc<str>, now: SystemTime) {
        let Some(managed) = self.hosts.get_mut(&host) else {
            return;
        };
        managed.asked(now);
        let (Some(account), Some(identifier)) = (self.account.clone(), managed.identifier()) else {
            return;
        };
        managed.is_busy = true;
        let task = self.work.spawn(async move {
            Done::Window(match account.account.renewal_info(&identifier).await {
                Ok((info, again)) => {
                    let start = info.suggested_window.start.into();
                    let end = info.suggested_window.end.into();
                    Ok(Some((Window { start, end }, again)))
                }
                Err(instant_acme::Error::Unsupported(_)) => Ok(None),
                Err(error) => Err(Failure::of_library(&error, &account.retry_after)),
            })
        });
        self.busy.insert(task.id(), host);
    }
}
