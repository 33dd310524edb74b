//! The keys of `conf/pingora.yaml`, each with its default and the comment before or behind it.
//!
//! - A comment has one blank behind its `#`. A key that is commented out has none, or two and more.
//! - A comment before keys is for the first and for those after it that have none of their own. Items of
//!   lists have theirs on the same line.
//! - `Default: X.` in a comment says the default of a key that is commented out, or overrules its value;
//!   `Required.` says that there is none.

use std::fmt::Write as _;

/// One row of the table.
pub(super) struct Row {
    pub(super) keys: Vec<String>,
    pub(super) default: String,
    pub(super) meaning: String,
}

/// Some rows below a heading.
#[derive(Default)]
struct Part {
    heading: String,
    intro: String,
    rows: Vec<Row>,
}

/// A key that has others below it.
struct Parent {
    indent: usize,
    path: String,
    is_list: bool,
}

#[derive(Default)]
struct Reader {
    parts: Vec<Part>,
    comment: String,
    parents: Vec<Parent>,
}

/// A key on a line of its own.
struct Key<'a> {
    indent: usize,
    is_item: bool,
    name: &'a str,
    value: &'a str,
    remark: &'a str,
}

/// The rows of all keys.
pub(super) fn rows() -> Vec<Row> {
    parts().into_iter().flat_map(|part| part.rows).collect()
}

/// All keys and their sections, by their paths: `tls.listen[].address`.
pub(super) fn keys() -> Vec<String> {
    let parts = parts();
    let sections = parts.iter().filter_map(|part| {
        let name = part.heading.strip_prefix("### `")?;
        name.strip_suffix('`').map(str::to_owned)
    });
    let rows = parts.iter().flat_map(|part| &part.rows);
    let keys = rows.flat_map(|row| row.keys.iter().cloned());
    sections.chain(keys).collect()
}

/// The table in Markdown.
pub(super) fn markdown() -> String {
    let keys = keys();
    let mut text = String::new();
    let mut write = |line: &str| writeln!(text, "{line}").expect("a string grows");
    for part in parts() {
        write(&format!("\n{}", part.heading));
        if !part.intro.is_empty() {
            write(&format!("\n{}", marked_up(&part.intro, &keys)));
        }
        if !part.rows.is_empty() {
            write("\n| key | default | meaning |\n|---|---|---|");
        }
        for row in part.rows {
            let names: Vec<_> = row.keys.iter().map(|key| format!("`{key}`")).collect();
            let names = names.join(", ");
            let default = marked_up(&row.default, &keys);
            write(&format!(
                "| {names} | {default} | {} |",
                marked_up(&row.meaning, &keys)
            ));
        }
    }
    text
}

fn parts() -> Vec<Part> {
    let text = super::read("conf/pingora.yaml");
    let mut reader = Reader::default();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("# --- ") {
            reader.section(title.trim_end_matches(['-', ' ']));
        } else if reader.parts.is_empty() {
            // The head of the file.
        } else if line.is_empty() {
            reader.end_of_comment();
        } else if let Some(text) = comment(line) {
            reader.remember(text);
        } else if let Some(key) = Key::read(&uncommented(line)) {
            let next = lines.peek().map(|next| uncommented(next));
            reader.take(&key, next.as_deref());
        }
    }
    reader.parts
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("# ")?;
    (!text.starts_with(' ')).then_some(text)
}

/// A line whose key may be commented out.
fn uncommented(line: &str) -> String {
    if comment(line).is_some() {
        return String::new();
    }
    line.replacen('#', "", usize::from(line.trim_start().starts_with('#')))
}

impl<'a> Key<'a> {
    /// `None` for an item that is no map.
    fn read(line: &'a str) -> Option<Self> {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let item = text.strip_prefix("- ");
        let (rest, remark) = item
            .unwrap_or(text)
            .split_once(" # ")
            .unwrap_or((item.unwrap_or(text), ""));
        let (name, value) = rest.trim_end().split_once(':')?;
        let is_name = name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        is_name.then(|| Self {
            indent: indent + if item.is_some() { 2 } else { 0 },
            is_item: item.is_some(),
            name,
            value: value.trim(),
            remark: remark.trim(),
        })
    }
}

impl Key<'_> {
    /// Whether it is a map of the top level, whose keys get a table of their own; `next` is the line below.
    fn is_section(&self, next: Option<&str>) -> bool {
        let is_list =
            |next: &str| indent(next) > self.indent && next.trim_start().starts_with("- ");
        self.indent == 0 && self.value.is_empty() && !next.is_some_and(is_list)
    }
}

