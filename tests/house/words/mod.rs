//! Sentences in plain English: banned words in comments, strings, names and pages (`lists.rs` has them).

mod lists;
mod pieces;
#[cfg(test)]
mod tests;

use crate::Finding;
use crate::repository::Files;
use lists::{ALLOWED, BANNED, Banned, NOT_READ, READ};
use pieces::{Piece, pieces};
use std::collections::HashMap;

/// A word in a line: where it begins, and its letters in lower case.
struct Word {
    at: usize,
    text: String,
}

/// A banned word or phrase in a line.
struct Hit {
    at: usize,
    end: usize,
    rule: &'static Banned,
    phrase: &'static str,
}

fn findings(files: &Files) -> Vec<Finding> {
    let rules = rules();
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| is_read(file)) {
        for Piece { line, text, is_name } in pieces(file, text) {
            for (more, text) in text.lines().enumerate() {
                let hits = hits(&rules, text).into_iter().filter(|hit| hit.rule.names || !is_name);
                let bad = hits.filter(|hit| !ALLOWED.iter().any(|allowed| allows(allowed, file, text, hit)));
                found.extend(bad.map(|hit| {
                    Finding::new(
                        file,
                        line + more,
                        format!("\"{}\"; write instead: {}", hit.phrase, hit.rule.instead),
                    )
                }));
            }
        }
    }
    found
}

/// Entries of the list of what is allowed that nothing needs any more.
fn stale(files: &Files) -> Vec<Finding> {
    let rules = rules();
    let needed = |allowed: &lists::Allowed| {
        files.iter().filter(|(file, _)| is_read(file) && file.starts_with(allowed.file)).any(
            |(file, text)| {
                let mut pieces = pieces(file, text).into_iter();
                pieces.any(|piece| {
                    piece
                        .text
                        .lines()
                        .any(|line| hits(&rules, line).iter().any(|hit| allows(allowed, file, line, hit)))
                })
            },
        )
    };
    let stale = ALLOWED.iter().filter(|allowed| !needed(allowed));
    stale
        .map(|one| Finding::new(one.file, 0, format!("nothing needs ALLOWED {:?}: take it out", one.phrase)))
        .collect()
}

fn is_read(file: &str) -> bool {
    READ.iter().any(|end| file.ends_with(end)) && !NOT_READ.iter().any(|part| file.contains(part))
}

/// The rules by the first word of what they ban.
fn rules() -> HashMap<&'static str, Vec<(&'static str, &'static Banned)>> {
    let mut rules: HashMap<_, Vec<_>> = HashMap::new();
    for rule in BANNED {
        for phrase in rule.words {
            rules.entry(phrase.split(' ').next().unwrap_or(phrase)).or_default().push((*phrase, rule));
        }
    }
    rules
}

fn hits(rules: &HashMap<&'static str, Vec<(&'static str, &'static Banned)>>, line: &str) -> Vec<Hit> {
    let words = words(line);
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        for (phrase, rule) in rules.get(word.text.as_str()).into_iter().flatten() {
            let parts = phrase.split(' ').count();
            let here = &words[index..(index + parts).min(words.len())];
            let joined = here.windows(2).all(|two| joins(&line[two[0].at + two[0].text.len()..two[1].at]));
            if joined && here.iter().map(|word| word.text.as_str()).eq(phrase.split(' ')) {
                let last = &here[parts - 1];
                found.push(Hit { at: word.at, end: last.at + last.text.len(), rule, phrase });
            }
        }
    }
    found
}

/// Whether words with this between them can be one phrase.
fn joins(between: &str) -> bool {
    between.chars().all(|character| character.is_whitespace() || matches!(character, '_' | '-'))
}

/// Words are letters and digits between anything else, `_` and `-` included; what looks like a coded value has none.
fn words(line: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let in_code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-');
    for (begin, run) in runs(line, in_code) {
        if is_coded(run) {
            continue;
        }
        for (at, word) in runs(run, |c| c.is_ascii_alphanumeric()) {
            found.push(Word { at: begin + at, text: word.to_ascii_lowercase() });
        }
    }
    found
}

/// Base64 and the like: long, with capitals, small letters and digits in one.
fn is_coded(run: &str) -> bool {
    let has = |class: fn(&char) -> bool| run.chars().any(|character| class(&character));
    run.len() >= 20
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && has(char::is_ascii_digit)
}

/// The longest runs of characters of a class, each with where it begins.
fn runs(line: &str, class: impl Fn(char) -> bool) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut begin = None;
    for (at, character) in line.char_indices().chain([(line.len(), '\n')]) {
        match (class(character) && at < line.len(), begin) {
            (true, None) => begin = Some(at),
            (false, Some(from)) => {
                found.push((from, &line[from..at]));
                begin = None;
            }
            _ => {}
        }
    }
    found
}

/// Whether the hit stands inside an allowed phrase.
fn allows(allowed: &lists::Allowed, file: &str, line: &str, hit: &Hit) -> bool {
    if !file.starts_with(allowed.file) {
        return false;
    }
    let (line, phrase) = (line.to_ascii_lowercase(), allowed.phrase.to_ascii_lowercase());
    let mut places = line.match_indices(&phrase).map(|(at, _)| at..at + phrase.len());
    phrase.is_empty() || places.any(|place| place.start <= hit.at && hit.end <= place.end)
}
