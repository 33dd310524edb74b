//! The hosts that are to have a certificate, and the certificates that the state directory has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};

use super::super::check::check;
use super::super::desired_hosts::{MOST_REGISTERED, registered};
use super::super::failure::{Failure, LONGEST, one_line};
use super::super::files::{Files, KeptCertificate};
use super::super::host::{Host, WantedBy};
use super::super::names::certificate_name;
use super::super::queue::{Seniority, bound};
use super::super::time::seconds;
use super::{Manager, TICK};
use crate::tls::{Details, Given, Source, StoreError};

impl Manager {
    /// Looks at what is wanted, and what the disk has.
    pub(in super::super) fn look(&mut self) {
        self.look_at_routes();
        if self.open_files().is_none() {
            return;
        }
        self.restore_files();
        let Some(files) = &self.files else { return };
        let stamp = files.stamp();
        // A change in the moment of the last look may have the same stamp.
        let is_old = stamp.is_some_and(|(at, _)| {
            u64::try_from(at).is_ok_and(|at| seconds(SystemTime::now()) > at + 2)
        });
        if stamp.is_none() || stamp != self.seen || !is_old {
            self.read_certificates();
            if self.seen.is_none() && self.has_too_many {
                // Those that have a certificate come first, and that is only known now.
                self.generation = None;
                self.look_at_routes();
            }
            self.seen = stamp;
        }
        self.look_for_removed();
    }

    fn look_at_routes(&mut self) {
        let generation = self.context.registry.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let context = Arc::clone(&self.context);
        let mut wanted = self.registered(registered(&context.options, &context.registry));
        wanted.extend(context.options.hosts.iter().cloned());
        for (host, managed) in &mut self.hosts {
            let is_wanted = wanted.contains(&**host);
            if managed.is_wanted && !is_wanted {
                info!("ACME: {host}: there is no route any more; its certificate is not renewed");
                self.context
                    .certificates
                    .forget_failure(&certificate_name(host));
            }
            managed.is_wanted = is_wanted;
        }
        for host in wanted {
            let managed = self.hosts.entry(host.into()).or_default();
            managed.is_wanted = true;
        }
        for host in &context.options.hosts {
            if let Some(managed) = self.hosts.get_mut(host.as_str()) {
                managed.wanted_by = WantedBy::Operator;
            }
        }
        self.hosts.retain(|_, host| host.is_known());
    }

    /// The registered hosts that are to have certificates: no more than there may be.
    fn registered(&mut self, hosts: BTreeSet<String>) -> BTreeSet<String> {
        let (all, had_too_many) = (hosts.len(), self.has_too_many);
        self.has_too_many = all > MOST_REGISTERED;
        if !self.has_too_many {
            return hosts;
        }
        if !had_too_many {
            warn!(
                "ACME: routes are for {all} hosts of `acme.registered_hosts`, and {MOST_REGISTERED} of \
                 them are the most that get certificates; remove routes, or narrow the list"
            );
        }
        let standing = |host: &str| match self.hosts.get(host) {
            Some(managed) if managed.kept.is_some() => Seniority::HasCertificate,
            Some(managed) if managed.is_wanted => Seniority::Known,
            _ => Seniority::New,
        };
        let hosts = hosts.into_iter().map(|host| (standing(&host), host));
        bound(hosts.collect(), MOST_REGISTERED)
            .into_iter()
            .collect()
    }

    /// The folder; what is wrong with it is said, and it is tried again later.
    pub(super) fn open_files(&mut self) -> Option<&Files> {
        let now = SystemTime::now();
        if self.files.is_none() && self.authority.is_ready(now) {
            match Files::open(&self.context.options.folder) {
                Ok(files) => self.files = Some(files),
                Err(error) => self.disk_failed(&error),
            }
        }
        self.files.as_ref()
    }

    /// Has everything written anew if the folder was removed underneath.
    fn restore_files(&mut self) {
        match self.files.as_ref().map(Files::restore) {
            None | Some(Ok(false)) => self.is_loss_told = false,
            Some(Ok(true)) => {
                self.is_loss_told = false;
                // Its file has no name any more.
                self.lock = None;
                let now = SystemTime::now();
                for managed in self.hosts.values_mut().filter(|host| host.kept.is_some()) {
                    managed.write_at = Some(now);
                }
            }
            Some(Err(error)) => {
                if !self.is_loss_told {
                    error!("ACME: {error}; it is tried again every {TICK:?}");
                }
                self.is_loss_told = true;
            }
        }
    }

