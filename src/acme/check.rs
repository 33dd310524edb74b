//! Whether a certificate is what was ordered: for the host alone, and for some time.

use std::time::SystemTime;

use super::failure::one_line;
use super::time::shown;
use crate::tls::{Details, Pattern};

/// The most letters of names that are shown.
const LONGEST_NAMES: usize = 200;

/// Refuses a certificate that is not for this host alone, or that is never valid: an authority, or
/// whoever writes into the folder, could take the place of any other name's certificate.
pub(super) fn check(details: &Details, host: &str) -> Result<(), String> {
    let is_host = |name: &Pattern| matches!(name, Pattern::Exact(name) if **name == *host);
    let is_only = matches!(details.names.as_slice(), [name] if is_host(name));
    if !is_only {
        let names: Vec<String> = details.names.iter().map(ToString::to_string).collect();
        let names = one_line(&names.join(", "), LONGEST_NAMES);
        return Err(format!(
            "it is for [{names}], and has to be for {host} alone"
        ));
    }
    if details.not_after <= details.not_before {
        return Err("it ends before it begins".to_owned());
    }
    Ok(())
}

/// Refuses a certificate that has just come and is of no use any more.
pub(super) fn check_new(details: &Details, now: SystemTime) -> Result<(), String> {
    if details.not_after <= now {
        let since = shown(details.not_after);
        return Err(format!(
            "it has expired, at {since}; if that is not so, this machine's clock is wrong"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::time::at;
    use super::*;

    fn details(names: &[&str], from: u64, until: u64) -> Details {
        let names = names.iter().filter_map(|name| Pattern::parse(name));
        Details {
            names: names.collect(),
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            not_before: at(from),
            not_after: at(until),
            fingerprint: String::new(),
        }
    }

    #[test]
    fn a_certificate_is_for_its_host_alone() {
        let check = |names: &[&str]| check(&details(names, 1, 2), "a.example");
        assert_eq!(check(&["a.example"]), Ok(()));
        assert_eq!(check(&["A.Example"]), Ok(()));
        for names in [
            &[][..],
            &["bank.example"],
            &["*.example"],
            &["*.a.example"],
            &["a.example", "bank.example"],
            &["bank.example", "a.example"],
        ] {
            let problem = check(names).unwrap_err();
            assert!(
                problem.contains("has to be for a.example alone"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_certificate_is_valid_for_some_time() {
        let dates = |from, until| check(&details(&["a.example"], from, until), "a.example");
        assert_eq!(dates(10, 11), Ok(()));
        assert!(dates(10, 10).unwrap_err().contains("ends before"));
        assert!(dates(10, 9).unwrap_err().contains("ends before"));
        let new = |until| check_new(&details(&[], 0, until), at(100));
        assert_eq!(new(101), Ok(()));
        assert!(new(100).unwrap_err().contains("has expired"));
        assert!(new(0).unwrap_err().contains("1970"));
    }
}
