//! Sizes in bytes as people write them: `4096`, `64KiB` (1024 bytes each), `1MB` (a million bytes).

use std::num::NonZeroU32;

use bytesize::ByteSize;
use serde::Deserializer;

use super::text;

/// A size of at least a byte.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    text::parse_with(deserializer, parse)
}

/// A size of at least a byte, where the default is not the configuration's.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    positive(deserializer).map(Some)
}

/// A size of at least a byte, or none, written `off`.
pub(super) fn or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    text::parse_with(deserializer, |text| match text {
        "off" => Ok(None),
        text => {
            let size = parse(text).map_err(|problem| format!("{problem}, or off for no limit"))?;
            Ok(Some(size as u64))
        }
    })
}

/// A number of bytes a second, or none, written `off`.
pub(super) fn rate_or_off<'de, D>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error>
where
    D: Deserializer<'de>,
{
    text::parse_with(deserializer, rate)
}

fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    if text == "off" {
        return Ok(None);
    }
    let size = parse(text).map_err(|problem| format!("{problem}, or off for no limit"))?;
    let rate = u32::try_from(size).ok().and_then(NonZeroU32::new);
    rate.map(Some).ok_or_else(|| {
        let shown = text::shown(text);
        format!("is more than 4 GiB a second: {shown}; write bytes a second, such as 128 or 10KiB, or off for no limit")
    })
}

fn parse(text: &str) -> Result<usize, String> {
    let shown = text::shown(text);
    let size: ByteSize = text.parse().map_err(|error| {
        log::trace!("{text:?} as a size: {error}");
        format!("is not a size: {shown}; write one such as 4096, 64KiB or 1MB")
    })?;
    match usize::try_from(size.as_u64()) {
        Ok(0) => Err("is zero; write a size such as 64KiB".to_owned()),
        Ok(bytes) if bytes < usize::MAX => Ok(bytes),
        _ => Err(format!("is too large: {shown}; write a size such as 64KiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, expected) in [
            ("4096", 4096),
            ("64KiB", 65_536),
            ("64 KiB", 65_536),
            ("64kib", 65_536),
            ("1MB", 1_000_000),
            ("1.5MiB", 1_572_864),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_size_a_second() {
        for (text, expected) in [("128", 128), ("10KiB", 10_240), ("4294967295", u32::MAX)] {
            assert_eq!(rate(text), Ok(NonZeroU32::new(expected)), "{text}");
        }
        assert_eq!(rate("off"), Ok(None));
        for (text, expected) in [
            ("0", "is zero"),
            ("fast", "is not a size"),
            ("4GiB", "is more than 4 GiB a second"),
        ] {
            let error = rate(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(error.ends_with("or off for no limit"), "{text}: {error}");
        }
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong() {
        for (text, expected) in [
            ("0", "is zero"),
            ("0KiB", "is zero"),
            ("-1", "is not a size"),
            ("", "is not a size"),
            ("big", "is not a size"),
            ("64KiBs", "is not a size"),
            ("64 KiB 2", "is not a size"),
            ("99999999EiB", "is too large"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
