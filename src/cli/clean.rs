//! Text that comes from somebody else, before it is shown.

use crate::route::printable;

/// Text of somebody else on one line, without what a terminal would take for a command.
pub(super) fn clean(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_commands() {
        assert_eq!(clean("a\u{1b}[31m\nb\u{9b}"), "a\\u001b[31m\\nb\\u009b");
        assert_eq!(clean("gr\u{fc}n"), "gr\u{fc}n");
    }
}
