//! What pages name in backticks is there: files, modules, items, and above all the tests that hold a promise.

use super::links::exists;
use super::markdown::code_and_rest;
use crate::Finding;
use crate::imports::floors::FLOORS;
use crate::items::Items;
use crate::lexer;
use crate::repository::Files;

/// History may name what is gone.
const NOT_READ: &[&str] = &["CHANGELOG.md"];

/// Endings of names that are files of this repository wherever they stand.
const FILE_ENDS: &[&str] = &[".rs", ".sh", ".mjs", ".py", ".md"];

/// The header of the column in which a bare word is a test, a file of tests or a fuzz target.
const HELD_BY: &str = "held by";

/// Crates that pages name besides those in `Cargo.toml`.
const FOREIGN: &[&str] = &["std", "core", "alloc"];

/// What pages may name although it is not here, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("file::name", "the form in which pages name tests"),
    ("corpus::tls_records", "the macro `replays` in tests/corpus.rs makes it"),
];

struct Known<'a> {
    files: &'a Files,
    items: Items,
    foreign: Vec<String>,
}

impl<'a> Known<'a> {
    fn new(files: &'a Files) -> Self {
        let manifest = files.get("Cargo.toml").map_or("", String::as_str);
        let tables = manifest
            .split("\n[")
            .filter(|table| table.split(']').next().is_some_and(|name| name.contains("dependencies")));
        let lines = tables.flat_map(str::lines).filter(|line| !line.starts_with('#'));
        let names =
            lines.filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().replace('-', "_")));
        Self {
            files,
            items: Items::new(files),
            foreign: names.chain(FOREIGN.iter().map(|&name| name.to_owned())).collect(),
        }
    }

    /// What is wrong with a code span; `last` is the module of the test that was named before.
    fn judge(&self, code: &str, last: &mut Option<String>) -> Option<String> {
        let word = code.split(' ').next().unwrap_or_default();
        if ALLOWED.iter().any(|(allowed, _)| *allowed == word) {
            return None;
        }
        if let Some(name) = word.strip_prefix('…').filter(|name| is_name(name)) {
            let module = last.as_deref()?;
            let path = format!("{module}::{name}");
            return (!self.items.has_end(&path)).then(|| self.missing(&path));
        }
        if word.contains("::") { self.judge_item(word, last) } else { self.judge_file(word) }
    }

    /// `a::b::c`, also with `::` or `()` at its end.
    fn judge_item(&self, word: &str, last: &mut Option<String>) -> Option<String> {
        let path = word.trim_end_matches("()").trim_end_matches("::");
        let path = path.strip_prefix("crate::").or_else(|| path.strip_prefix("tidegate::")).unwrap_or(path);
        let first = path.split("::").next()?;
        if !path.split("::").all(is_name) || self.foreign.iter().any(|name| name == first) {
            return None;
        }
        if let Some((module, _)) = path.rsplit_once("::") {
            *last = Some(module.to_owned());
        }
        let is_floor = path.contains("::") && FLOORS.iter().any(|floor| floor.name == first);
        let known = if is_floor { self.items.has(path) } else { self.items.has_end(path) };
        (!known).then(|| self.missing(path))
    }

    fn missing(&self, path: &str) -> String {
        let elsewhere = self.items.elsewhere(path).map(|other| format!(", but `{other}`"));
        format!("there is no `{path}`{}", elsewhere.unwrap_or_default())
    }

    /// `folder/file`, `folder/`, `file.rs`, each also with `*`; only what begins like a path of the repository.
    fn judge_file(&self, word: &str) -> Option<String> {
        let path = word.trim_end_matches('/');
        let is_path = !path.is_empty()
            && path.chars().all(|c| c.is_alphanumeric() || "_-./*".contains(c))
            && !path.starts_with('/');
        if !is_path {
            return None;
        }
        let first = path.split('/').next()?;
        let known = if word.contains('/') && exists(self.files, first) {
            exists(self.files, path) || self.files.keys().any(|file| matches(path, file))
        } else if FILE_ENDS.iter().any(|end| path.ends_with(end)) {
            let anywhere = format!("*/{path}");
            self.files.keys().any(|file| matches(path, file) || matches(&anywhere, file))
        } else {
            return None;
        };
        (!known).then(|| format!("there is no file `{path}`"))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Whether a path fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
}

fn findings(files: &Files) -> Vec<Finding> {
    let known = Known::new(files);
    let mut found = Vec::new();
    for (file, text) in files {
        if file.ends_with(".md") && !NOT_READ.contains(&file.as_str()) {
            let mut last = None;
            let (code, _) = code_and_rest(text);
            let bad = code.iter().filter_map(|code| Some((code.line, known.judge(&code.text, &mut last)?)));
            found.extend(bad.map(|(line, what)| Finding::new(file, line, what)));
            found.extend(held_by(&known, file, text));
        }
        if file.ends_with(".rs") && !file.starts_with("tests/house/") {
            found.extend(in_comments(&known, file, text));
        }
    }
    found
}

