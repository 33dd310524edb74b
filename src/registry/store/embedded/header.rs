//! The first bytes of redb's file, as far as they have to be understood here.
//!
//! redb keeps two commits in its header and one bit that says which of them is valid. That bit is
//! under no checksum, and turned over it gives the commit before the last one, whole and
//! plausible. The numbers of the two commits give it away (redb's `docs/design.md`, file format 3).

/// The bytes that redb writes with every commit.
pub(super) const LEN: usize = 320;
/// Where the flags are.
pub(super) const FLAGS: usize = 9;

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Which of the two commits is valid.
pub(super) const PRIMARY: u8 = 1;
/// Set while a process has the file open.
const OPEN: u8 = 2;
/// Where the numbers of the two commits are.
const NUMBERS: [usize; 2] = [64 + 104, 64 + 128 + 104];

/// The bytes that redb writes with every commit.
pub(super) type Header = [u8; LEN];

/// The word of the header about the two commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    /// The valid one is the newer one.
    InOrder,
    /// The valid one is the older one, and the file was not closed: the process ended between the
    /// two steps of a commit, or the bit was turned over.
    Between,
    /// The valid one is the older one of a file that was closed: that is never written.
    Reversed,
}

/// Whether this can be a file of redb's.
pub(super) fn is_redb(header: &Header) -> bool {
    header.starts_with(MAGIC)
}

/// The word of the header about the two commits.
pub(super) fn commits(header: &Header) -> Commits {
    let flags = flags(header);
    let number = |index: usize| {
        let start = NUMBERS.get(index).copied().unwrap_or(LEN);
        let bytes = header.get(start..start + 8);
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    let primary = usize::from(flags & PRIMARY != 0);
    if number(primary) >= number(1 - primary) {
        Commits::InOrder
    } else if flags & OPEN != 0 {
        Commits::Between
    } else {
        Commits::Reversed
    }
}

/// Which of the two commits is valid.
pub(super) fn primary(header: &Header) -> u8 {
    flags(header) & PRIMARY
}

/// The flags, with the other commit as the valid one.
pub(super) fn other_flags(header: &Header) -> u8 {
    flags(header) ^ PRIMARY
}

fn flags(header: &Header) -> u8 {
    header.get(FLAGS).copied().unwrap_or(0)
}
