//! Which known name a misspelt one was meant to be.

/// The known name that is nearest to a misspelt one, if any is near enough: a third of its letters
/// may differ. Case, `-` and `_` do not count.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    near(name, known, name.chars().count() / 3)
}

/// As [`nearest`], but at most a letter may differ.
pub(super) fn next<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    near(name, known, 1.min(name.chars().count() / 3))
}

fn near<'a>(name: &str, known: &[&'a str], most: usize) -> Option<&'a str> {
    let name = plain(name);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name, &plain(known)), *known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= most)
        .map(|(_, near)| near)
}

fn plain(name: &str) -> String {
    name.replace(['-', '_'], "").to_ascii_lowercase()
}
