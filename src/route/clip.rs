//! Texts that quote what came from outside, short enough for a message, an event or a log line.

use std::borrow::Cow;

/// The longest text of a message that quotes input, in bytes.
const MESSAGE: usize = 1024;

/// The longest single value that a message quotes, in characters.
const VALUE: usize = 80;

/// A message that quotes input, with its middle left out if it is longer than 1 KiB: it begins with what
/// is wrong and ends with what to do.
pub fn clip_message<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    clip(text.into(), MESSAGE)
}

/// A text with its middle left out, unless it has at most `most` bytes.
#[must_use]
pub fn clip(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return text;
    }
    let begin = text.get(..text.floor_char_boundary(most / 2));
    let end = text.get(text.ceil_char_boundary(text.len() - most / 4)..);
    let (begin, end) = (begin.unwrap_or_default(), end.unwrap_or_default());
    let left_out = text.len() - begin.len() - end.len();
    format!("{begin} [{left_out} bytes left out] {end}").into()
}

/// A single value for a message: its first 80 characters.
#[must_use]
pub fn clip_value(text: &str) -> String {
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A text without what a terminal acts on: control characters but line ends and tabs, and the characters that
/// change the direction of what follows (Unicode, UAX #9), stand as `\\u009b`, which JSON reads as well.
pub fn printable<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    if !text.chars().any(is_acted_on) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_acted_on(character) {
            shown.push_str("\\u");
            shown.extend([12, 8, 4, 0].map(|shift| digit(character, shift)));
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// A hexadecimal digit of a character below U+10000.
fn digit(character: char, shift: u32) -> char {
    let digit = (u32::from(character) >> shift) & 0xf;
    char::from_digit(digit, 16).unwrap_or('0')
}

fn is_acted_on(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        for character in ["a", "é", "\u{1f980}"] {
            let text = format!(
                "The field {} is wrong; leave it out.",
                character.repeat(2000)
            );
            let clipped = clip_message(text.as_str());
            assert!(clipped.len() < MESSAGE, "{clipped}");
            assert!(clipped.starts_with("The field ") && clipped.ends_with("; leave it out."));
            assert!(clipped.contains(" bytes left out] "), "{clipped}");
        }
        assert_eq!(clip_message("short"), "short");
    }

    #[test]
    fn what_a_terminal_acts_on_is_shown() {
        assert_eq!(printable("é\n\ta"), "é\n\ta");
        assert_eq!(
            printable("a\r\u{1b}[2J\u{9b}\u{202e}b"),
            "a\\u000d\\u001b[2J\\u009b\\u202eb"
        );
    }

    #[test]
    fn a_value_keeps_its_beginning() {
        assert_eq!(clip_value("short"), "short");
        let clipped = clip_value(&"é".repeat(100));
        assert_eq!(clipped, format!("{}...", "é".repeat(80)));
    }
}
