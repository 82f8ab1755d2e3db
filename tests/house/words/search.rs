//! Finds banned words in lines of text.

use super::lists::{BANNED, Banned};
use std::collections::HashMap;

/// A banned word or phrase in a line, with where it begins and ends.
pub struct Hit {
    pub at: usize,
    pub end: usize,
    pub rule: &'static Banned,
    pub phrase: &'static str,
}

/// The list, by the first word of what is banned.
pub struct Search {
    rules: HashMap<&'static str, Vec<(&'static str, &'static Banned)>>,
    /// For each first letter one bit for each length that such a word has: most words are none, and this says so soon.
    lengths: [u32; 26],
}

impl Search {
    pub fn new() -> Self {
        let mut search = Self { rules: HashMap::new(), lengths: [0; 26] };
        for rule in BANNED {
            for phrase in rule.words {
                let first = phrase.split(' ').next().unwrap_or(phrase);
                search.rules.entry(first).or_default().push((phrase, rule));
                search.lengths[usize::from(first.as_bytes()[0] - b'a')] |= 1 << first.len();
            }
        }
        search
    }

    /// All banned words and phrases of a line. Words are letters and digits between anything else, also between `_`.
    pub fn hits(&self, line: &str) -> Vec<Hit> {
        let mut found = Vec::new();
        let bytes = line.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let length =
                bytes[at..].iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(bytes.len() - at);
            if length > 0 && self.is_candidate(bytes[at], length) {
                let word = line[at..at + length].to_ascii_lowercase();
                for (phrase, rule) in self.rules.get(word.as_str()).into_iter().flatten() {
                    let end = phrase_end(&line[at..], phrase).map(|end| at + end);
                    let end = end.filter(|end| !is_coded(line, at, *end));
                    found.extend(end.map(|end| Hit { at, end, rule, phrase }));
                }
            }
            at += length + 1;
        }
        found
    }

    fn is_candidate(&self, first: u8, length: usize) -> bool {
        let letter = usize::from(first.to_ascii_lowercase().wrapping_sub(b'a'));
        length < 32 && self.lengths.get(letter).is_some_and(|lengths| lengths & (1 << length) != 0)
    }
}

/// Where a phrase ends that the text begins with; its words may have spaces, `_` or `-` between them.
fn phrase_end(text: &str, phrase: &str) -> Option<usize> {
    let mut end = 0;
    for (number, word) in phrase.split(' ').enumerate() {
        if number > 0 {
            let between = text[end..].find(|c: char| !(c.is_whitespace() || c == '_' || c == '-'))?;
            if between == 0 {
                return None;
            }
            end += between;
        }
        let here = text.get(end..end + word.len())?;
        if !here.eq_ignore_ascii_case(word) {
            return None;
        }
        end += word.len();
    }
    // "no one-step session" has no "no one"
    let joins = |byte: u8| byte.is_ascii_alphanumeric() || (byte == b'-' && phrase.contains(' '));
    let goes_on = text[end..].bytes().next().is_some_and(joins);
    (!goes_on).then_some(end)
}

/// Whether a word is part of Base64 or the like: long, with capitals, small letters and digits in one.
fn is_coded(line: &str, at: usize, end: usize) -> bool {
    let in_code = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(byte);
    let before = line.as_bytes()[..at].iter().rev().take_while(|byte| in_code(byte)).count();
    let after = line.as_bytes()[end..].iter().take_while(|byte| in_code(byte)).count();
    let run = &line.as_bytes()[at - before..end + after];
    run.len() >= 20
        && run.iter().any(u8::is_ascii_uppercase)
        && run.iter().any(u8::is_ascii_lowercase)
        && run.iter().any(u8::is_ascii_digit)
}
