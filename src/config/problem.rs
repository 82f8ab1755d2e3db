//! Problems of a configuration file, and the report that gathers them with their lines.
//!
//! A problem never carries a secret: whoever reports one decides what of the found text may be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key, such as `origins.port`; empty where the text is no TOML at all.
    pub key: String,
    /// Line of the file, from 1. For a missing key, the line of its table.
    pub line: usize,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "found {}; {}", self.found, self.right)
    }
}

/// Gathers problems while a file is read.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t str,
    /// Where each key was seen, so that checks across keys can name a line too.
    seen: BTreeMap<String, usize>,
    pub(crate) problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, seen: BTreeMap::new(), problems: Vec::new() }
    }

    /// Remembers on which line a key or a table stands.
    pub(crate) fn saw(&mut self, key: &str, span: &Range<usize>) {
        let line = self.line(span);
        self.seen.insert(key.to_owned(), line);
    }

    /// Line of a span, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The text of a span as the file has it.
    pub(crate) fn source(&self, span: &Range<usize>) -> &'t str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The text of a span as the file has it, on one line and not too long.
    pub(crate) fn excerpt(&self, span: &Range<usize>) -> String {
        const LONGEST: usize = 60;
        let mut words: String = self.source(span).split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() > LONGEST {
            words = words.chars().take(LONGEST).collect::<String>() + "…";
        }
        words
    }

    /// A problem at a place in the text.
    pub(crate) fn wrong(&mut self, key: &str, span: &Range<usize>, found: String, right: String) {
        let line = self.line(span);
        self.problems.push(Problem { key: key.to_owned(), line, found, right });
    }

    /// A problem of a key that was read well but does not fit to others. A key that is not in the file is reported at
    /// its table, or at the first line.
    pub(crate) fn clash(&mut self, key: &str, found: &str, right: &str) {
        let table = key.split_once('.').map_or(key, |(table, _)| table);
        let line = self.seen.get(key).or_else(|| self.seen.get(table)).copied().unwrap_or(1);
        self.problems.push(Problem {
            key: key.to_owned(),
            line,
            found: found.to_owned(),
            right: right.to_owned(),
        });
    }
}
