//! One host: its certificate, and when it is to be renewed.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use log::info;

use super::files::KeptCertificate;
use super::queue::Priority;
use super::renewal::{self, Validity, Window};
use super::time::{self, seconds, shown};
use crate::tls::Details;

/// How soon, and how late, an authority is asked again when to renew (RFC 9773, 4.3.2).
const ASK: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(24));

/// Asked again after this if there was no answer (RFC 9773, 4.3.3).
const ASK_AFTER_FAILURE: Duration = Duration::from_hours(6);

/// Two proxies that share a folder and not a directory replace each other's certificates no more often
/// than this.
const OTHER_DIRECTORY: Duration = Duration::from_hours(1);

/// Who wants a certificate for a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WantedBy {
    /// The configuration names it.
    Operator,
    /// An app has registered it.
    #[default]
    App,
}

/// Information about a host.
#[derive(Default)]
pub(super) struct Host {
    /// Whether there is to be a certificate.
    pub(super) is_wanted: bool,
    /// Who wants it, or did.
    pub(super) wanted_by: WantedBy,
    /// Whether a task is at it.
    pub(super) is_busy: bool,
    /// Whether that is an order.
    pub(super) is_ordering: bool,
    /// The certificate in use.
    pub(super) kept: Option<KeptCertificate>,
    /// The problem with its file that was told last.
    pub(super) told: Option<String>,
    /// When this process last got a certificate.
    pub(super) got_at: Option<SystemTime>,
    /// When its file is to be written again, if that has failed.
    pub(super) write_at: Option<SystemTime>,
    validity: Option<Validity>,
    renew_at: Option<SystemTime>,
    window: Option<Window>,
    ask_at: Option<SystemTime>,
}

impl Host {
    /// Has another certificate from now on.
    pub(super) fn set(&mut self, kept: KeptCertificate, details: &Details) {
        let validity = Validity {
            not_before: details.not_before,
            not_after: details.not_after,
        };
        self.validity = Some(validity);
        self.renew_at = Some(validity.two_thirds(fastrand::f64()));
        self.window = None;
        self.ask_at = None;
        self.told = None;
        self.write_at = None;
        self.kept = Some(kept);
    }