impl Reader {
    fn section(&mut self, title: &str) {
        self.parents.clear();
        self.parts.push(Part {
            heading: format!("## {title}"),
            ..Part::default()
        });
    }

    /// A comment that no key follows is about the section.
    fn end_of_comment(&mut self) {
        let comment = std::mem::take(&mut self.comment);
        let part = self.parts.last_mut().expect("a section");
        part.intro.push_str(&comment);
    }

    fn remember(&mut self, text: &str) {
        if !self.comment.is_empty() {
            self.comment.push(' ');
        }
        self.comment.push_str(text);
    }

    /// Takes a key; `next` is the line below.
    fn take(&mut self, key: &Key<'_>, next: Option<&str>) {
        while self
            .parents
            .last()
            .is_some_and(|parent| parent.indent >= key.indent)
        {
            self.parents.pop();
        }
        let path = self.path(key);
        if matches!(key.value, "" | "[]") {
            self.parents.push(Parent {
                indent: key.indent,
                path: path.clone(),
                is_list: false,
            });
        }
        if key.is_section(next) {
            let intro = std::mem::take(&mut self.comment);
            self.parts.push(Part {
                heading: format!("### `{path}`"),
                intro,
                ..Part::default()
            });
            return;
        }
        self.row(path, key);
    }

    fn path(&mut self, key: &Key<'_>) -> String {
        let Some(parent) = self.parents.last_mut() else {
            // Keys of the top level stand below the section's heading, or below one of their own.
            return key.name.to_owned();
        };
        parent.is_list |= key.is_item;
        let list = if parent.is_list { "[]" } else { "" };
        format!("{}{list}.{}", parent.path, key.name)
    }

    fn row(&mut self, path: String, key: &Key<'_>) {
        let mut comment = std::mem::take(&mut self.comment);
        if comment.is_empty() {
            comment.push_str(key.remark);
        }
        let (meaning, said) = split_default(&comment);
        let part = self.place(&path);
        if meaning.is_empty() {
            let last = part
                .rows
                .last_mut()
                .expect("a comment before the first key");
            last.keys.push(path);
            return;
        }
        let default = said.unwrap_or_else(|| match key.value {
            "" => "the keys below".to_owned(),
            "[]" => "none".to_owned(),
            value => format!("`{value}`"),
        });
        part.rows.push(Row {
            keys: vec![path],
            default,
            meaning,
        });
    }

    /// Where a key stands: below the heading of its map, or else right below that of its section.
    fn place(&mut self, path: &str) -> &mut Part {
        let map = path.split(['.', '[']).next().unwrap_or(path);
        let own = format!("### `{map}`");
        let is_place = |part: &Part| part.heading == own || part.heading.starts_with("## ");
        let index = self.parts.iter().rposition(is_place).expect("a section");
        &mut self.parts[index]
    }
}

/// A comment without its default, and the default.
fn split_default(comment: &str) -> (String, Option<String>) {
    if let Some(meaning) = comment.strip_suffix("Required.") {
        return (meaning.trim_end().to_owned(), Some("required".to_owned()));
    }
    let Some((before, rest)) = comment.split_once("Default: ") else {
        return (example(comment), None);
    };
    let (default, after) = rest
        .split_once(". ")
        .unwrap_or((rest.trim_end_matches('.'), ""));
    let is_word = matches!(default, "none" | "any" | "unchanged");
    let is_value = !is_word && !default.contains([' ', '`', '\'']);
    let default = if is_value {
        format!("`{default}`")
    } else {
        default.to_owned()
    };
    (
        example(format!("{before}{after}").trim_end()),
        Some(default),
    )
}

/// What stands behind `Example:`, to the end, is code.
fn example(comment: &str) -> String {
    match comment.split_once("Example: ") {
        Some((before, example)) if !example.contains('`') => {
            format!("{before}Example: `{example}`")
        }
        _ => comment.to_owned(),
    }
}

/// Text in Markdown: the names of keys are code, and what Markdown would read is escaped.
fn marked_up(text: &str, keys: &[String]) -> String {
    let mut parts = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            parts.push(part.to_owned());
            continue;
        }
        let words = part.split(' ').map(|word| marked_up_word(word, keys));
        parts.push(words.collect::<Vec<_>>().join(" "));
    }
    parts.join("`")
}

fn marked_up_word(word: &str, keys: &[String]) -> String {
    let name = word.trim_matches(['.', ',', ';', ':', '(', ')']);
    let is_key = name.contains(['.', '_']) && keys.iter().any(|key| key == name);
    if is_key {
        return word.replacen(name, &format!("`{name}`"), 1);
    }
    let mut escaped = String::new();
    for letter in word.chars() {
        if "*|<[]\\".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
