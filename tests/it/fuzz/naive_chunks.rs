//! Chunked coding (RFC 9112, 7.1), line by line, from all bytes at once.

/// How many bytes without data are forgiven.
const MOST_SPARE: usize = 16 * 1024;

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The body has so many bytes.
    At(usize),
    /// More is needed.
    Open,
    /// It is no chunked body, or one with more framing than is taken.
    Bad,
    /// It is at the border of what is taken of a line that is not complete.
    OpenOrBad,
}

/// The data, and how decoding ended.
pub(super) fn decode(bytes: &[u8]) -> (Vec<u8>, End) {
    let (mut data, mut at, mut spare) = (Vec::new(), 0, MOST_SPARE);
    let end = loop {
        let (length, spent) = match line(&bytes[at..]) {
            Line::Whole(line) => match size(line) {
                Some((size, spent)) => {
                    at += line.len() + 2;
                    (size, spent)
                }
                None => break End::Bad,
            },
            Line::Partial(line) => break open_size(line, spare),
            Line::Bad => break End::Bad,
        };
        if spent > spare {
            break End::Bad;
        }
        spare -= spent;
        if length == 0 {
            break trailers(bytes, at, spare);
        }
        let rest = &bytes[at..];
        let come = usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len()));
        data.extend_from_slice(&rest[..come]);
        spare = (spare + come).min(MOST_SPARE);
        at += come;
        match &bytes[at..] {
            _ if (come as u64) < length => break End::Open,
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => break End::Open,
            _ => break End::Bad,
        }
    };
    (data, end)
}

fn trailers(bytes: &[u8], mut at: usize, mut spare: usize) -> End {
    loop {
        match line(&bytes[at..]) {
            Line::Whole([]) => return End::At(at + 2),
            Line::Whole(line) if line.len() > spare => return End::Bad,
            Line::Whole(line) => {
                spare -= line.len();
                at += line.len() + 2;
            }
            Line::Partial(line) => return open(line.len(), spare),
            Line::Bad => return End::Bad,
        }
    }
}

enum Line<'b> {
    /// A line, without its CRLF.
    Whole(&'b [u8]),
    Partial(&'b [u8]),
    /// A line with a CR or an LF that stands alone.
    Bad,
}

fn line(bytes: &[u8]) -> Line<'_> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let Some(end) = end else {
        return Line::Partial(bytes);
    };
    let (line, rest) = bytes.split_at(end);
    match rest {
        [b'\r', b'\n', ..] => Line::Whole(line),
        [b'\r'] => Line::Partial(&bytes[..=end]),
        _ => Line::Bad,
    }
}

/// The size that a line says, and how many of its bytes it could do without.
fn size(line: &[u8]) -> Option<(u64, usize)> {
    let text = line.split(|byte| *byte == b';').next()?;
    let blanks = text.iter().rev();
    let blanks = blanks
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let digits = &text[..text.len() - blanks];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let significant = std::str::from_utf8(&digits[zeros..]).ok()?;
    if digits.is_empty() || significant.len() > 16 {
        return None;
    }
    let behind = line.len() - digits.len();
    if significant.is_empty() {
        return Some((0, zeros - 1 + behind));
    }
    // The first digit is never counted.
    let size = u64::from_str_radix(significant, 16).ok()?;
    Some((size, zeros.saturating_sub(1) + behind))
}

/// Of a size's line that is not complete: whether it can become one.
fn open_size(line: &[u8], spare: usize) -> End {
    let without_cr = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return End::Open;
    }
    match size(without_cr) {
        Some((_, spent)) => open(spent, spare),
        None => End::Bad,
    }
}

/// Of a line of which so much could be spared: the last byte may be paid for with the next one.
fn open(spent: usize, spare: usize) -> End {
    if spent <= spare {
        End::Open
    } else if spent <= spare + 2 {
        End::OpenOrBad
    } else {
        End::Bad
    }
}
