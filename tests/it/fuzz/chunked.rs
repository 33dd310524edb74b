//! Chunked bodies beside a naive decoder. Data is a byte that says whether it is stretched, where reads cut
//! it, and a body with what comes behind it.

use dynamic_reverse_proxy::internals::front::{
    Verdict, chunked_data, chunked_extract, chunked_length,
};

use super::cuts::Cuts;
use super::naive_chunks::{End, decode};

/// Stands before a byte, and for how many times it is repeated, in hundreds.
const STRETCH: u8 = b'~';

pub(super) fn run(data: &[u8]) {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    if *mode == STRETCH {
        let Some(cuts) = Cuts::of(data) else {
            return;
        };
        let before = data.len() - cuts.bytes.len();
        let stretched = [&data[..before], &stretch(cuts.bytes)].concat();
        check(&stretched);
    } else {
        check(data);
    }
}

/// The limit on what is not data is far: little data reaches it by repetition.
fn stretch(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, behind) {
            (&STRETCH, [byte, count, behind @ ..]) if out.len() < 100_000 => {
                out.extend(std::iter::repeat_n(*byte, 100 * usize::from(*count)));
                rest = behind;
            }
            _ => out.push(*byte),
        }
    }
    out
}

fn check(data: &[u8]) {
    let Some(cuts) = Cuts::of(data) else {
        return;
    };
    let (data, end) = decode(cuts.bytes);
    for pieces in [cuts.whole(), cuts.single(), cuts.chosen()] {
        let (moved, verdict) = chunked_data(pieces.iter().copied());
        assert_eq!(moved, data);
        match (&verdict, end) {
            (Verdict::Taken(length), End::At(naive)) => assert_eq!(*length, naive),
            (Verdict::Refused(_), End::Bad | End::OpenOrBad)
            | (Verdict::Open, End::Open | End::OpenOrBad) => {}
            _ => panic!("{verdict:?} {end:?}"),
        }
        assert_eq!(chunked_length(pieces.iter().copied()), verdict);
        let extracted = chunked_extract(pieces.iter().copied());
        match verdict {
            Verdict::Refused(_) => assert_eq!(extracted, None),
            Verdict::Open => assert_eq!(extracted, Some((data.clone(), false))),
            Verdict::Taken(_) => assert_eq!(extracted, Some((data.clone(), true))),
        }
        if let Verdict::Taken(length) = verdict {
            // 16 KiB beyond the data, and what each chunk and each line of a trailer needs.
            let framing = length - data.len();
            assert!(framing <= 3 * (16 * 1024 + data.len()) + 22 * (data.len() + 1));
        }
    }
}
