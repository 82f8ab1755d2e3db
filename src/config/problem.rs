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

/// The names that a file may hold, so that an unknown one is answered with the nearest known.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    pub(crate) tables: &'static [&'static str],
    /// Dotted paths of all keys.
    pub(crate) paths: Vec<String>,
    /// Keys that a later version will honour.
    pub(crate) later: &'static [&'static str],
}

/// Gathers problems while a file is read.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t str,
    /// Where each key was seen, so that checks across keys can name a line too.
    seen: BTreeMap<String, usize>,
    pub(crate) problems: Vec<Problem>,
    known: KnownKeys,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, seen: BTreeMap::new(), problems: Vec::new(), known: KnownKeys::default() }
    }

    /// The same report for a file that may hold these names.
    pub(crate) fn knowing(self, known: KnownKeys) -> Self {
        Self { known, ..self }
    }

    /// A name in the file that is none of the known ones; the nearest one is offered.
    pub(crate) fn unknown(&mut self, path: &str, span: &Range<usize>) {
        if self.known.later.contains(&path) {
            let (found, right) = ("a key not yet supported by this version", "right is to leave it out");
            return self.wrong(path, span, found.to_owned(), right.to_owned());
        }
        let KnownKeys { tables, paths, .. } = &self.known;
        let named = |known: &str| known.rsplit('.').next() == Some(path);
        let candidates: Vec<&str> = match path.contains('.') {
            true => paths.iter().map(String::as_str).collect(),
            false => tables
                .iter()
                .copied()
                .chain(paths.iter().map(String::as_str).filter(|key| named(key)))
                .collect(),
        };
        let nearest = candidates.iter().max_by(|a, b| likeness(path, a).total_cmp(&likeness(path, b)));
        let right = match nearest {
            Some(nearest) if likeness(path, nearest) > 0.6 => format!("the nearest known key is {nearest}"),
            _ => format!("the tables are {}", tables.join(", ")),
        };
        self.wrong(path, span, "an unknown key".to_owned(), right);
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

/// How near a known path is to what was written: mostly the last name, and a little the table it stands in. So
/// `gateway.prot` is nearer to `origins.port` than to `gateway.pin`, and of two equal names that in the same table wins.
fn likeness(written: &str, known: &str) -> f64 {
    fn last(path: &str) -> &str {
        path.rsplit('.').next().unwrap_or(path)
    }
    0.85 * strsim::jaro_winkler(last(written), last(known)) + 0.15 * strsim::jaro_winkler(written, known)
}
