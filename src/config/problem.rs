//! Problems of a configuration file, and the report that gathers them with their lines.
//!
//! A problem never carries a secret: the code that reports one decides how much of the text it found may be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a configuration file. Its `Display` is one line without the name of the file and the line
/// number: `origins.port: expected a whole number from 1 to 65535, found 0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key, such as `origins.port`; empty where the text is no TOML at all.
    pub key: String,
    /// Line of the file, from 1. For a key that is missing, the line of its table.
    pub line: usize,
    /// What the file has there, in words or as it is written; never a secret.
    pub found: String,
    /// What would be right there, so that it reads well after the word "expected".
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// The names that a file may hold, so that the problem of an unknown name can offer the nearest known one.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    pub(crate) tables: &'static [&'static str],
    /// Dotted paths of all keys.
    pub(crate) paths: Vec<String>,
    /// Dotted paths of keys that only a later version will understand.
    pub(crate) later: &'static [&'static str],
}

/// Gathers problems while a file is read.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t str,
    /// The line of each key and table that the file writes, so that checks across keys can name a line too.
    lines: BTreeMap<String, usize>,
    pub(crate) problems: Vec<Problem>,
    known: KnownKeys,
}

impl<'t> Report<'t> {
    /// An empty report about `text`, the whole file.
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, lines: BTreeMap::new(), problems: Vec::new(), known: KnownKeys::default() }
    }

    /// The same report for a file that may hold these names.
    pub(crate) fn knowing(self, known: KnownKeys) -> Self {
        Self { known, ..self }
    }

    /// Adds a problem at a span of the text.
    pub(crate) fn add(
        &mut self,
        key: &str,
        span: &Range<usize>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.push(key, self.line(span), found.into(), expected.into());
    }

    /// Adds a problem of a key whose value was read well, but does not fit to other keys. A key that the file does not write
    /// is reported at its table, or at the first line.
    pub(crate) fn add_at_key(&mut self, key: &str, found: impl Into<String>, expected: impl Into<String>) {
        // the key, its table, and the table around that
        let ends = key.rmatch_indices('.').map(|(end, _)| end);
        let lines = std::iter::once(key.len()).chain(ends).filter_map(|end| self.lines.get(&key[..end]));
        let line = lines.copied().next().unwrap_or(1);
        self.push(key, line, found.into(), expected.into());
    }

    /// Whether a problem was reported for one of these keys. Such a key has its default meanwhile, so that a check across keys
    /// would compare what the file does not say.
    pub(crate) fn is_wrong(&self, keys: &[&str]) -> bool {
        self.problems.iter().any(|problem| keys.contains(&problem.key.as_str()))
    }

    fn push(&mut self, key: &str, line: usize, found: String, expected: String) {
        self.problems.push(Problem { key: key.to_owned(), line, found, expected });
    }

    /// Adds the problem of a name in the file that is none of the known ones; it offers the nearest of those.
    pub(crate) fn add_unknown(&mut self, path: &str, span: &Range<usize>) {
        // in any table: a key in the wrong place is not a key of another name
        if let Some(later) = self.known.later.iter().find(|later| last(later) == last(path)) {
            let found = match *later == path {
                true => "a key that this version does not support yet".to_owned(),
                false => format!("an unknown key ({later} is one that this version does not support yet)"),
            };
            return self.add(path, span, found, "a configuration without this key");
        }
        let expected = match self.nearest(path) {
            Some(nearest) => format!("a known key (the nearest is {nearest})"),
            None => format!("a known key (the tables are {})", self.known.tables.join(", ")),
        };
        self.add(path, span, "an unknown key", expected);
    }

    /// The known name that an unknown one was probably meant to be, if one is near enough.
    fn nearest(&self, path: &str) -> Option<&str> {
        const LIKENESS_MIN: f64 = 0.6;
        let KnownKeys { tables, paths, .. } = &self.known;
        // a name without a table is a table with a mistake in it, or a key that was written outside of its table
        let is_candidate = |known: &&str| path.contains('.') || known.rsplit('.').next() == Some(path);
        let keys = paths.iter().map(String::as_str).filter(is_candidate);
        let tables = tables.iter().copied().filter(|_| !path.contains('.'));
        tables
            .chain(keys)
            .map(|known| (likeness(path, known), known))
            .filter(|(likeness, known)| *likeness > LIKENESS_MIN && may_be_meant(last(path), last(known)))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, known)| known)
    }

    /// Remembers on which line a key or a table stands.
    pub(crate) fn note_line(&mut self, key: &str, span: &Range<usize>) {
        let line = self.line(span);
        self.lines.insert(key.to_owned(), line);
    }

    /// Line on which a span begins, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The text of a span as the file has it.
    pub(crate) fn source(&self, span: &Range<usize>) -> &'t str {
        self.text.get(span.clone()).unwrap_or_default()
    }

    /// The text of a span as the file has it, but on one line and cut after 60 characters.
    pub(crate) fn excerpt(&self, span: &Range<usize>) -> String {
        const EXCERPT_MAX: usize = 60;
        let mut words: String = self.source(span).split_whitespace().collect::<Vec<_>>().join(" ");
        if words.chars().count() > EXCERPT_MAX {
            words = words.chars().take(EXCERPT_MAX).collect::<String>() + "…";
        }
        words
    }
}

/// The name of a key without its table.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a written name may be a known one with a mistake in it: at least half of its letters are right, or one name holds
/// the other. Two names that only begin alike, or share letters in another order, are different names.
fn may_be_meant(written: &str, known: &str) -> bool {
    const RIGHT_MIN: f64 = 0.5;
    strsim::normalized_damerau_levenshtein(written, known) >= RIGHT_MIN
        || written.contains(known)
        || known.contains(written)
}

/// How near a known path is to the written one, from 0 to 1: mostly by the last name, and a little by the table. So
/// `gateway.prot` is nearer to `origins.port` than to `gateway.pin`, and of two equal names the one in the same table wins.
fn likeness(written: &str, known: &str) -> f64 {
    0.85 * strsim::jaro_winkler(last(written), last(known)) + 0.15 * strsim::jaro_winkler(written, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_like_a_known_one_may_be_meant() {
        for (written, known) in [
            ("wokers", "workers"),
            ("prot", "port"),
            ("upgrade_time_out", "upgrade_timeout"),
            ("authorisation", "authorization"),
            ("certificate", "certificates"),
            ("listen_address", "listen"),
        ] {
            assert!(may_be_meant(written, known), "{written}");
        }
        for (written, known) in [("ticket_keys", "strict"), ("secret", "redact"), ("ticker", "pin")] {
            assert!(!may_be_meant(written, known), "{written}");
        }
    }
}
