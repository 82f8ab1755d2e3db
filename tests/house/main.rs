//! Keeps the repository in order: imports, conventions of files, words, links and citations, comments of public items.
//!
//! Reads files only; it neither uses nor starts the gateway. Every check prints all its findings, one a line
//! (`file:line: what is wrong`). A check is a function over a map of files, so each rule has tests on small invented trees
//! that break it, and one test over this repository. One check alone: `cargo test --test house imports`.

#![allow(clippy::unwrap_used)] // a helper of tests is a test too
#![allow(unreachable_pub, reason = "this crate has no outside")]

mod conventions;
mod docs;
mod imports;
mod items;
mod lexer;
mod public_docs;
mod repository;
mod words;

use std::fmt;

/// What one check found at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub what: String,
}

impl Finding {
    pub fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Fails with all findings, sorted by file and line, unless there is none.
#[track_caller]
fn expect_none(mut findings: Vec<Finding>) {
    findings.sort();
    findings.dedup();
    let list: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    assert!(findings.is_empty(), "{} findings\n{list}", findings.len());
}

/// Fails unless exactly one finding is there and its text contains `part`. For tests of single rules.
#[track_caller]
fn expect_one(findings: &[Finding], part: &str) {
    assert_eq!(findings.len(), 1, "expected one finding with {part:?}, found {findings:#?}");
    assert!(findings[0].to_string().contains(part), "expected {part:?} in {}", findings[0]);
}
