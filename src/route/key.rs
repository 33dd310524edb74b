//! The texts that the tree works on. A route is filed under its host and its prefix, written one
//! behind the other as segments with `/` between them: `*/shop`, `*.example.com/shop`,
//! `example.com/a/b`, and `*` for the prefix `/`.

use std::sync::Arc;

use smallvec::SmallVec;

use super::case_sensitivity::CaseSensitivity;
use super::escape::in_one_spelling;
use super::{HostPattern, PathPrefix, Route};

/// A route and the text that it is filed under.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) key: Arc<str>,
    pub(super) route: Arc<Route>,
}

/// The text that a route with this host and prefix is filed under.
pub(super) fn key_text(host: &HostPattern, prefix: &PathPrefix, case: CaseSensitivity) -> String {
    match case {
        CaseSensitivity::Insensitive => {
            let mut text = format!("{host}{}", prefix.below_root());
            text.make_ascii_lowercase();
            text
        }
        CaseSensitivity::Sensitive => format!("{host}{}", in_one_spelling(prefix.below_root())),
    }
}

/// The tail of every looked-up text. The catch-all of matchit does not match an empty rest, so a
/// path that equals a prefix needs something behind it. No prefix can match into it, since a prefix
/// matches only where a `/` follows.
const TAIL: &[u8] = b"/-";

/// The texts that a request is looked up by: its host, the wildcards above it, and any host, each in
/// front of its path. They share one buffer, `*` + host + path + tail; a `*` is written over the end of
/// what a later text no longer has.
pub(super) struct Probe<'b> {
    buffer: &'b mut ProbeBuffer,
    host_len: usize,
}

/// The room for the texts of one look-up; an empty one, which is not moved any more.
pub(super) type ProbeBuffer = SmallVec<[u8; 1024]>;

impl<'b> Probe<'b> {
    /// `path` begins with a slash.
    pub(super) fn new(
        buffer: &'b mut ProbeBuffer,
        (host, path): (&str, &str),
        case: CaseSensitivity,
    ) -> Self {
        buffer.reserve(1 + host.len() + path.len() + TAIL.len());
        buffer.push(b'*');
        buffer.extend_from_slice(host.as_bytes());
        buffer.extend_from_slice(path.as_bytes());
        buffer.extend_from_slice(TAIL);
        if case == CaseSensitivity::Insensitive
            && let Some(path) = buffer.get_mut(1 + host.len()..)
        {
            path.make_ascii_lowercase();
        }
        Self {
            buffer,
            host_len: host.len(),
        }
    }

    /// The host itself, and the path.
    pub(super) fn exact(&self) -> &str {
        self.text_from(1)
    }

    /// A wildcard in place of all that stands before the host's byte `dot`, and the path.
    pub(super) fn wildcard(&mut self, dot: usize) -> &str {
        self.starred(dot)
    }

    /// Any host, and the path.
    pub(super) fn any(&mut self) -> &str {
        self.starred(self.host_len)
    }

    /// The text from the host's byte `at` on, with a `*` in front.
    fn starred(&mut self, at: usize) -> &str {
        if let Some(before) = self.buffer.get_mut(at) {
            *before = b'*';
        }
        self.text_from(at)
    }

    /// Both ends are at ASCII characters, so this is text always.
    fn text_from(&self, at: usize) -> &str {
        self.buffer
            .get(at..)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or("")
    }
}

/// The length of the longest start that two texts share, in whole segments; `None` if already their
/// first segments differ.
pub(super) fn shared_segments(a: &str, b: &str) -> Option<usize> {
    let mut shared = None;
    let mut end = 0;
    for (x, y) in a.split('/').zip(b.split('/')) {
        if x != y {
            break;
        }
        shared = Some(end + x.len());
        end += x.len() + 1;
    }
    shared
}

/// Whether `outer` is `inner` or its first segments.
pub(super) fn encloses(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where a walk down the tree is: how much of the text the nodes above stand for, and how many bits of
/// the next segment's hash have been spent.
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    shift: u32,
    hash: Option<u64>,
}

/// How a node's segments and the rest of a text lie to each other.
pub(super) enum Meeting {
    /// They are the same.
    Same,
    /// The text goes on behind them.
    Below,
    /// They part, behind this many bytes of whole segments that they share, or at once.
    Apart(Option<usize>),
}

/// Bits of the hash that one level of the tree takes.
pub(super) const BITS: u32 = 4;

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            shift: 0,
            hash: None,
        }
    }

    /// How many bytes of the text the nodes above stand for.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// Returns the rest of the text, which the nodes above do not stand for.
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub(super) fn meets(&self, segments: &str) -> Meeting {
        let rest = self.rest();
        match rest.strip_prefix(segments) {
            Some("") => Meeting::Same,
            Some(behind) if behind.starts_with('/') => Meeting::Below,
            _ => Meeting::Apart(shared_segments(rest, segments)),
        }
    }

    /// Whether the text goes on behind these segments; if so, goes behind them.
    pub(super) fn pass(&mut self, segments: &str) -> bool {
        let below = self
            .rest()
            .strip_prefix(segments)
            .is_some_and(|rest| rest.starts_with('/'));
        if below {
            self.at += segments.len() + 1;
            self.shift = 0;
            self.hash = None;
        }
        below
    }

    /// The branch for the next segment, and spends its bits. Each segment is hashed once.
    pub(super) fn branch(&mut self, hash: impl FnOnce(&str) -> u64) -> usize {
        let rest = self.rest();
        let value = *self.hash.get_or_insert_with(|| hash(first_segment(rest)));
        let branch = branch_at(value, self.shift);
        self.shift += BITS;
        branch
    }
}

pub(super) fn first_segment(text: &str) -> &str {
    match memchr::memchr(b'/', text.as_bytes()) {
        Some(end) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// The branch that a segment with this hash takes, once `shift` bits are spent.
pub(super) fn branch_at(hash: u64, shift: u32) -> usize {
    hash.checked_shr(shift)
        .map_or(0, |bits| usize::from(bits.to_le_bytes()[0] & 15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_goes_from_the_host_to_any() {
        let mut buffer = ProbeBuffer::new();
        let asked = ("a.b.com", "/Shop");
        let mut probe = Probe::new(&mut buffer, asked, CaseSensitivity::Insensitive);
        assert_eq!(probe.exact(), "a.b.com/shop/-");
        assert_eq!(probe.wildcard(1), "*.b.com/shop/-");
        assert_eq!(probe.wildcard(3), "*.com/shop/-");
        assert_eq!(probe.any(), "*/shop/-");
        let mut buffer = ProbeBuffer::new();
        let mut probe = Probe::new(&mut buffer, ("", "/Shop"), CaseSensitivity::Sensitive);
        assert_eq!(probe.exact(), "/Shop/-");
        assert_eq!(probe.any(), "*/Shop/-");
    }

    #[test]
    fn segments_are_shared_whole() {
        let cases = [
            ("a/b", "a/c", Some(1)),
            ("a/b", "a/b/c", Some(3)),
            ("a", "ab", None),
            ("/x", "/y", Some(0)),
            ("a/", "a/", Some(2)),
        ];
        for (a, b, shared) in cases {
            assert_eq!(shared_segments(a, b), shared, "{a} {b}");
            assert_eq!(shared_segments(b, a), shared, "{b} {a}");
        }
        assert!(encloses("*", "*/a") && encloses("*/a", "*/a") && !encloses("*/a", "*/ab"));
    }
}
