//! Unix sockets of the control API and of registrations: with their modes from the first moment on.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use log::{debug, warn};
use socket2::{Domain, SockAddr, Socket, Type};

/// Who may connect to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The proxy's own user, and nobody else.
    Owner,
    /// Every user of this machine, as with a port of loopback.
    Everybody,
}

impl Access {
    /// The mode of the socket.
    pub(super) fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o666,
        }
    }

    /// The mode of a folder that is made for it.
    fn folder_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Everybody => 0o755,
        }
    }
}

/// A socket's file, which goes away at an orderly stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own socket there since.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: identity(path),
        }
    }

    /// Removes the file if it is still the one that this process listens on.
    pub(super) fn remove(&self) {
        if self.identity.is_none() || identity(&self.path) != self.identity {
            debug!("{} is not this proxy's any more", self.path.display());
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            warn!("{} stays behind: {error}", self.path.display());
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path);
    file.map(|file| (file.dev(), file.ino())).ok()
}

/// Listens on a path. A socket that nobody answers at, left behind by a process that was killed, is
/// replaced.
pub(super) fn listen(path: &Path, access: Access, backlog: i32) -> io::Result<Socket> {
    if let Some(folder) = path.parent() {
        let mut builder = DirBuilder::new();
        let mode = access.folder_mode();
        builder.recursive(true).mode(mode).create(folder)?;
    }
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    // Whoever connects before `listen` is refused, so nobody slips in with the first mode.
    fs::set_permissions(path, Permissions::from_mode(access.mode()))?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let file = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A queue that is full answers at once then, and is somebody's.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            debug!("{}: nobody answers; it is replaced", path.display());
            fs::remove_file(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// The remedy for a failure; `key` is the one that has the path.
pub(super) fn remedy(error: &io::Error, key: &str) -> String {
    let problem = match error.kind() {
        io::ErrorKind::AddrInUse => "another program answers there; stop it",
        io::ErrorKind::AlreadyExists => "there is a file that is no socket; remove it",
        io::ErrorKind::PermissionDenied => "permission denied; let this user write to the folder",
        _ => return format!("{error}; choose another path by `{key}`"),
    };
    format!("{problem}, or choose another path by `{key}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_owners_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/control.sock");
        let first = listen(&path, Access::Owner, 1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let error = listen(&path, Access::Owner, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let old = SocketFile::at(&path);
        let second = listen(&path, Access::Owner, 1).unwrap();
        // The file of the first is gone; only the second's own is removed.
        let own = SocketFile::at(&path);
        if own != old {
            old.remove();
            assert!(path.exists());
        }
        own.remove();
        assert!(!path.exists());
        drop(second);
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        fs::write(&path, "mine").unwrap();
        let error = listen(&path, Access::Owner, 1).unwrap_err();
        assert!(
            remedy(&error, "control.listen").contains("no socket"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_full_queue_is_somebodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let _listener = listen(&path, Access::Owner, 0).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        let mut waiting = Vec::new();
        for _ in 0..5 {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            drop(client.connect(&address));
            waiting.push(client);
        }
        let error = listen(&path, Access::Owner, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
