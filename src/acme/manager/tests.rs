//! Tests of how the manager treats hosts, files and failures, without an authority.

use rcgen::{CertificateParams, KeyPair};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::Acme;
use super::super::answers::Answers;
use super::super::failure::Scope;
use super::super::files::KeptCertificate;
use super::super::names::certificate_name;
use super::super::options::{Challenge, Options};
use super::super::time::{at, seconds};
use super::*;
use crate::registry::{Registration, Registry, Rules};
use crate::route::HostPattern;
use crate::tls::Certificates;

const URL: &str = "https://ca.test/dir";
const DAY: Duration = Duration::from_hours(24);

/// A manager whose state is in a folder, and its hosts: those of the configuration, and those of
/// routes.
fn manager(folder: &std::path::Path, own: &[&str], registered: &[&str]) -> Manager {
    let registry = Registry::new(Rules::default());
    for host in registered {
        let route = Registration::new("/", 1).unwrap();
        let route = route.for_request_hosts(&[host]).unwrap();
        registry.register_blocking(route).unwrap();
    }
    let options = Options {
        directory: URL.to_owned(),
        authorities: None,
        contact: Vec::new(),
        hosts: own.iter().map(ToString::to_string).collect(),
        registered_hosts: vec![HostPattern::parse("*.apps.example").unwrap()],
        challenges: vec![Challenge::Http01],
        binding: None,
        folder: folder.to_owned(),
    };
    let certificates = Arc::new(Certificates::new());
    let context = Context::new(
        options,
        Answers::default(),
        certificates,
        Arc::new(registry),
    );
    let mut manager = Manager::new(Arc::new(context));
    manager.look();
    manager
}

/// A certificate for names, valid from and until a number of days from now.
fn issued(names: &[&str], from: i64, until: i64) -> Issued {
    let day = |days: i64| {
        let distance = DAY * u32::try_from(days.unsigned_abs()).unwrap();
        let now = SystemTime::now();
        if days < 0 {
            now - distance
        } else {
            now + distance
        }
    };
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = day(from).into();
    params.not_after = day(until).into();
    Issued {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// A certificate as a file of the folder, issued at a moment.
fn kept(issued: Issued, when: SystemTime) -> KeptCertificate {
    KeptCertificate {
        directory: URL.to_owned(),
        issued: seconds(when),
        certificate: issued.certificate,
        key: issued.key,
    }
}

/// The host's certificate in use, PEM.
fn in_use<'a>(manager: &'a Manager, host: &str) -> Option<&'a str> {
    let kept = manager.hosts.get(host)?.kept.as_ref()?;
    Some(&kept.certificate)
}

fn is_shown(manager: &Manager, host: &str) -> bool {
    manager
        .context
        .certificates
        .get(&certificate_name(host))
        .is_some()
}

#[test]
fn the_operators_hosts_come_before_those_that_are_registered() {
    let folder = tempfile::tempdir().unwrap();
    let registered = ["a.apps.example", "b.apps.example", "c.apps.example"];
    let mut manager = manager(folder.path(), &["y.example", "z.example"], &registered);
    let now = SystemTime::now();
    let due = |manager: &Manager, at| -> Vec<String> {
        manager.due(at).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        due(&manager, now),
        [
            "y.example",
            "z.example",
            "a.apps.example",
            "b.apps.example",
            "c.apps.example"
        ]
    );
    // Whoever has just failed is behind those who have not.
    for host in ["y.example", "a.apps.example"] {
        manager.fail(&host.into(), &Failure::host("no"));
    }
    assert_eq!(
        due(&manager, now + DAY),
        [
            "z.example",
            "y.example",
            "b.apps.example",
            "c.apps.example",
            "a.apps.example"
        ]
    );
    // And what is in use, and expires soon, is before all.
    manager.keep(
        &"c.apps.example".into(),
        issued(&["c.apps.example"], -80, 10),
    );
    let soon = now + DAY * 2;
    assert_eq!(due(&manager, soon).first().unwrap(), "c.apps.example");
}

#[test]
fn certificates_for_other_names_are_taken_neither_from_the_authority_nor_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = manager(folder.path(), &["a.example"], &[]);
    let host: Arc<str> = "a.example".into();
    for names in [&["bank.example"][..], &["a.example", "bank.example"]] {
        manager.keep(&host, issued(names, -1, 90));
        assert_eq!(in_use(&manager, &host), None, "{names:?}");
        assert!(manager.tries.contains_key(&*host), "{names:?}");
        let file = kept(issued(names, -1, 90), SystemTime::now());
        let files = manager.files.as_ref().unwrap();
        files.write_certificate(&host, &file).unwrap();
        manager.read_certificates();
        assert_eq!(in_use(&manager, &host), None, "{names:?}");
    }
    let stored = manager
        .context
        .certificates
        .get(&certificate_name(&host))
        .unwrap();
    assert!(stored.details.is_none());
    assert!(stored.last_error.unwrap().contains("bank.example"));
    // The right one is.
    manager.keep(&host, issued(&["a.example"], -1, 90));
    assert!(in_use(&manager, &host).is_some());
    assert!(!manager.tries.contains_key(&*host));
}

