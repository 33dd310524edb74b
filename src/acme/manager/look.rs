//! What is wanted, and what the disk has.

use std::sync::Arc;
use std::time::SystemTime;

use log::{error, info, warn};

use super::super::failure::Failure;
use super::super::files::{Files, KeptCertificate};
use super::super::tries::seconds;
use super::super::wanted::{name, wanted};
use super::Manager;
use crate::tls::{Given, Source, StoreError};

impl Manager {
    /// Looks at what is wanted, and what the disk has.
    pub(in super::super) fn look(&mut self) {
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
    pub(super) fn open_files(&mut self) -> Option<&Files> {
        let now = SystemTime::now();
        if self.files.is_none() && self.authority.is_ready(now) {
            match Files::open(&self.acme.options.folder) {
                Ok(files) => self.files = Some(files),
                Err(error) => self.disk_failed(&error),
            }
        }
        self.files.as_ref()
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
                    // One in use is only replaced by a newer one: writing that may have failed.
                    let ours = self.hosts.get(&host).and_then(|host| host.kept.as_ref());
                    if ours.is_none_or(|ours| ours.issued < kept.issued)
                        && let Err(problem) = self.take(&host, kept)
                    {
                        self.tell_unusable(&host, problem);
                    }
                }
                Err(problem) => {
                    let ours = self.hosts.get(&host).and_then(|host| host.kept.as_ref());
                    let then = match ours {
                        Some(_) => "the one in use stays",
                        None => "a new certificate is ordered, if one is wanted",
                    };
                    self.tell_unusable(&host, format!("{problem}; {then}"));
                }
            }
        }
    }

    /// Puts a certificate into use, or says why it cannot be.
    pub(super) fn take(&mut self, host: &Arc<str>, kept: KeptCertificate) -> Result<(), String> {
        let given = Given {
            certificate: &kept.certificate,
            key: &kept.key,
            default: false,
            source: Source::Acme,
        };
        let certificates = &self.acme.certificates;
        let name = name(host);
        let unusable = |error| format!("the certificate cannot be used: {error}");
        certificates
            .take_if(&name, &given, |stored| stored.source == Source::Acme)
            .map_err(|error| unusable(error.to_string()))?;
        let details = certificates.get(&name).and_then(|stored| stored.details);
        let details = details.ok_or_else(|| unusable("it has just been removed".to_owned()))?;
        let managed = self.hosts.entry(Arc::clone(host)).or_default();
        managed.set(kept, &details);
        self.tries.remove(&**host);
        Ok(())
    }

    /// Says once that a file is of no use.
    fn tell_unusable(&mut self, host: &Arc<str>, problem: String) {
        let managed = self.hosts.entry(Arc::clone(host)).or_default();
        if managed.told.as_ref() != Some(&problem) {
            error!("ACME: {host}: {problem}");
            self.acme.certificates.note_failure(&name(host), &problem);
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
            let name = name(host);
            let stored = self.acme.certificates.get(&name);
            let is_there = stored.is_some_and(|stored| stored.source == Source::Acme);
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
}
