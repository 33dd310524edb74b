//! Files that change, and certificates that come and go over the API.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::super::testing::{DAY, Identity, Wanted, pair};
use super::super::{Certificates, Given, RemoveError, Source, TakeError, Taken};
use super::*;

/// The certificate that a client gets that asks for a name.
fn served(certificates: &Certificates, name: &str) -> Option<CertificateDer<'static>> {
    let chosen = certificates.choose(Some(name), &[])?;
    Some(chosen.cert[0].clone())
}

/// An identity's certificate, which is what is to be served.
#[expect(clippy::unnecessary_wraps, reason = "compared with what is served")]
fn der(identity: &Identity) -> Option<CertificateDer<'static>> {
    Some(pair(identity).certified.cert[0].clone())
}

/// A certificate of files, loaded.
fn loaded() -> (Files, Identity, Certificates) {
    let files = Files::new();
    let identity = Identity::of(&["a.example"]);
    files.put("a", &identity);
    let certificates = Certificates::load([files.entry("a")]).unwrap();
    (files, identity, certificates)
}

#[test]
fn files_are_read_again_and_the_handshakes_before_keep_theirs() {
    let (files, old, certificates) = loaded();
    let kept = certificates.choose(Some("a.example"), &[]).unwrap();
    certificates.look();
    let new = Identity::of(&["b.example"]);
    files.put("a", &new);
    certificates.look();
    assert_eq!(served(&certificates, "b.example"), der(&new));
    assert_eq!(served(&certificates, "a.example"), None);
    assert_eq!(Some(kept.cert[0].clone()), der(&old));
    // A rename puts another file in the place.
    files.put("next", &old);
    fs::rename(files.path("next.crt"), files.path("a.crt")).unwrap();
    fs::rename(files.path("next.key"), files.path("a.key")).unwrap();
    certificates.look();
    assert_eq!(served(&certificates, "a.example"), der(&old));
    assert_eq!(certificates.failures(), 0);
}

#[test]
fn a_swap_in_two_steps_is_no_failure_and_one_that_stays_half_done_is() {
    let (files, old, certificates) = loaded();
    let new = Identity::of(&["a.example"]);
    files.write("a.key", &new.key);
    certificates.look();
    assert_eq!(certificates.failures(), 0);
    assert_eq!(served(&certificates, "a.example"), der(&old));
    files.write("a.crt", &new.certificate);
    certificates.look();
    assert_eq!(served(&certificates, "a.example"), der(&new));
    assert_eq!(certificates.failures(), 0);

    files.write("a.crt", &old.certificate);
    for _ in 0..5 {
        certificates.look();
    }
    // Once for each change.
    assert_eq!(certificates.failures(), 1);
    let stored = certificates.get("a").unwrap();
    assert_eq!(stored.failures, 1);
    assert!(stored.last_error.unwrap().contains("not the certificate's"));
    assert_eq!(served(&certificates, "a.example"), der(&new));

    files.write("a.crt", &new.certificate);
    certificates.look();
    assert!(certificates.get("a").unwrap().last_error.is_none());
}

#[test]
fn whatever_is_of_no_use_keeps_what_is_in_use() {
    let (files, old, certificates) = loaded();
    let now = SystemTime::now();
    let expired = Wanted {
        names: &["a.example"],
        from: now - 2 * DAY,
        until: now - DAY,
        ..Wanted::default()
    }
    .make();
    let new = Identity::of(&["a.example"]);
    let half = &new.certificate[..new.certificate.len() / 2];
    let mut failures = 0;
    let mut fails = |what: &str, says: &str| {
        certificates.look();
        certificates.look();
        failures += 1;
        assert_eq!(certificates.failures(), failures, "{what}");
        let error = certificates.get("a").unwrap().last_error.unwrap();
        assert!(error.contains(says), "{what}: {error}");
        assert_eq!(served(&certificates, "a.example"), der(&old), "{what}");
    };
    files.put("a", &expired);
    fails("expired", "expired at");
    files.write("a.crt", half);
    fails("half written", "half written");
    files.write("a.crt", "");
    fails("empty", "is not PEM");
    fs::remove_file(files.path("a.crt")).unwrap();
    fails("deleted", "check the path");
    files.put("a", &new);
    certificates.look();
    assert_eq!(served(&certificates, "a.example"), der(&new));
    assert!(certificates.get("a").unwrap().last_error.is_none());
}

#[test]
fn a_thread_looks_and_ends_with_the_certificates() {
    let (files, _, certificates) = loaded();
    let certificates = Arc::new(certificates);
    certificates.watch().unwrap();
    let new = Identity::of(&["b.example"]);
    files.put("a", &new);
    let begin = std::time::Instant::now();
    while served(&certificates, "b.example").is_none() {
        assert!(begin.elapsed().as_secs() < 20, "nobody looks");
        std::thread::yield_now();
    }
}

