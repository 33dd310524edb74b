//! Users of this machine.

use nix::unistd;
use serde::{Deserialize, Deserializer};

use super::text;

/// A user of this machine, looked up when the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The user as the configuration has it: a name, or the number.
    pub name: String,
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parse_with(deserializer, user)
    }
}

fn user(text: &str) -> Result<User, String> {
    let found = |uid| User {
        uid,
        name: text.to_owned(),
    };
    let shown = text::shown(text);
    match text.parse() {
        // The system calls read it as "no user".
        Ok(u32::MAX) => {
            return Err(format!(
                "is not the number of a user: {shown}; write one that `id -u` prints, or a name"
            ));
        }
        Ok(uid) => return Ok(found(uid)),
        Err(error) => log::trace!("{text:?} as a number: {error}"),
    }
    if text.is_empty() || text.contains('\0') {
        return Err(format!(
            "is not a user: {shown}; write a name or a number, such as www-data or 1000"
        ));
    }
    match unistd::User::from_name(text) {
        Ok(Some(user)) => Ok(found(user.uid.as_raw())),
        Ok(None) => Err(format!(
            "is not a user of this machine: {shown}; write a name that `id` knows, or a number"
        )),
        Err(error) => Err(format!(
            "cannot be looked up: {shown}: {error}; write the number"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let uid = |text| user(text).map(|user| user.uid);
        assert_eq!(uid("0"), Ok(0));
        assert_eq!(uid("root"), Ok(0));
        assert_eq!(uid("4000000000"), Ok(4_000_000_000));
        for bad in ["", "no such user", "-1", "4294967295", "4294967296", "a\0b"] {
            assert!(uid(bad).is_err(), "{bad:?}");
        }
    }
}