    /// When it is renewed, if there is a certificate.
    pub(super) fn renews_at(&self) -> Option<SystemTime> {
        self.renew_at.filter(|_| self.kept.is_some())
    }

    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.validity
            .is_some_and(|validity| validity.not_after < now)
    }

    /// Whether there is anything to be known of it.
    pub(super) fn is_known(&self) -> bool {
        self.is_wanted || self.is_busy || self.kept.is_some() || self.told.is_some()
    }

    /// Whether there is to be an order.
    pub(super) fn is_due(&self, directory: &str, now: SystemTime) -> bool {
        self.is_wanted && !self.is_busy && self.is_old(directory, now)
    }

    /// Whether there is no certificate that need not be replaced.
    fn is_old(&self, directory: &str, now: SystemTime) -> bool {
        let (Some(kept), Some(validity), Some(renew_at)) =
            (&self.kept, self.validity, self.renew_at)
        else {
            return true;
        };
        if kept.directory != directory {
            let is_over = |at: SystemTime| now < at || now >= at + OTHER_DIRECTORY;
            return self.got_at.is_none_or(is_over);
        }
        let issued = issued(kept);
        // One from the future: the clock was set back.
        let has_rested = now < issued || now >= validity.soonest(issued);
        now >= renew_at && has_rested
    }

    /// Whether another certificate, from the disk, takes the place of the one in use: a newer one,
    /// since writing ours may have failed; any other one if ours is due, or was issued by a clock that
    /// was ahead and made every later one look older.
    pub(super) fn takes(
        &self,
        other: &KeptCertificate,
        until: SystemTime,
        directory: &str,
        now: SystemTime,
    ) -> bool {
        let Some(ours) = &self.kept else {
            return true;
        };
        if ours == other || ours.issued < other.issued {
            return ours != other;
        }
        // An older one that is of no use, and one that ours could not be written over, does not count.
        let is_better = until > now || self.has_expired(now);
        let is_ahead = ours.issued > seconds(now);
        self.write_at.is_none() && is_better && (is_ahead || self.is_old(directory, now))
    }

    /// Its place among those that are due; it last failed at a moment, in seconds since 1970.
    pub(super) fn place(&self, failed: u64, now: SystemTime) -> Priority {
        if let Some(validity) = self.validity.filter(|_| self.kept.is_some())
            && validity.is_ending(now)
        {
            return Priority::Expiring(seconds(validity.not_after));
        }
        let issued = self.kept.as_ref().map_or(0, |kept| kept.issued);
        let last = failed.max(issued);
        match self.wanted_by {
            WantedBy::Operator => Priority::Own(last),
            WantedBy::App => Priority::Registered(last),
        }
    }

    /// Whether the authority is to be asked when to renew.
    pub(super) fn is_to_ask(&self, directory: &str, now: SystemTime) -> bool {
        let is_ours = self
            .kept
            .as_ref()
            .is_some_and(|kept| kept.directory == directory);
        let far = now.checked_add(2 * ASK.1);
        // A moment that is too far away is of a clock that was set back.
        let is_time = |at: SystemTime| now >= at || far.is_some_and(|far| at > far);
        self.is_wanted && !self.is_busy && is_ours && self.ask_at.is_none_or(is_time)
    }

    /// Notes that it is being asked.
    pub(super) fn asked(&mut self, now: SystemTime) {
        self.ask_at = now.checked_add(ASK_AFTER_FAILURE);
    }

    /// Takes the authority's word for when to renew.
    pub(super) fn suggest(&mut self, host: &str, window: Window, again: Duration) {
        self.ask_at = SystemTime::now().checked_add(again.clamp(ASK.0, ASK.1));
        if self.window == Some(window) {
            return;
        }
        let Some(validity) = self.validity else {
            return;
        };
        if let Some(moment) = window.moment(validity, fastrand::f64()) {
            let at = shown(moment);
            info!("ACME: {host}: renewed at {at}, as the authority suggests");
            self.window = Some(window);
            self.renew_at = Some(moment);
        }
    }

    /// The certificate's name for the authority.
    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        renewal::identifier(&self.kept.as_ref()?.certificate)
    }

    /// The certificate that the next one is for, if the authority is one that wants to know.
    pub(super) fn replaces(&self, directory: &str) -> Option<CertificateIdentifier<'static>> {
        let kept = self.kept.as_ref()?;
        let is_known = self.window.is_some() && kept.directory == directory;
        if is_known { self.identifier() } else { None }
    }
}

