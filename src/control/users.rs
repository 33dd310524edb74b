//! Registrations for some users of this machine alone.

use std::io;
use std::sync::Arc;

use super::peer::{Asker, Peer};
use super::socket_owner::{self, Uid};
use crate::registry::RegisterError;

/// A user whose processes may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedUser {
    /// The user's number.
    pub uid: Uid,
    /// The user's name in the audit.
    pub name: String,
}

/// The users whose processes may register.
#[derive(Debug)]
pub(super) struct Users(Vec<AllowedUser>);

impl Users {
    pub(super) fn new(users: Vec<AllowedUser>) -> Self {
        Self(users)
    }

    /// The user behind a request.
    ///
    /// # Errors
    /// [`RegisterError::Forbidden`]: none of these, or nobody that the kernel knows.
    pub(super) async fn check(&self, asker: &Asker) -> Result<Arc<str>, RegisterError> {
        let uid = match owner(asker).await {
            Ok(Some(uid)) => uid,
            Ok(None) => return refuse("nobody holds the other end of the connection any more"),
            Err(error) => return refuse(&format!("the kernel does not tell who asks: {error}")),
        };
        match self.0.iter().find(|user| user.uid == uid) {
            Some(user) => Ok(user.name.as_str().into()),
            None => refuse(&format!("user {uid} is not among them; add the user there")),
        }
    }

    /// The user behind a request, for the audit alone.
    pub(super) async fn name(&self, asker: &Asker) -> Option<Arc<str>> {
        let uid = match owner(asker).await {
            Ok(uid) => uid?,
            Err(error) => {
                log::warn!("the kernel does not tell who asks: {error} [{}]", asker.id);
                return None;
            }
        };
        let known = self.0.iter().find(|user| user.uid == uid);
        Some(known.map_or_else(|| uid.to_string().into(), |user| user.name.as_str().into()))
    }
}

fn refuse<T>(why: &str) -> Result<T, RegisterError> {
    Err(RegisterError::Forbidden {
        reason: format!(
            "only the users in registration.allow_users of the proxy's configuration may register, and {why}, \
             or register with a token"
        ),
    })
}

/// The user at the other end of a connection on this machine; none if nobody holds it, or it is none of
/// this machine's.
async fn owner(asker: &Asker) -> io::Result<Option<Uid>> {
    let (peer, local, cookie) = (asker.peer, asker.local, asker.cookie);
    // The kernel answers at once, but may have many sockets to look through.
    let told = tokio::task::spawn_blocking(move || match (peer, local, cookie) {
        (Peer::Inet(peer), Some(local), Some(cookie)) => socket_owner::of_tcp(peer, local, cookie),
        (Peer::Unix, _, Some(cookie)) => socket_owner::of_unix(cookie),
        _ => Ok(None),
    });
    told.await.map_err(io::Error::other)?
}
