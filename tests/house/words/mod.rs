//! Sentences in plain English: banned words in comments, strings, names and pages (`lists.rs` has them).

mod lists;
mod pieces;
mod search;
#[cfg(test)]
mod tests;

use crate::Finding;
use crate::repository::Files;
use lists::{ALLOWED, Allowed, NOT_READ, READ};
use pieces::{Piece, pieces};
use search::{Hit, Search};

fn findings(files: &Files) -> Vec<Finding> {
    let search = Search::new();
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| is_read(file)) {
        for Piece { line, text, is_name } in pieces(file, text) {
            for (more, text) in text.lines().enumerate() {
                let hits = search.hits(text).into_iter().filter(|hit| hit.rule.names || !is_name);
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
    let search = Search::new();
    let needs = |allowed: &Allowed, file: &str, line: &str| {
        file.starts_with(allowed.file)
            && line.to_ascii_lowercase().contains(allowed.phrase)
            && search.hits(line).iter().any(|hit| allows(allowed, file, line, hit))
    };
    let is_needed = |allowed: &Allowed| {
        let mut read = files.iter().filter(|(file, _)| is_read(file) && file.starts_with(allowed.file));
        read.any(|(file, text)| text.lines().any(|line| needs(allowed, file, line)))
    };
    let stale = ALLOWED.iter().filter(|allowed| !is_needed(allowed));
    stale
        .map(|one| Finding::new(one.file, 0, format!("nothing needs ALLOWED {:?}: take it out", one.phrase)))
        .collect()
}

fn is_read(file: &str) -> bool {
    READ.iter().any(|end| file.ends_with(end)) && !NOT_READ.iter().any(|part| file.contains(part))
}

/// Whether the hit stands inside an allowed phrase.
fn allows(allowed: &Allowed, file: &str, line: &str, hit: &Hit) -> bool {
    if !file.starts_with(allowed.file) {
        return false;
    }
    let (line, phrase) = (line.to_ascii_lowercase(), allowed.phrase);
    let mut places = line.match_indices(phrase).map(|(at, _)| at..at + phrase.len());
    phrase.is_empty() || places.any(|place| place.start <= hit.at && hit.end <= place.end)
}
