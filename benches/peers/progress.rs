//! What is going on, on standard error: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;

pub(crate) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Result<Self> {
        // indicatif draws on a terminal only.
        let bar = ProgressBar::new(steps as u64);
        let style = "{elapsed_precise} {bar:30} {pos}/{len}, {eta} left  {wide_msg}";
        bar.set_style(ProgressStyle::with_template(style)?);
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self {
            bar,
            terminal: std::io::stderr().is_terminal(),
        })
    }

    /// What is done now.
    pub(crate) fn at(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A step is through.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// So many steps were planned, and so many are left.
    pub(crate) fn correct(&self, planned: usize, left: usize) {
        let length = self.bar.length().unwrap_or(0);
        let length = (length + left as u64).saturating_sub(planned as u64);
        self.bar.set_length(length);
    }

    /// Something to keep in sight.
    pub(crate) fn say(&self, what: &str) {
        if self.terminal {
            self.bar.println(what);
        } else {
            eprintln!("{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
