//! The tokens of those who may use the control API, read again when their file changes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use data_encoding::HEXLOWER;
use log::{error, info, warn};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::token_file::{self, Token, TokenFileError, TokenHash, check_name};
use crate::registry::{Actor, Rights};

/// How often the file is looked at, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// A file that was read so soon after its last change may have changed again within the same tick
/// of the file system's clock.
const TICK: Duration = Duration::from_secs(2);

/// The prefix of every token, so that one that leaks can be found.
const PREFIX: &str = "drp_";

/// Why there are no tokens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokensError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is wrong.
    #[error(transparent)]
    Wrong(#[from] TokenFileError),
}

/// The tokens of a file. A change of the file holds within a second of it; one that cannot be used
/// leaves the tokens as they were, and is logged.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: Vec<Token>,
    /// The state of the file when it was last read, also if its content was of no use; `None` if it
    /// could not be read.
    seen: Option<Seen>,
    /// The file that the tokens, or the last error, come from.
    text: Option<TokenHash>,
    looked: Instant,
}

/// A file as it was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Device, inode, size, and the times of the last change of the content and of the file.
    stamp: (u64, u64, u64, (i64, i64), (i64, i64)),
    /// Whether it may change without a sign.
    is_fresh: bool,
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TokensError`] if it cannot be read or is wrong.
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        let (seen, text) = read(path).map_err(|source| TokensError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let tokens = token_file::parse(path, &text)?;
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                tokens,
                seen: Some(seen),
                text: Some(hash(&text)),
                looked: Instant::now(),
            }),
        })
    }

    /// Warns of a file that others can read or write.
    pub(crate) fn warn_of_mode(&self) {
        warn_of_mode(&self.path);
    }

    /// Who a token belongs to, as an actor from `from`. Looks at the file first, at most once a
    /// second.
    pub(super) fn actor(&self, token: &str, from: &str) -> Option<Actor> {
        self.actor_at(token, from, Instant::now())
    }

    fn actor_at(&self, token: &str, from: &str, now: Instant) -> Option<Actor> {
        let found = self.find(&hash(token), now)?;
        Some(Actor {
            name: Some(found.name),
            rights: found.rights,
            from: from.into(),
            user: None,
            request: None,
        })
    }

    /// The token with this hash. Looks at the file first, at most once a second.
    fn find(&self, presented: &TokenHash, now: Instant) -> Option<Token> {
        let mut state = self.state.lock();
        if now.saturating_duration_since(state.looked) >= INTERVAL {
            state.looked = now;
            self.refresh(&mut state);
        }
        // Against every token, in a time that does not depend on how much of one is right.
        let mut found: Option<&Token> = None;
        for token in &state.tokens {
            if bool::from(token.hash.ct_eq(presented)) {
                found = Some(token);
            }
        }
        found.cloned()
    }

    /// Reads the file again if it is not the one that was seen. It is small and local, so the
    /// thread waits for it.
    fn refresh(&self, state: &mut State) {
        let path = self.path.display();
        let stamp = fs::metadata(&self.path).map(|file| stamp(&file));
        let is_same = match (&state.seen, &stamp) {
            (Some(seen), Ok(stamp)) => seen.stamp == *stamp && !seen.is_fresh,
            _ => false,
        };
        if is_same {
            return;
        }
        let (seen, text) = match stamp.and_then(|_| read(&self.path)) {
            Ok(read) => read,
            Err(error) => {
                if state.seen.take().is_some() {
                    error!("{path}: cannot be read: {error}; the tokens stay as they were");
                }
                return;
            }
        };
        let was_lost = state.seen.replace(seen).is_none();
        let content = Some(hash(&text));
        if state.text == content {
            if was_lost {
                info!("{path}: can be read again");
            }
            return;
        }
        state.text = content;
        match token_file::parse(&self.path, &text) {
            Ok(tokens) => {
                info!("{path}: read again, {} tokens", tokens.len());
                state.tokens = tokens;
                warn_of_mode(&self.path);
            }
            Err(error) => error!("{error}; the tokens stay as they were"),
        }
    }
}

/// A token that was right when it was shown.
pub(super) struct Pass {
    tokens: Arc<Tokens>,
    hash: TokenHash,
}

impl Pass {
    pub(super) fn new(tokens: Arc<Tokens>, token: &str) -> Self {
        let hash = hash(token);
        Self { tokens, hash }
    }

    /// The rights that it gives now; none if it has been revoked. A change of the file holds within a second.
    pub(super) fn rights(&self) -> Option<Rights> {
        let token = self.tokens.find(&self.hash, Instant::now())?;
        Some(token.rights)
    }
}

fn read(path: &Path) -> io::Result<(Seen, String)> {
    // The stamp comes first: a change in between shows the next time.
    let file = fs::metadata(path)?;
    let text = fs::read_to_string(path)?;
    let age = SystemTime::now().duration_since(file.modified()?);
    let seen = Seen {
        stamp: stamp(&file),
        is_fresh: age.is_ok_and(|age| age < TICK),
    };
    Ok((seen, text))
}

fn stamp(file: &fs::Metadata) -> (u64, u64, u64, (i64, i64), (i64, i64)) {
    (
        file.dev(),
        file.ino(),
        file.size(),
        (file.mtime(), file.mtime_nsec()),
        (file.ctime(), file.ctime_nsec()),
    )
}

/// The hashes in the file are no secret, but who can write to it can give themselves every right.
fn warn_of_mode(path: &Path) {
    let Ok(file) = fs::metadata(path) else {
        return;
    };
    let path = path.display();
    if file.mode() & 0o022 != 0 {
        warn!("{path}: others can write to it, and give themselves rights; chmod 600 it");
    } else if file.mode() & 0o004 != 0 {
        warn!("{path}: others can read who may do what; chmod 600 it");
    }
}

fn hash(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}

/// A token that nobody has yet.
#[derive(Debug)]
#[non_exhaustive]
pub struct NewToken {
    /// The token: `drp_` and 43 letters, which hold 256 random bits. It is shown once and kept
    /// nowhere.
    pub token: String,
    /// Its entry in the tokens file.
    pub entry: String,
}

/// Why no token is made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NewTokenError {
    /// The name cannot be one.
    #[error("{0}")]
    Name(String),
    /// The system has no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl NewToken {
    /// Makes a token from the system's randomness.
    ///
    /// # Errors
    /// [`NewTokenError`].
    pub fn make(name: &str) -> Result<Self, NewTokenError> {
        check_name(name).map_err(NewTokenError::Name)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let entry = format!("  - name: {name:?}\n    hash: {}\n", shown_hash(&token));
        Ok(Self { token, entry })
    }
}

/// The hash of a token as the file has it.
fn shown_hash(token: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(&hash(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, token: &str) -> String {
        format!("  - name: {name}\n    hash: {}\n", shown_hash(token))
    }

    /// A file with tokens, and a clock that is moved by hand.
    struct Fixture {
        folder: tempfile::TempDir,
        tokens: Tokens,
        now: Instant,
    }

    impl Fixture {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tokens.yaml");
            fs::write(&path, text).unwrap();
            let tokens = Tokens::load(&path).unwrap();
            Self {
                folder,
                tokens,
                now: Instant::now(),
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("tokens.yaml")
        }

        fn later(&mut self) {
            self.now += INTERVAL;
        }

        fn name(&self, token: &str) -> Option<String> {
            let actor = self.tokens.actor_at(token, "x", self.now)?;
            Some(actor.name.unwrap().to_string())
        }
    }

    #[test]
    fn only_a_whole_token_has_a_name() {
        let text = format!("tokens:\n{}{}", entry("a", "one"), entry("b", "two"));
        let fixture = Fixture::new(&text);
        assert_eq!(fixture.name("one").as_deref(), Some("a"));
        assert_eq!(fixture.name("two").as_deref(), Some("b"));
        for token in ["", "on", "one ", "ONE", "three", &shown_hash("one")] {
            assert_eq!(fixture.name(token), None, "{token:?}");
        }
    }

    #[test]
    fn a_change_holds_after_a_second() {
        let mut fixture = Fixture::new(&format!("tokens:\n{}", entry("a", "one")));
        // The same size, and perhaps the same tick of the clock.
        fs::write(fixture.path(), format!("tokens:\n{}", entry("b", "two"))).unwrap();
        assert_eq!(fixture.name("two"), None);
        fixture.later();
        assert_eq!(fixture.name("two").as_deref(), Some("b"));
        assert_eq!(fixture.name("one"), None);
        let other = fixture.folder.path().join("other");
        fs::write(&other, format!("tokens:\n{}", entry("c", "six"))).unwrap();
        fs::rename(&other, fixture.path()).unwrap();
        fixture.later();
        assert_eq!(fixture.name("six").as_deref(), Some("c"));
    }

    #[test]
    fn a_change_that_is_of_no_use_changes_nothing() {
        let good = format!("tokens:\n{}", entry("a", "one"));
        let mut fixture = Fixture::new(&good);
        for text in ["tokens: [", "", "tokens:\n  - name: a\n"] {
            fs::write(fixture.path(), text).unwrap();
            fixture.later();
            assert_eq!(fixture.name("one").as_deref(), Some("a"), "{text:?}");
        }
        fs::remove_file(fixture.path()).unwrap();
        fixture.later();
        assert_eq!(fixture.name("one").as_deref(), Some("a"));
        fs::write(fixture.path(), format!("tokens:\n{}", entry("b", "two"))).unwrap();
        fixture.later();
        assert_eq!(fixture.name("one"), None);
        assert_eq!(fixture.name("two").as_deref(), Some("b"));
    }

    #[test]
    fn new_tokens_differ_and_can_be_used() {
        let new = NewToken::make("ci@example/deploy").unwrap();
        assert_eq!(new.token.len(), PREFIX.len() + 43);
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(new.token.bytes().all(is_base64url), "{}", new.token);
        assert_ne!(new.token, NewToken::make("a").unwrap().token);
        let fixture = Fixture::new(&format!("tokens:\n{}", new.entry));
        assert_eq!(
            fixture.name(&new.token).as_deref(),
            Some("ci@example/deploy")
        );
        for name in ["", "a b", "a\"b", &"a".repeat(65)] {
            assert!(NewToken::make(name).is_err(), "{name:?}");
        }
    }
}
