//! Public items say what they are: a doc comment of a few words at least.

use crate::Finding;
use crate::imports::graph::is_test_file;
use crate::imports::source::{group_length, outside_tests};
use crate::lexer::{self, Kind, Token};
use crate::repository::Files;

/// The fewest words of a doc comment.
const WORDS_MIN: usize = 5;

fn findings(files: &Files) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.starts_with("src/") && file.ends_with(".rs")) {
        if !is_test_file(file) {
            let short = public(&without_test_items(text)).into_iter().filter(|item| item.words < WORDS_MIN);
            found.extend(short.map(|Public { line, name, words }| {
                Finding::new(
                    file,
                    line,
                    format!("`{name}` is public: {words} words of doc comment, at least {WORDS_MIN}"),
                )
            }));
        }
    }
    found
}

/// All tokens, doc comments included, but those of unit tests and other comments.
fn without_test_items(text: &str) -> Vec<Token<'_>> {
    let tokens: Vec<_> =
        lexer::tokens(text).into_iter().filter(|token| token.kind != Kind::Comment).collect();
    outside_tests(&tokens)
}

struct Public<'a> {
    line: usize,
    name: &'a str,
    /// Of its doc comment.
    words: usize,
}

/// Functions, structs, enums, traits, constants and types that are `pub` without a restriction.
fn public<'a>(tokens: &[Token<'a>]) -> Vec<Public<'a>> {
    let mut found = Vec::new();
    let (mut words, mut at) = (0, 0);
    while at < tokens.len() {
        let token = tokens[at];
        if token.text.starts_with("//!") || token.text.starts_with("/*!") {
            words = 0; // of the module around it
        } else if token.kind == Kind::Doc {
            words +=
                token.text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
        } else if token.is_sign("#") && tokens.get(at + 1).is_some_and(|next| next.is_sign("[")) {
            at += group_length(&tokens[at + 1..]);
        } else {
            if token.is_word("pub") {
                let name = declared(&tokens[at + 1..]);
                found.extend(name.map(|name| Public { line: token.line, name, words }));
            }
            words = 0;
        }
        at += 1;
    }
    found
}

/// The name of an item that begins here, behind its `pub`.
fn declared<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    let is_qualifier = |token: &&Token<'_>| {
        matches!(token.text, "async" | "unsafe" | "const" | "extern") && token.kind == Kind::Word
    };
    let qualifiers = tokens.iter().take_while(is_qualifier).count();
    let [kind, name, ..] = &tokens[qualifiers..] else { return None };
    if kind.kind != Kind::Word {
        return None;
    }
    // `const` is an item of its own or a qualifier of `fn`
    if qualifiers == 1 && tokens[0].is_word("const") && !kind.is_word("fn") {
        return Some(kind.text);
    }
    let is_item = matches!(kind.text, "fn" | "struct" | "enum" | "trait" | "type" | "static" | "union");
    // a name that a macro fills in has its comment there
    (is_item && name.kind == Kind::Word).then_some(name.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{all, invented};
    use crate::{expect_none, expect_one};

    #[test]
    fn public_items_of_src_say_what_they_are() {
        expect_none(findings(all()));
    }

    fn of(text: &str) -> Vec<Finding> {
        findings(&invented(&[("src/a.rs", text)]))
    }

    #[test]
    fn a_documented_item_passes() {
        let text = "//! A.\n/// One two three\n/// four five.\n#[derive(Debug)]\npub struct S { pub field: u8 }\n\
                    impl S {\n/** One two three four five */\n#[a]\npub const fn f() {} }\n\
                    pub use x::Y;\npub mod z;\npub(crate) fn g() {}\nenum E { V }\n#[cfg(test)]\npub fn h() {}";
        assert_eq!(of(text), []);
    }

    #[test]
    fn an_item_without_enough_words_is_noticed() {
        for item in [
            "fn a() {}",
            "async fn a() {}",
            "const fn a() {}",
            "const a: u8 = 0;",
            "struct a;",
            "enum a {}",
            "trait a {}",
            "type a = u8;",
        ] {
            expect_one(
                &of(&format!("//! A file of five words.\npub {item}")),
                "src/a.rs:2: `a` is public: 0 words",
            );
            expect_one(&of(&format!("/// Four words - – of it.\npub {item}")), "`a` is public: 4 words");
        }
    }
}
