//! Splits Rust source into tokens: just enough to tell code, comments and literals apart.

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Kind {
    /// A word: keyword or identifier, without `r#`.
    Word,
    /// One punctuation character, or `::`.
    Sign,
    /// What stands between the quotes of a string with escapes, plain, bytes or C.
    Text,
    /// The same of a raw string.
    RawText,
    /// `//`, `/* */`, with their marks.
    Comment,
    /// `///`, `//!`, `/** */`, `/*! */`, with their marks.
    Doc,
    /// A number, a character, a lifetime.
    Other,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
}

impl Token<'_> {
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text == word
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == Kind::Sign && self.text == sign
    }

    pub fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Comment | Kind::Doc)
    }
}

/// All tokens of a source text. A text that ends in the middle of a literal or comment ends that token there.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { source, bytes: source.as_bytes(), at: 0, line: 1, found: Vec::new() };
    while lexer.at < lexer.bytes.len() {
        lexer.step();
    }
    lexer.found
}

/// The tokens that are not comments.
pub fn code(source: &str) -> Vec<Token<'_>> {
    tokens(source).into_iter().filter(|token| !token.is_comment()).collect()
}

struct Lexer<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: usize,
    found: Vec<Token<'a>>,
}

impl Lexer<'_> {
    fn step(&mut self) {
        match self.bytes[self.at] {
            b'\n' => {
                self.line += 1;
                self.at += 1;
            }
            byte if byte.is_ascii_whitespace() => self.at += 1,
            b'/' if self.peek(1) == b'/' => self.line_comment(),
            b'/' if self.peek(1) == b'*' => self.block_comment(),
            b'"' => self.text(self.at + 1),
            b'\'' => self.quote(),
            b'0'..=b'9' => self.number(),
            byte if is_name(byte) => self.word(),
            b':' if self.peek(1) == b':' => self.push(Kind::Sign, self.at, self.at + 2, self.at + 2),
            _ => {
                let width = self.source[self.at..].chars().next().map_or(1, char::len_utf8);
                self.push(Kind::Sign, self.at, self.at + width, self.at + width);
            }
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Takes `from..to` as a token, and goes on at `next`.
    fn push(&mut self, kind: Kind, from: usize, to: usize, next: usize) {
        self.found.push(Token { kind, text: &self.source[from..to], line: self.line });
        let next = next.min(self.bytes.len());
        self.line += self.bytes[self.at..next].iter().filter(|byte| **byte == b'\n').count();
        self.at = next;
    }

    fn line_comment(&mut self) {
        let rest = &self.source[self.at..];
        let end = self.at + rest.find('\n').unwrap_or(rest.len());
        let doc = rest.starts_with("//!") || (rest.starts_with("///") && !rest.starts_with("////"));
        self.push(if doc { Kind::Doc } else { Kind::Comment }, self.at, end, end);
    }

    fn block_comment(&mut self) {
        let rest = &self.source[self.at..];
        let doc = rest.starts_with("/*!")
            || (rest.starts_with("/**") && !rest.starts_with("/***") && !rest.starts_with("/**/"));
        let mut depth = 0;
        let mut end = self.at;
        while end < self.bytes.len() {
            match self.bytes.get(end..end + 2) {
                Some(b"/*") => {
                    depth += 1;
                    end += 2;
                }
                Some(b"*/") => {
                    depth -= 1;
                    end += 2;
                }
                _ => end += 1,
            }
            if depth == 0 {
                break;
            }
        }
        self.push(if doc { Kind::Doc } else { Kind::Comment }, self.at, end, end);
    }

    /// A string whose content begins at `from`.
    fn text(&mut self, from: usize) {
        let mut end = from;
        while end < self.bytes.len() && self.bytes[end] != b'"' {
            end += if self.bytes[end] == b'\\' { 2 } else { 1 };
        }
        let end = end.min(self.bytes.len());
        self.push(Kind::Text, from, end, end + 1);
    }

    /// A raw string whose marks begin at `from`, with `#` or a quote; returns whether it is one.
    fn raw_text(&mut self, from: usize) -> bool {
        let hashes = self.bytes[from..].iter().take_while(|byte| **byte == b'#').count();
        if self.bytes.get(from + hashes) != Some(&b'"') {
            return false;
        }
        let begin = from + hashes + 1;
        let closing = format!("\"{}", "#".repeat(hashes));
        let length = self.source[begin..].find(&closing).unwrap_or(self.bytes.len() - begin);
        self.push(Kind::RawText, begin, begin + length, begin + length + closing.len());
        true
    }

    /// A character or a lifetime.
    fn quote(&mut self) {
        let begin = self.at + 1;
        let width = self.source[begin..].chars().next().map_or(0, char::len_utf8);
        let end = if self.peek(1) == b'\\' {
            let rest = &self.bytes[(begin + 2).min(self.bytes.len())..];
            begin + 3 + rest.iter().take_while(|byte| **byte != b'\'').count()
        } else if self.bytes.get(begin + width) == Some(&b'\'') {
            begin + width + 1
        } else {
            begin + self.bytes[begin..].iter().take_while(|byte| is_name(**byte)).count()
        };
        let end = end.min(self.bytes.len());
        self.push(Kind::Other, self.at, end, end);
    }

    fn number(&mut self) {
        let mut end = self.at;
        while end < self.bytes.len() {
            let point = self.bytes[end] == b'.' && self.bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
            if !point && !is_name(self.bytes[end]) {
                break;
            }
            end += 1;
        }
        self.push(Kind::Other, self.at, end, end);
    }

    /// A word, or a literal with a letter in front.
    fn word(&mut self) {
        let end = self.at + self.bytes[self.at..].iter().take_while(|byte| is_name(**byte)).count();
        let next = self.bytes.get(end).copied().unwrap_or(0);
        match &self.source[self.at..end] {
            "b" | "c" if next == b'"' => self.text(end + 1),
            "b" if next == b'\'' => {
                self.at = end;
                self.quote();
            }
            "r" | "br" | "cr" if (next == b'"' || next == b'#') && self.raw_text(end) => {}
            "r" if next == b'#' => self.at = end + 1, // a raw identifier: the word comes next
            _ => self.push(Kind::Word, self.at, end, end),
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source).into_iter().map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn words_signs_and_paths_are_told_apart() {
        let expected = [
            (Kind::Word, "use"),
            (Kind::Word, "crate"),
            (Kind::Sign, "::"),
            (Kind::Word, "type"),
            (Kind::Sign, ";"),
        ];
        assert_eq!(kinds("use crate::r#type;"), expected);
    }

    #[test]
    fn a_comment_mark_in_a_string_begins_no_comment() {
        assert_eq!(kinds(r#""a // b /* c \" d""#), [(Kind::Text, r#"a // b /* c \" d"#)]);
        assert_eq!(kinds(r##"r#"a " // b"#"##), [(Kind::RawText, r#"a " // b"#)]);
        assert_eq!(kinds(r##"br#"a"# b"c" c"d" b'e'"##).len(), 4);
    }

    #[test]
    fn a_quote_in_a_comment_begins_no_string() {
        let found = kinds("// the node's \"head\nx /* \" /* nested */ ' */ y");
        let words: Vec<_> =
            found.iter().filter(|(kind, _)| *kind == Kind::Word).map(|(_, text)| *text).collect();
        assert_eq!(words, ["x", "y"]);
    }

    #[test]
    fn characters_and_lifetimes_do_not_run_on() {
        for source in [r"'\'' x", "'\"' x", "'a x", "'ä' x", "b'\\\\' x", r"'\u{1f600}' x"] {
            let found = kinds(source);
            assert_eq!(found.len(), 2, "{source}: {found:?}");
            assert_eq!(found[1], (Kind::Word, "x"), "{source}");
        }
    }

    #[test]
    fn doc_comments_are_not_comments() {
        let found = kinds("//! a\n/// b\n//// c\n// d\n/** e */ /*! f */ /* g */ /**/");
        let docs = found.iter().filter(|(kind, _)| *kind == Kind::Doc).count();
        assert_eq!((docs, found.len()), (4, 8));
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let found = tokens("\"a\nb\" /* c\nd */ x\n  y 1.5 0..3");
        assert_eq!(found.iter().map(|token| token.line).collect::<Vec<_>>(), [1, 2, 3, 4, 4, 4, 4, 4, 4]);
    }

    #[test]
    fn what_ends_in_the_middle_ends_there() {
        for source in ["\"a", "r#\"a", "/* a", "'", "'\\", "b'", "\"a\\"] {
            tokens(source);
        }
    }
}