    pub(super) fn disk_failed(&mut self, error: &StoreError) {
        let failure = Failure::authority(error.to_string());
        let due = self.due(SystemTime::now());
        self.fail_all(&due, &failure);
    }

    /// Takes what the disk has and is not in use.
    pub(super) fn read_certificates(&mut self) {
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
                Ok(kept) => {
                    if let Err(problem) = self.take_kept(&host, kept) {
                        self.tell_unusable(&host, &problem);
                    }
                }
                Err(problem) => {
                    let ours = self.hosts.get(&host).and_then(|host| host.kept.as_ref());
                    let then = match ours {
                        Some(_) => "the one in use stays",
                        None => "a new certificate is ordered, if one is wanted",
                    };
                    self.tell_unusable(&host, &format!("{problem}; {then}"));
                }
            }
        }
    }

    /// Takes a certificate from the disk, if it is to take the place of the one in use.
    fn take_kept(&mut self, host: &Arc<str>, kept: KeptCertificate) -> Result<(), String> {
        let managed = self.hosts.get(host);
        if managed.and_then(|managed| managed.kept.as_ref()) == Some(&kept) {
            return Ok(());
        }
        let details = details(host, &kept)?;
        let directory = &self.context.options.directory;
        let now = SystemTime::now();
        let is_taken = |ours: &Host| ours.takes(&kept, details.not_after, directory, now);
        if !managed.is_none_or(is_taken) {
            return Ok(());
        }
        let issued = kept.issued;
        self.take(host, kept, &details)?;
        // What failed since then counts on.
        let tried = self.tries.get(&**host);
        if tried.is_some_and(|tried| tried.last() <= issued) {
            self.tries.remove(&**host);
        }
        Ok(())
    }

    /// Puts a certificate, which says this and has been checked, into use, or says why it cannot be.
    pub(super) fn take(
        &mut self,
        host: &Arc<str>,
        kept: KeptCertificate,
        details: &Details,
    ) -> Result<(), String> {
        let given = Given {
            certificate: &kept.certificate,
            key: &kept.key,
            default: false,
            source: Source::Acme,
        };
        let certificates = &self.context.certificates;
        let name = certificate_name(host);
        certificates
            .take_if(&name, &given, |stored| stored.source == Source::Acme)
            .map_err(|error| unusable(&error.to_string()))?;
        let managed = self.hosts.entry(Arc::clone(host)).or_default();
        managed.set(kept, details);
        Ok(())
    }

    /// Says once that a file is of no use.
    fn tell_unusable(&mut self, host: &Arc<str>, problem: &str) {
        let problem = one_line(problem, LONGEST);
        let managed = self.hosts.entry(Arc::clone(host)).or_default();
        if managed.told.as_ref() != Some(&problem) {
            error!("ACME: {host}: {problem}");
            if managed.is_wanted {
                self.context
                    .certificates
                    .note_failure(&certificate_name(host), &problem);
            }
            managed.told = Some(problem);
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
            let name = certificate_name(host);
            let stored = self.context.certificates.get(&name);
            let is_there = stored.is_some_and(|stored| stored.source == Source::Acme);
            let is_over = !managed.is_wanted && managed.has_expired(now);
            if is_there && !is_over {
                continue;
            }
            if is_there && let Err(error) = self.context.certificates.remove(&name) {
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
            self.hosts.retain(|_, host| host.is_known());
        }
    }
}

/// Returns the details of a host's certificate; an error if the certificate cannot be used for the host.
pub(super) fn details(host: &str, kept: &KeptCertificate) -> Result<Arc<Details>, String> {
    let details = Details::of_pair(&kept.certificate, &kept.key);
    let details = details.map_err(|error| unusable(&error.to_string()))?;
    check(&details, host).map_err(|problem| unusable(&problem))?;
    Ok(details)
}

pub(super) fn unusable(problem: &str) -> String {
    format!("the certificate cannot be used: {problem}")
}
