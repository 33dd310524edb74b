//! Names of certificates and of files, made of hosts and of URLs: short, and each of one thing only.

use sha2::{Digest as _, Sha256};

/// The prefix of the certificates' names; a host follows.
const PREFIX: &str = "acme-";

/// The longest name of a certificate of the proxy's.
const LONGEST_NAME: usize = 64;

/// The name of a host's certificate.
pub(super) fn certificate_name(host: &str) -> String {
    let name = format!("{PREFIX}{host}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = short_hash(host);
    let kept: String = name.chars().take(LONGEST_NAME - 1 - hash.len()).collect();
    format!("{kept}-{hash}")
}

/// Returns a hash of 16 hexadecimal digits. It tells texts apart that are too long for a name, or have
/// characters that a name may not have.
pub(super) fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let number = hash.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
    format!("{:016x}", number.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_of_one_host() {
        assert_eq!(certificate_name("a.example"), "acme-a.example");
        let long = format!("{}.example", "a".repeat(63));
        let other = format!("{}.example2", "a".repeat(63));
        assert_eq!(certificate_name(&long).len(), LONGEST_NAME);
        assert_ne!(certificate_name(&long), certificate_name(&other));
    }
}
