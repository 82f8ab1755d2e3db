//! What of a file is language: the pieces of its text that are read.

use crate::lexer::{self, Kind};
use std::borrow::Cow;

pub struct Piece<'a> {
    /// Of its first character, counted from 1.
    pub line: usize,
    pub text: Cow<'a, str>,
    /// A name in code, not a sentence.
    pub is_name: bool,
}

/// Comments, strings and declared names of Rust; everything else whole.
pub fn pieces<'a>(file: &str, text: &'a str) -> Vec<Piece<'a>> {
    if file.ends_with(".rs") {
        rust(text)
    } else {
        vec![Piece { line: 1, text: text.into(), is_name: false }]
    }
}

fn rust(text: &str) -> Vec<Piece<'_>> {
    let tokens = lexer::tokens(text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let (text, is_name) = match token.kind {
            Kind::Comment | Kind::Doc => (token.text.into(), false),
            Kind::RawText => (without_arguments(token.text.into()), false),
            Kind::Text => (without_arguments(without_escapes(token.text)), false),
            Kind::Word if at > 0 && declares(tokens[at - 1].text) => {
                (split_at_capitals(token.text).into(), true)
            }
            _ => continue,
        };
        found.push(Piece { line: token.line, text, is_name });
    }
    found
}

fn declares(word: &str) -> bool {
    matches!(word, "fn" | "mod" | "const" | "static" | "struct" | "enum" | "trait" | "type")
}

/// `\n` and the like become spaces: `"\nwho"` has the word `who`, not `nwho`.
fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            // a line that goes on keeps its line end, so that lines are counted right
            plain.push(if characters.next() == Some('\n') { '\n' } else { ' ' });
        } else {
            plain.push(character);
        }
    }
    plain.into()
}

/// `{name}` and `{name:?}` in a format are code and become `{}`.
fn without_arguments(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('{') {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(open) = rest.find('{') {
        plain.push_str(&rest[..=open]);
        rest = &rest[open + 1..];
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if rest[name..].starts_with(['}', ':']) {
            rest = &rest[name..];
        }
    }
    plain.push_str(rest);
    plain.into()
}

fn split_at_capitals(name: &str) -> String {
    let mut split = String::new();
    let mut was_small = false;
    for character in name.chars() {
        if character.is_uppercase() && was_small {
            split.push(' ');
        }
        was_small = character.is_lowercase();
        split.push(character);
    }
    split
}
