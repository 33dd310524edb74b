//! The backends that redb reads and writes through: the file itself, or a look at it that writes nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::Mutex;
use redb::StorageBackend;

use super::header::{self, Header};

/// The file. The lock on it is held by its opener, so this takes none.
///
/// After the first error nothing is written any more, so that what redb does when it closes after
/// an error cannot make it worse; and the header is remembered as it was before, so that a commit
/// that failed can be taken back.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    file: Arc<File>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    error: Option<io::Error>,
    /// As of the last write.
    written: Header,
    /// As of the last sync.
    synced: Header,
    /// As of the last [`Disk::begin`].
    begun: Header,
    /// The length of the file then.
    len: u64,
    /// How many calls go well before one fails; and whether that one is done all the same.
    #[cfg(test)]
    fails: Option<(u32, bool)>,
}

/// The state that the file has to have before it is opened again.
#[derive(Clone, Debug)]
pub(super) struct Before {
    header: Box<Header>,
    /// Its length, if it has grown.
    len: Option<u64>,
}

impl Before {
    /// Makes the file what it was.
    pub(super) fn restore(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.header[..], 0)?;
        file.sync_data()?;
        if let Some(len) = self.len
            && file.metadata()?.len() > len
        {
            file.set_len(len)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

/// How a commit ended that redb calls failed.
#[derive(Debug)]
pub(super) struct Settled {
    /// Whether it is on disk all the same.
    pub(super) committed: bool,
    /// The state that the file has to have before it is opened again.
    pub(super) before: Before,
    /// The system's first error.
    pub(super) error: Option<io::Error>,
}

impl Disk {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let header = read_header(&file)?;
        let state = State {
            error: None,
            written: header,
            synced: header,
            begun: header,
            len: file.metadata()?.len(),
            #[cfg(test)]
            fails: None,
        };
        Ok(Self {
            file,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Remembers the header and the length: a commit begins.
    pub(super) fn begin(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begun = state.written;
        state.len = self.file.metadata()?.len();
        Ok(())
    }

    /// Makes a later call fail, once.
    #[cfg(test)]
    pub(super) fn fail_after(&self, calls: u32, done: bool) {
        self.state.lock().fails = Some((calls, done));
    }

    /// Remembers the header that is on disk: what is written since does not count.
    pub(super) fn begin_synced(&self) {
        let mut state = self.state.lock();
        state.begun = state.synced;
        state.len = u64::MAX;
    }

    /// Ends all writing, and says how the commit since [`begin`](Self::begin) has ended: its second
    /// step turns the header's bit over, and it is on disk once that is synced.
    pub(super) fn settle(&self) -> Settled {
        let mut state = self.state.lock();
        let error = state.error.take();
        state.error = Some(io::Error::other("an earlier write failed"));
        let committed = header::primary(&state.synced) != header::primary(&state.begun);
        let (header, len) = if committed {
            (state.synced, None)
        } else {
            (state.begun, Some(state.len))
        };
        let before = Before {
            header: Box::new(header),
            len,
        };
        Settled {
            committed,
            before,
            error,
        }
    }

    fn attempt(&self, work: impl FnOnce(&File, &mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(error) = &state.error {
            return Err(again(error));
        }
        #[cfg(test)]
        if let Some((left, done)) = state.fails.take() {
            if left == 0 {
                if done {
                    let before = state.synced;
                    work(&self.file, &mut state)?;
                    state.synced = before;
                }
                state.error = Some(Errno::EIO.into());
                return Err(Errno::EIO.into());
            }
            state.fails = Some((left - 1, done));
        }
        let outcome = work(&self.file, &mut state);
        if let Err(error) = &outcome {
            state.error = Some(again(error));
        }
        outcome
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.attempt(|file, _| resize(file, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.attempt(|file, state| {
            file.sync_data()?;
            state.synced = state.written;
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.attempt(|file, state| {
            file.write_all_at(data, offset)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let header = state.written.iter_mut().skip(start);
            header.zip(data).for_each(|(old, new)| *old = *new);
            Ok(())
        })
    }
}

/// Sets the length of the file. What it grows by is taken from the disk at once: in a file with
/// holes a commit that has free pages enough could still find the disk full.
fn resize(file: &File, len: u64) -> io::Result<()> {
    let before = file.metadata()?.len();
    if len > before {
        match reserve(file, before, len) {
            // Not every file system can.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {}
            Err(error) => {
                // It may have grown by a part of that.
                file.set_len(before)?;
                return Err(error.into());
            }
        }
    }
    file.set_len(len)
}

#[cfg(target_os = "linux")]
fn reserve(file: &File, from: u64, to: u64) -> Result<(), Errno> {
    let offset = |value| i64::try_from(value).or(Err(Errno::EFBIG));
    let flags = FallocateFlags::empty();
    fallocate(file.as_raw_fd(), flags, offset(from)?, offset(to - from)?)
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) -> Result<(), Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// The file as it is, and what is written to it in memory only.
#[derive(Debug)]
pub(super) struct Trial {
    file: Arc<File>,
    state: Mutex<TrialState>,
}

#[derive(Debug)]
struct TrialState {
    len: u64,
    /// Pages that differ from the file's.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

const PAGE: usize = 4096;

impl Trial {
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let state = TrialState {
            len: file.metadata()?.len(),
            pages: BTreeMap::new(),
        };
        Ok(Self {
            file,
            state: Mutex::new(state),
        })
    }

    /// A page as it is in the file; zeros beyond its end.
    fn page(&self, number: u64) -> io::Result<Box<[u8; PAGE]>> {
        let mut page = Box::new([0; PAGE]);
        let mut filled = 0;
        while let Some(rest) = page.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self
                .file
                .read_at(rest, number * PAGE as u64 + filled as u64)?
            {
                0 => break,
                read => filled += read,
            }
        }
        Ok(page)
    }
}

/// The parts of a stretch of bytes that lie in one page each: the page, where in it, where in the
/// stretch, how many bytes.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let within = usize::try_from(position % PAGE as u64).ok()?;
        let count = (PAGE - within).min(len - done);
        let part = (position / PAGE as u64, within, done, count);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = self.file.metadata()?.len();
        if end.is_some_and(|end| end <= in_file) {
            self.file.read_exact_at(out, offset)?;
        } else {
            for (number, within, start, count) in parts(offset, out.len()) {
                let page = self.page(number)?;
                copy(out, start, page.as_slice(), within, count)?;
            }
        }
        for (number, within, start, count) in parts(offset, out.len()) {
            if let Some(page) = state.pages.get(&number) {
                copy(out, start, page.as_slice(), within, count)?;
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        for (number, within, start, count) in parts(offset, data.len()) {
            let page = match state.pages.entry(number) {
                Entry::Occupied(page) => page.into_mut(),
                Entry::Vacant(place) => place.insert(self.page(number)?),
            };
            copy(page.as_mut_slice(), within, data, start, count)?;
        }
        Ok(())
    }
}

fn copy(to: &mut [u8], at: usize, from: &[u8], start: usize, count: usize) -> io::Result<()> {
    match (to.get_mut(at..at + count), from.get(start..start + count)) {
        (Some(to), Some(from)) => {
            to.copy_from_slice(from);
            Ok(())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The first bytes of the file; zeros where it is shorter.
pub(super) fn read_header(file: &File) -> io::Result<Header> {
    let mut header = [0; header::LEN];
    let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let there = len.min(header::LEN);
    if let Some(part) = header.get_mut(..there) {
        file.read_exact_at(part, 0)?;
    }
    Ok(header)
}

/// An error of the system once more: it cannot be cloned.
pub(super) fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