#[test]
fn failures_of_hosts_that_nobody_wants_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = manager(folder.path(), &[], &["a.apps.example"]);
    let host: Arc<str> = "a.apps.example".into();
    manager.fail(&host, &Failure::host("no"));
    assert!(is_shown(&manager, &host));
    // Its route goes while an order is on its way, which fails then.
    manager.hosts.get_mut(&host).unwrap().is_busy = true;
    let route = manager.context.registry.routes().remove(0);
    manager.context.registry.remove(&route.key()).unwrap();
    manager.look();
    assert!(!is_shown(&manager, &host));
    manager.fail(&host, &Failure::host("no"));
    assert!(!is_shown(&manager, &host));
    // One with a certificate goes on serving, and nothing is said to be wrong with it.
    manager.keep(&host, issued(&["a.apps.example"], -1, 90));
    let certificates = Arc::clone(&manager.context.certificates);
    certificates.note_failure(&certificate_name(&host), "no");
    certificates.forget_failure(&certificate_name(&host));
    let stored = certificates.get(&certificate_name(&host)).unwrap();
    assert!(stored.details.is_some() && stored.last_error.is_none());
    // A file that is of no use, too.
    let files = folder.path().join("certificates/b.example.json");
    std::fs::write(files, "{").unwrap();
    manager.read_certificates();
    assert!(!is_shown(&manager, "b.example"));
}

#[test]
fn too_many_orders_stop_all_of_them_for_an_hour_and_the_host_for_as_long_as_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = manager(folder.path(), &["a.example", "b.example"], &[]);
    let now = SystemTime::now();
    let failure = Failure {
        scope: Scope::Limit,
        ..Failure::host("too many").not_before(Some(now + DAY))
    };
    manager.fail(&"a.example".into(), &failure);
    assert!(!manager.authority.is_ready(now + Duration::from_mins(59)));
    let later = now + Duration::from_mins(61);
    assert!(manager.authority.is_ready(later));
    let due: Vec<String> = manager.due(later).iter().map(ToString::to_string).collect();
    assert_eq!(due, ["b.example"]);
    assert_eq!(manager.due(now + DAY + Duration::from_mins(1)).len(), 2);
}

#[test]
fn what_is_on_the_disk_replaces_what_a_clock_that_was_ahead_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = manager(folder.path(), &["a.example"], &[]);
    let host: Arc<str> = "a.example".into();
    let write = |manager: &Manager, issued: Issued, when| {
        let file = kept(issued, when);
        let files = manager.files.as_ref().unwrap();
        files.write_certificate("a.example", &file).unwrap();
        file.certificate
    };
    let now = SystemTime::now();
    let ahead = write(&manager, issued(&["a.example"], -1, 89), now + DAY * 300);
    manager.read_certificates();
    assert_eq!(in_use(&manager, &host), Some(&*ahead));
    let right = write(&manager, issued(&["a.example"], 0, 90), now);
    manager.read_certificates();
    assert_eq!(in_use(&manager, &host), Some(&*right));
    // An older one does not come back.
    write(&manager, issued(&["a.example"], -1, 89), now - DAY);
    manager.read_certificates();
    assert_eq!(in_use(&manager, &host), Some(&*right));
}

#[test]
fn a_certificate_from_the_disk_takes_back_no_failure_that_came_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = manager(folder.path(), &["a.example"], &[]);
    let host: Arc<str> = "a.example".into();
    manager.fail(&host, &Failure::host("no"));
    let file = kept(issued(&["a.example"], -80, 10), at(1_700_000_000));
    let files = manager.files.as_ref().unwrap();
    files.write_certificate(&host, &file).unwrap();
    manager.read_certificates();
    assert!(in_use(&manager, &host).is_some());
    assert!(manager.due(SystemTime::now()).is_empty());
}

#[test]
fn its_thread_has_ended_when_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let Manager { context, .. } = manager(folder.path(), &[], &[]);
    let acme = Arc::new(Acme {
        context,
        loaded: Mutex::new(None),
        closed: watch::Sender::new(false),
        ended: Mutex::new(None),
    });
    acme.start().unwrap();
    // The thread listens for the end as long as it is there.
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while acme.closed.receiver_count() == 0 {
        assert!(std::time::Instant::now() < end, "it has not begun");
        std::thread::yield_now();
    }
    acme.close();
    assert_eq!(acme.closed.receiver_count(), 0);
}