#[test]
fn the_one_that_is_valid_longest_wins_and_exact_before_wildcard_before_default() {
    let now = SystemTime::now();
    let until = |names, days| {
        Wanted {
            names,
            until: now + days * DAY,
            ..Wanted::default()
        }
        .make()
    };
    let exact = until(&["a.example.com"], 10);
    let longer = until(&["a.example.com"], 20);
    let wildcard = until(&["*.example.com"], 30);
    let default = until(&["other.example"], 40);
    let certificates = Certificates::new();
    let put = |name: &str, identity: &Identity, default: bool| {
        let taken = certificates.take(name, &identity.given(default));
        assert_eq!(taken.unwrap(), Taken::Created);
    };
    put("exact", &exact, false);
    put("longer", &longer, false);
    put("wildcard", &wildcard, false);
    for (name, expected) in [
        ("a.example.com", Some(&longer)),
        ("A.Example.COM.", Some(&longer)),
        ("b.example.com", Some(&wildcard)),
        ("example.com", None),
        ("a.b.example.com", None),
        ("", None),
    ] {
        assert_eq!(
            served(&certificates, name),
            expected.and_then(der),
            "{name}"
        );
    }
    assert!(certificates.choose(None, &[]).is_none());
    put("default", &default, true);
    assert_eq!(served(&certificates, "a.b.example.com"), der(&default));
    assert_eq!(served(&certificates, "b.example.com"), der(&wildcard));
    assert!(certificates.choose(None, &[]).is_some());
    certificates.remove("longer").unwrap();
    assert_eq!(served(&certificates, "a.example.com"), der(&exact));
    certificates.remove("exact").unwrap();
    assert_eq!(served(&certificates, "a.example.com"), der(&wildcard));
    assert!(matches!(
        certificates.remove("exact"),
        Err(RemoveError::Unknown(_))
    ));
}

#[test]
fn a_certificate_is_kept_over_a_restart_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/certificates");
    let first = Identity::of(&["a.example"]);
    let second = Identity::of(&["b.example"]);
    {
        let certificates = Certificates::new();
        certificates.open(&path).unwrap();
        let take = |name, identity: &Identity, default| {
            certificates.take(name, &identity.given(default)).unwrap()
        };
        assert_eq!(take("a", &first, true), Taken::Created);
        assert_eq!(take("a", &first, true), Taken::Unchanged);
        assert_eq!(take("b", &first, false), Taken::Created);
        assert_eq!(take("b", &second, true), Taken::Replaced);
        assert_eq!(take("gone", &second, false), Taken::Created);
        certificates.remove("gone").unwrap();
    }
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["a.json", "b.json"]);

    // A crash may leave a file that was not finished, and somebody a damaged one.
    fs::write(path.join("c.unfinished"), "{").unwrap();
    fs::write(path.join("d.json"), "{").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let certificates = Certificates::new();
    certificates.open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert!(!path.join("c.unfinished").exists());
    assert_eq!(served(&certificates, "a.example"), der(&first));
    // The default went from one to the other.
    assert_eq!(served(&certificates, "else.example"), der(&second));
    let shown: Vec<_> = certificates
        .list()
        .iter()
        .map(|s| {
            (
                s.name.to_string(),
                s.default,
                s.details.is_some(),
                s.failures,
            )
        })
        .collect();
    let expected = [
        ("a", false, true, 0),
        ("b", true, true, 0),
        ("d", false, false, 1),
    ];
    assert_eq!(shown, expected.map(|(n, d, i, f)| (n.to_owned(), d, i, f)));
    certificates.remove("d").unwrap();
    assert!(!path.join("d.json").exists());
}

#[test]
fn one_that_expired_while_it_was_kept_is_used_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let identity = Wanted {
        names: &["a.example"],
        from: now - 2 * DAY,
        until: now - DAY,
        ..Wanted::default()
    }
    .make();
    let certificates = Certificates::new();
    let refused = certificates.take("a", &identity.given(false));
    assert!(matches!(refused, Err(TakeError::Pair(_))));
    let kept = serde_json::json!({
        "source": "api", "default": false,
        "certificate": identity.certificate, "key": identity.key,
    });
    fs::write(folder.path().join("a.json"), kept.to_string()).unwrap();
    certificates.open(folder.path()).unwrap();
    assert_eq!(served(&certificates, "a.example"), der(&identity));
}

