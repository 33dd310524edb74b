//! The keys and values of a YAML text, each with its place. The deserialiser says where it stopped; this says which
//! key that is.

use serde_saphyr::granit_parser::{Event, Marker, Parser};

/// Every key and value of a text in order, up to the first syntax error.
pub(super) fn outline(text: &str) -> Vec<Entry> {
    let mut outline = Outline::default();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        outline.take(&event, position(span.start));
    }
    outline.entries
}

/// A line and a column, both from 1.
pub(super) type Position = (usize, usize);

/// A value of the file, or an item of a list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// As in `timeouts.connect`, `routes[0].prefix`; empty for the whole.
    pub(super) path: String,
    /// Where its key is, if it has one.
    pub(super) key: Option<Position>,
    /// Where the value begins. A map or list that is a block begins at its first key or item.
    pub(super) value: Position,
    pub(super) node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Scalar(String),
    List,
    Map,
    Alias,
}

#[derive(Default)]
struct Outline {
    entries: Vec<Entry>,
    open: Vec<Open>,
}

/// A map or list that the parser is inside of.
enum Open {
    List {
        path: String,
        next: usize,
    },
    Map {
        path: String,
        key: Option<(String, Position)>,
    },
    /// A map or list that is itself a key, which no configuration has.
    Key,
}

impl Outline {
    fn take(&mut self, event: &Event<'_>, position: Position) {
        match event {
            Event::Scalar(text, ..) => self.scalar(text, position, Node::Scalar(text.to_string())),
            Event::Alias(_) => self.scalar("*", position, Node::Alias),
            Event::SequenceStart(..) => self.open(position, Node::List),
            Event::MappingStart(..) => self.open(position, Node::Map),
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            _ => {}
        }
    }

    fn scalar(&mut self, text: &str, position: Position, node: Node) {
        if !self.take_key(text, position) {
            self.enter(position, node);
        }
    }

    /// Keeps a scalar as the key of the value that comes next, if that is what it is.
    fn take_key(&mut self, text: &str, position: Position) -> bool {
        match self.open.last_mut() {
            Some(Open::Map {
                key: key @ None, ..
            }) => {
                *key = Some((text.to_owned(), position));
                true
            }
            _ => false,
        }
    }

    fn open(&mut self, position: Position, node: Node) {
        if self.take_key("?", position) {
            self.open.push(Open::Key);
            return;
        }
        let is_list = node == Node::List;
        let path = self.enter(position, node);
        self.open.push(if is_list {
            Open::List { path, next: 0 }
        } else {
            Open::Map { path, key: None }
        });
    }

    /// Adds a value and returns its path.
    fn enter(&mut self, value: Position, node: Node) -> String {
        let (path, key) = match self.open.last_mut() {
            Some(Open::Map { path, key }) => match key.take() {
                Some((name, position)) => (join(path, &name), Some(position)),
                None => (path.clone(), None),
            },
            Some(Open::List { path, next }) => {
                *next += 1;
                (format!("{path}[{}]", *next - 1), None)
            }
            Some(Open::Key) | None => (String::new(), None),
        };
        self.entries.push(Entry {
            path: path.clone(),
            key,
            value,
            node,
        });
        path
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

fn position(marker: Marker) -> Position {
    (marker.line(), marker.col() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_and_item_has_its_path_and_place() {
        let text = "port: 1\ntimeouts:\n  connect: 2s\nroutes:\n  - prefix: /a\n    port: 2\n";
        let outline: Vec<_> = outline(text)
            .into_iter()
            .map(|entry| (entry.path, entry.key, entry.value))
            .collect();
        assert_eq!(
            outline,
            [
                (String::new(), None, (1, 1)),
                ("port".to_owned(), Some((1, 1)), (1, 7)),
                ("timeouts".to_owned(), Some((2, 1)), (3, 3)),
                ("timeouts.connect".to_owned(), Some((3, 3)), (3, 12)),
                ("routes".to_owned(), Some((4, 1)), (5, 3)),
                ("routes[0]".to_owned(), None, (5, 5)),
                ("routes[0].prefix".to_owned(), Some((5, 5)), (5, 13)),
                ("routes[0].port".to_owned(), Some((6, 5)), (6, 11)),
            ]
        );
    }
}