fn issued(kept: &KeptCertificate) -> SystemTime {
    time::at(kept.issued)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const URL: &str = "https://ca.test/dir";
    const DAY: Duration = Duration::from_hours(24);

    fn day(number: u32) -> SystemTime {
        UNIX_EPOCH + DAY * number
    }

    /// A host whose certificate is valid from day 1000 to 1090, and was got then.
    fn host() -> Host {
        let kept = KeptCertificate {
            directory: URL.to_owned(),
            issued: seconds(day(1000)),
            certificate: String::new(),
            key: String::new(),
        };
        let details = Details {
            names: Vec::new(),
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            not_before: day(1000),
            not_after: day(1090),
            fingerprint: String::new(),
        };
        let mut host = Host {
            is_wanted: true,
            ..Host::default()
        };
        host.set(kept, &details);
        host
    }

    #[test]
    fn a_certificate_is_due_when_it_is_old_or_missing_and_wanted() {
        let mut host = host();
        assert!(!host.is_due(URL, day(1001)));
        assert!(host.is_due(URL, day(1061)));
        // Expired, and a clock that jumped ahead.
        assert!(host.is_due(URL, day(2000)));
        host.is_wanted = false;
        assert!(!host.is_due(URL, day(1061)));
        let missing = Host {
            is_wanted: true,
            ..Host::default()
        };
        assert!(missing.is_due(URL, day(1)));
    }

    #[test]
    fn what_a_wrong_clock_thinks_is_too_old_is_not_ordered_again_and_again() {
        let mut host = host();
        let mut kept = host.kept.clone().unwrap();
        // The clock is years ahead: the certificate has expired when it comes.
        kept.issued = seconds(day(3000));
        host.kept = Some(kept);
        assert!(!host.is_due(URL, day(3000) + Duration::from_mins(59)));
        assert!(host.is_due(URL, day(3000) + Duration::from_hours(1)));
        // It was set right.
        assert!(!host.is_due(URL, day(1001)));
        assert!(host.is_due(URL, day(1061)));
    }

    #[test]
    fn a_certificate_of_another_directory_is_replaced_but_not_all_the_time() {
        let mut host = host();
        let other = "https://other.test/dir";
        assert!(host.is_due(other, day(1001)));
        host.got_at = Some(day(1001));
        assert!(!host.is_due(other, day(1001) + Duration::from_mins(59)));
        assert!(host.is_due(other, day(1002)));
    }

    #[test]
    fn the_authority_is_asked_and_its_word_counts() {
        let mut host = host();
        assert!(host.is_to_ask(URL, day(1001)));
        assert!(!host.is_to_ask("https://other.test/dir", day(1001)));
        host.asked(day(1001));
        assert!(!host.is_to_ask(URL, day(1001)));
        assert!(host.is_to_ask(URL, day(1002)));
        // A clock that was set back.
        assert!(host.is_to_ask(URL, day(1)));
        let window = Window {
            start: day(1010),
            end: day(1011),
        };
        host.suggest("a.example", window, Duration::ZERO);
        assert!(!host.is_due(URL, day(1009)));
        assert!(host.is_due(URL, day(1011)));
        // Of no use: it stays as it was.
        let late = Window {
            start: day(2000),
            end: day(2001),
        };
        host.suggest("a.example", late, Duration::MAX);
        assert!(host.is_due(URL, day(1011)));
        // Long before there were clocks: at once, and it can be shown.
        let century = Duration::from_hours(24 * 365 * 100);
        let old = Window {
            start: UNIX_EPOCH - century,
            end: UNIX_EPOCH - century + DAY,
        };
        host.suggest("a.example", old, Duration::ZERO);
        assert!(host.is_due(URL, day(1001)));
        assert_eq!(host.renews_at(), Some(day(1000)));
    }

    /// A certificate that was issued on a day, as another process kept it.
    fn other(issued: SystemTime) -> KeptCertificate {
        KeptCertificate {
            directory: URL.to_owned(),
            issued: seconds(issued),
            certificate: "other".to_owned(),
            key: String::new(),
        }
    }

    #[test]
    fn a_newer_certificate_on_the_disk_is_taken_and_an_older_one_is_not() {
        let host = host();
        let takes = |other: &KeptCertificate, at| host.takes(other, day(2000), URL, at);
        assert!(takes(&other(day(1001)), day(1002)));
        assert!(!takes(&other(day(999)), day(1002)));
        let same = host.kept.clone().unwrap();
        assert!(!takes(&same, day(1002)));
        // Ours is due.
        assert!(takes(&other(day(999)), day(1061)));
        assert!(!takes(&same, day(1061)));
        assert!(!host.takes(&other(day(999)), day(1050), URL, day(1061)));
        assert!(Host::default().takes(&other(day(1)), day(2), URL, day(1002)));
    }

    #[test]
    fn after_a_clock_that_was_ahead_the_disk_is_believed() {
        let mut host = host();
        let mut kept = host.kept.clone().unwrap();
        kept.issued = seconds(day(3000));
        host.kept = Some(kept);
        assert!(host.takes(&other(day(1001)), day(1091), URL, day(1002)));
        // Ours is not on the disk yet.
        host.write_at = Some(day(1002));
        assert!(!host.takes(&other(day(1001)), day(1091), URL, day(1002)));
    }

    #[test]
    fn what_expires_soon_has_another_place_than_what_has_expired() {
        let mut host = host();
        let until = seconds(day(1090));
        let issued = seconds(day(1000));
        assert_eq!(host.place(0, day(1061)), Priority::Registered(issued));
        assert_eq!(host.place(0, day(1080)), Priority::Expiring(until));
        assert_eq!(host.place(0, day(1091)), Priority::Registered(issued));
        host.wanted_by = WantedBy::Operator;
        assert_eq!(host.place(0, day(1061)), Priority::Own(issued));
        assert_eq!(host.place(u64::MAX, day(1061)), Priority::Own(u64::MAX));
    }
}
