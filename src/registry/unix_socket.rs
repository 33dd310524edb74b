//! Unix sockets as they are: what a path leads to, whichever way it is spelt.
//!
//! A path can be a link, lead through one, or be another name of the same socket (a hard link, a bind
//! mount), and the next moment it can lead elsewhere. So a socket is opened first (`O_PATH`), then looked
//! at, and then connected to by that very descriptor: what was checked is what is reached.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use thiserror::Error;

/// How many links in a row a path may lead through (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Why a Unix socket is no target.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnixSocketError {
    /// The path leads to a place that the configuration does not allow.
    #[error("{}, which targets.allow does not name", leads_to(.path, .real))]
    NotAllowed {
        /// The path as it was registered.
        path: String,
        /// Where it leads.
        real: PathBuf,
    },
    /// It is one of the proxy's own sockets.
    #[error("{}, a socket of the proxy itself", leads_to(.path, .real))]
    Own {
        /// The path as it was registered.
        path: String,
        /// Where it leads.
        real: PathBuf,
    },
    /// The system does not show what the path leads to.
    #[error("unix:{path} cannot be looked at: {source}")]
    Io {
        /// The path as it was registered.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

fn leads_to(path: &str, real: &Path) -> String {
    if Path::new(path) == real {
        format!("unix:{path} is {path}")
    } else {
        format!("unix:{path} leads to {}", real.display())
    }
}

impl UnixSocketError {
    /// Whether the path leads elsewhere than it says.
    pub(super) fn is_link(&self) -> bool {
        match self {
            Self::NotAllowed { path, real } | Self::Own { path, real } => Path::new(path) != real,
            Self::Io { .. } => false,
        }
    }
}

impl From<UnixSocketError> for io::Error {
    fn from(error: UnixSocketError) -> Self {
        let kind = match &error {
            UnixSocketError::NotAllowed { .. } | UnixSocketError::Own { .. } => {
                io::ErrorKind::PermissionDenied
            }
            UnixSocketError::Io { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

/// A file system and a file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            number: file.ino(),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

/// A Unix socket that has been opened, and not yet connected to. While it lives, its
/// [`address`](Self::address) leads to the same socket, whatever becomes of the path.
#[derive(Debug)]
pub struct UnixSocket {
    file: File,
    inode: Inode,
    /// Its path without links.
    real: PathBuf,
}

impl UnixSocket {
    /// Opens what a path leads to, which need not be a socket.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_PATH.bits())
            .open(path)?;
        let inode = Inode::of(&file.metadata()?);
        let real = fs::read_link(by_descriptor(&file))
            .map_err(|error| io::Error::other(format!("/proc is of no use: {error}")))?;
        Ok(Self { file, inode, real })
    }

    /// The path to connect to.
    #[must_use]
    pub fn address(&self) -> PathBuf {
        by_descriptor(&self.file)
    }

    pub(super) fn real(&self) -> &Path {
        &self.real
    }
}

fn by_descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A Unix socket of the proxy's own, which is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSocket {
    path: PathBuf,
    /// The inode at the path when the socket was bound. The socket keeps it, so no other file gets it.
    bound: Option<Inode>,
}

impl OwnSocket {
    /// A socket that listens at this path now: it stays the proxy's own when its file is moved.
    #[must_use]
    pub fn bound_at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bound: Inode::at(path),
        }
    }

    /// Whatever socket this path leads to.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bound: None,
        }
    }

    /// Whether it is this socket, by whichever name.
    pub(super) fn is(&self, socket: &UnixSocket) -> bool {
        self.bound == Some(socket.inode) || Inode::at(&self.path) == Some(socket.inode)
    }

    /// Whether its place, where nothing is yet, is this path without links.
    pub(super) fn is_at(&self, real: &Path) -> bool {
        real_path(&self.path).is_ok_and(|own| own == real)
    }
}

/// A path without links, of which the end need not exist yet.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let folder = real_path(folder)?;
        match fs::read_link(&path) {
            // It leads to what is not there.
            Ok(link) => path = folder.join(link),
            Err(_) => return Ok(folder.join(name)),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The real place of an entry of `targets.allow`. Its folders may be links, it itself may not: whoever may
/// write to the folder that it is in could put one there.
pub(super) fn real_rule(path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok(real_path(folder)?.join(name)),
        _ => path.canonicalize(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_path_is_resolved_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("apps")).unwrap();
        for (link, leads_to) in [
            ("current", "apps"),
            ("apps/later", "../other/a.sock"),
            ("apps/near", "b.sock"),
            ("loop", "loop"),
        ] {
            symlink(leads_to, root.join(link)).unwrap();
        }
        for (path, real) in [
            ("apps/a.sock", "apps/a.sock"),
            ("current/a.sock", "apps/a.sock"),
            ("current/near", "apps/b.sock"),
            ("apps/later", "other/a.sock"),
            ("none/a.sock", "none/a.sock"),
            ("apps", "apps"),
        ] {
            assert_eq!(
                real_path(&root.join(path)).unwrap(),
                root.join(real),
                "{path}"
            );
        }
        assert!(real_path(&root.join("loop")).is_err());
        let rule = |path: &str| real_rule(root.join(path).to_str().unwrap()).unwrap();
        assert_eq!(rule("current/x"), root.join("apps/x"));
        assert_eq!(rule("apps/near"), root.join("apps/near"));
        assert_eq!(real_rule("/").unwrap(), Path::new("/"));
    }

    #[test]
    fn an_own_socket_is_known_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let open = |name: &str| UnixSocket::open(path(name).to_str().unwrap()).unwrap();
        let _own = UnixListener::bind(path("own")).unwrap();
        let _app = UnixListener::bind(path("app")).unwrap();
        fs::hard_link(path("own"), path("hard")).unwrap();
        symlink(path("own"), path("soft")).unwrap();
        let own = OwnSocket::bound_at(&path("own"));
        for name in ["own", "hard", "soft"] {
            assert!(own.is(&open(name)), "{name}");
        }
        assert!(!own.is(&open("app")));
        fs::rename(path("own"), path("moved")).unwrap();
        assert!(own.is(&open("moved")));
        assert!(!OwnSocket::at(&path("own")).is(&open("moved")));
    }

    #[test]
    fn what_was_opened_is_what_is_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app");
        let first = UnixListener::bind(&path).unwrap();
        let socket = UnixSocket::open(path.to_str().unwrap()).unwrap();
        fs::rename(&path, folder.path().join("old")).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        second.set_nonblocking(true).unwrap();
        std::os::unix::net::UnixStream::connect(socket.address()).unwrap();
        assert!(first.accept().is_ok());
        assert!(second.accept().is_err());
    }
}