#[test]
fn what_cannot_be_written_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificates");
    let certificates = Certificates::new();
    certificates.open(&path).unwrap();
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "a file in the way").unwrap();
    let identity = Identity::shared();
    let taken = certificates.take("a", &identity.given(false));
    assert!(matches!(taken, Err(TakeError::Store(_))), "{taken:?}");
    assert_eq!(served(&certificates, "localhost"), None);
    assert!(certificates.list().is_empty());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Certificates::new().open(&file).is_err());
}

#[test]
fn the_configurations_certificates_are_its_own() {
    let files = Files::new();
    let identity = Identity::of(&["a.example"]);
    files.put("a", &identity);
    let certificates = Certificates::load([files.default("a")]).unwrap();
    let other = Identity::shared();
    let take = |name, default| certificates.take(name, &other.given(default));
    assert!(matches!(take("a", false), Err(TakeError::Configured(_))));
    assert!(matches!(
        take("b", true),
        Err(TakeError::DefaultConfigured(_))
    ));
    assert!(matches!(take("a/b", false), Err(TakeError::Name)));
    assert!(matches!(
        certificates.remove("a"),
        Err(RemoveError::Configured(_))
    ));
    assert_eq!(take("b", false).unwrap(), Taken::Created);
    assert_eq!(served(&certificates, "x.example"), der(&identity));

    // A kept one of the same name is not used.
    let folder = tempfile::tempdir().unwrap();
    let kept = serde_json::json!({
        "source": "api", "default": true, "certificate": other.certificate, "key": other.key,
    });
    fs::write(folder.path().join("a.json"), kept.to_string()).unwrap();
    certificates.open(folder.path()).unwrap();
    assert_eq!(served(&certificates, "x.example"), der(&identity));
}

#[test]
fn a_certificate_of_tomorrow_is_used_from_tomorrow_on() {
    let (files, old, certificates) = loaded();
    let now = SystemTime::now();
    let new = Wanted {
        names: &["a.example"],
        from: now + DAY,
        until: now + 9 * DAY,
        ..Wanted::default()
    }
    .make();
    files.put("a", &new);
    for _ in 0..5 {
        certificates.look();
    }
    assert_eq!(served(&certificates, "a.example"), der(&old));
    assert_eq!(certificates.failures(), 1);
    certificates.look_at(now + 2 * DAY);
    assert_eq!(served(&certificates, "a.example"), der(&new));
    assert!(certificates.get("a").unwrap().last_error.is_none());
    assert_eq!(certificates.failures(), 1);
}

#[test]
fn nothing_is_changed_once_another_process_has_the_folder() {
    let (_files, _, certificates) = loaded();
    let identity = Identity::shared();
    certificates.take("b", &identity.given(false)).unwrap();
    certificates.close();
    let taken = certificates.take("c", &identity.given(false));
    assert!(matches!(taken, Err(TakeError::Closed)));
    assert!(matches!(certificates.remove("b"), Err(RemoveError::Closed)));
    assert_eq!(certificates.list().len(), 2);
}

#[test]
fn what_an_authority_gave_is_not_kept_here_and_may_be_too_old() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::new();
    certificates.open(folder.path()).unwrap();
    let now = SystemTime::now();
    let old = Wanted {
        names: &["a.example"],
        from: now - 90 * DAY,
        until: now - DAY,
        ..Wanted::default()
    };
    let old = old.make();
    let given = Given {
        source: Source::Acme,
        ..old.given(false)
    };
    assert_eq!(certificates.take("a", &given).unwrap(), Taken::Created);
    assert_eq!(served(&certificates, "a.example"), der(&old));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // The same over the API is refused.
    let refused = certificates.take("b", &old.given(false));
    assert!(matches!(refused, Err(TakeError::Pair(_))), "{refused:?}");
}

#[test]
fn a_failure_is_shown_with_a_certificate_or_without_until_there_is_one() {
    let certificates = Certificates::new();
    certificates.note_failure("a", "no");
    certificates.note_failure("a", "no again");
    let stored = certificates.get("a").unwrap();
    assert_eq!(stored.last_error.as_deref(), Some("no again"));
    assert_eq!((stored.failures, stored.source), (2, Source::Acme));
    assert_eq!(certificates.failures(), 2);
    assert!(stored.details.is_none());
    let identity = Identity::of(&["a.example"]);
    let given = Given {
        source: Source::Acme,
        ..identity.given(false)
    };
    certificates.take("a", &given).unwrap();
    let stored = certificates.get("a").unwrap();
    assert_eq!(stored.last_error, None);
    certificates.note_failure("a", "no");
    // It goes on serving, and is not forgotten.
    certificates.forget_failure("a");
    assert_eq!(served(&certificates, "a.example"), der(&identity));
    certificates.note_failure("b", "no");
    certificates.forget_failure("b");
    assert!(certificates.get("b").is_none());
}