/// Bare words in the last column of a table that says which test holds what.
fn held_by(known: &Known<'_>, file: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut is_open = false;
    for (number, line) in text.lines().enumerate() {
        let last_cell = line.trim_end().strip_suffix('|').and_then(|row| row.rsplit('|').next());
        let Some(cell) = last_cell else {
            is_open = false;
            continue;
        };
        is_open |= cell.trim() == HELD_BY;
        if !is_open {
            continue;
        }
        let (code, _) = code_and_rest(cell);
        let words = code.iter().map(|code| code.text.as_str()).filter(|word| is_name(word));
        // variables of the environment are told apart by their capitals
        let words = words.filter(|word| !word.starts_with(|first: char| first.is_ascii_uppercase()));
        let bad = words.filter(|word| !known.items.has_end(word));
        found.extend(
            bad.map(|word| {
                Finding::new(file, number + 1, format!("there is no test and no target `{word}`"))
            }),
        );
    }
    found
}

/// Files that comments of Rust name in backticks. (Items there are links of rustdoc, which checks them.)
fn in_comments(known: &Known<'_>, file: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for comment in lexer::tokens(text).into_iter().filter(|token| token.is_comment()) {
        let (code, _) = code_and_rest(comment.text);
        for code in code.iter().filter(|code| !code.text.contains("::")) {
            let word = code.text.split(' ').next().unwrap_or_default();
            if let Some(what) = known.judge_file(word) {
                found.push(Finding::new(file, comment.line + code.line - 1, what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{all, invented};
    use crate::{expect_none, expect_one};

    #[test]
    fn what_pages_name_is_there() {
        expect_none(findings(all()));
    }

    #[test]
    fn what_may_be_missing_is_named_somewhere() {
        let files = all();
        let pages: Vec<_> =
            files.iter().filter(|(file, _)| file.ends_with(".md")).map(|(_, text)| text).collect();
        for (code, reason) in ALLOWED {
            assert!(
                pages.iter().any(|page| page.contains(&format!("`{code}`"))),
                "nothing needs ALLOWED {code:?}"
            );
            assert!(reason.split(' ').count() > 3, "expected a reason for {code:?}, found {reason:?}");
        }
    }

    fn of(page: &str) -> Vec<Finding> {
        findings(&invented(&[
            ("docs/a.md", page),
            ("Cargo.toml", "[package]\nflood = 1\n[dependencies]\nhyper-util = \"1\"\n"),
            (
                "src/worker/io/tls.rs",
                "pub struct Tls; impl Tls { pub fn shake() {} }\n#[cfg(test)]\nmod tests { fn t() {} }",
            ),
            ("tests/gateway/limits/flood.rs", "#[test]\nfn one_address() {}\n#[test]\nfn two() {}"),
            ("tests/run.sh", ""),
            ("fuzz/fuzz_targets/head.rs", ""),
        ]))
    }

    #[test]
    fn what_is_there_passes() {
        let page = "`flood::one_address`, `…two`, `limits::flood::two`, `flood::`, `worker::io::tls::tests`, `worker::io::tls::Tls::shake()`, \
                    `Tls::shake`, `std::io::Error`, `hyper_util::x`, `tests/run.sh --fast`, `tests/gateway/`, `tests/*/limits/*.rs`, `flood.rs`, \
                    `limits/flood.rs`, `/etc/a.md`, `head/browser`, `target/x.json`, `[::1]`, `::`, `a = b::c`\n\n\
                    | promise | held by |\n|---|---|\n| `anything` | `head`, `flood`, `two` |\n\n| `other` | `thing` |\n";
        assert_eq!(of(page), []);
    }

    #[test]
    fn what_is_not_there_is_noticed() {
        let cases = [
            ("\n\n`flood::three`", "docs/a.md:3: there is no `flood::three`"),
            ("`flood::two`, `…three`", "there is no `flood::three`"),
            ("`limits::two`", "there is no `limits::two`, but `gateway::limits::flood::two`"),
            ("`floods::`", "there is no `floods`"),
            ("`worker::tls`", "there is no `worker::tls`"),
            ("`io::tls`, `worker::io::tls::Tls::break_off`", "there is no `worker::io::tls::Tls::break_off`"),
            ("`tests/walk.sh --fast`", "there is no file `tests/walk.sh`"),
            ("`tests/gateway/*.sh`", "there is no file `tests/gateway/*.sh`"),
            ("`src/worker/tls`", "there is no file `src/worker/tls`"),
            ("`tls_tests.rs`", "there is no file `tls_tests.rs`"),
            ("| held by |\n|---|\n| `heads` |", "docs/a.md:3: there is no test and no target `heads`"),
        ];
        for (page, expected) in cases {
            expect_one(&of(page), expected);
        }
    }

    #[test]
    fn a_comment_names_files_that_are_there() {
        let of = |text: &str| findings(&invented(&[("src/a.rs", text), ("docs/b.md", "")]));
        assert_eq!(of("//! Why: `docs/b.md`, `b.md`, `x::y`."), []);
        expect_one(&of("\n/// Why: `docs/c.md`."), "src/a.rs:2: there is no file `docs/c.md`");
    }
}
