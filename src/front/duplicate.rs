//! A second descriptor of an open file that is known by its number alone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Duplicates a descriptor. Pingora's streams tell no more than its number, which no safe function makes an
/// [`OwnedFd`] of: it is sent to ourselves (unix(7), `SCM_RIGHTS`).
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    let (sender, receiver) = UnixStream::pair()?;
    let rights = [number];
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &message,
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    receive(&receiver)
}

fn receive(receiver: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(receiver, &mut pieces, &mut control, flags)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::other("too many descriptors are open"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_duplicate_is_the_same_file() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let copy = duplicate(far.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), far.as_raw_fd());
        drop(far);
        let mut copy = UnixStream::from(copy);
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        copy.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        assert!(duplicate(-1).is_err());
    }
}
