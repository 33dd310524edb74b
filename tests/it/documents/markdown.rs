//! As much of Markdown as the documents use.

/// A document and its place in the repository.
pub(super) struct Document {
    pub(super) path: String,
    pub(super) text: String,
}

/// A block of code.
#[derive(Debug)]
pub(super) struct Fence {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// The language that it says it is in.
    pub(super) language: String,
    pub(super) text: String,
}

impl Document {
    pub(super) fn new(path: &str, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// The blocks of code, in their order.
    pub(super) fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut open: Option<Fence> = None;
        for (number, line) in (1..).zip(self.text.lines()) {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Fence {
                        line: number,
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(_), Some("")) => fences.extend(open.take()),
                (Some(fence), _) => {
                    fence.text.push_str(line);
                    fence.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block of code has no end", self.path);
        fences
    }

    /// The text without the blocks of code.
    pub(super) fn prose(&self) -> String {
        let mut prose = String::new();
        let mut in_fence = false;
        for line in self.text.lines() {
            if line.starts_with("```") {
                in_fence = !in_fence;
            } else if !in_fence {
                prose.push_str(line);
            }
            prose.push('\n');
        }
        prose
    }

    /// What stands between backticks, outside of blocks; a span over two lines is one.
    pub(super) fn code(&self) -> Vec<String> {
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        spans.map(|span| span.replace('\n', " ")).collect()
    }

    /// Where links lead to.
    pub(super) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let without_code: String = prose.split('`').step_by(2).collect();
        let ends = without_code.split("](").skip(1);
        ends.filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target.to_owned())
            .collect()
    }

    /// The anchors of the headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        let prose = self.prose();
        for line in prose.lines().filter(|line| line.starts_with('#')) {
            let plain = anchor(line.trim_start_matches('#').trim());
            let same = |other: &&String| {
                let rest = other.strip_prefix(plain.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            let count = anchors.iter().filter(same).count();
            if count > 0 && anchors.contains(&plain) {
                anchors.push(format!("{plain}-{count}"));
            } else {
                anchors.push(plain);
            }
        }
        anchors
    }
}

fn anchor(heading: &str) -> String {
    let lower = heading.to_lowercase();
    let kept = lower.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter => letter.is_alphanumeric().then_some(letter),
    });
    kept.collect()
}

#[test]
fn headings_have_the_anchors_of_github() {
    let text = "# A, b: `c_d`\n## Who may register\n```sh\n# none\n```\n## Who may register\n";
    let document = Document::new("x.md", text.to_owned());
    assert_eq!(
        document.anchors(),
        ["a-b-c_d", "who-may-register", "who-may-register-1"]
    );
}

#[test]
fn code_and_links_are_found_outside_of_blocks() {
    let text =
        "See [`a.rs`](a.rs) and\n[b](b.md#c), `x\ny`, `](no.md)`.\n\n```sh\n`z` [d](d)\n```\n";
    let document = Document::new("x.md", text.to_owned());
    assert_eq!(document.links(), ["a.rs", "b.md#c"]);
    assert_eq!(document.code(), ["a.rs", "x y", "](no.md)"]);
    assert_eq!(document.fences().len(), 1);
    assert_eq!(document.fences()[0].line, 5);
}
