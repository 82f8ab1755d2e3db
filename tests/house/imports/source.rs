//! One source file without its unit tests, and the paths it names: `use` declarations, and paths in code that name a module.

use crate::lexer::{self, Token};

/// One path as it is written, without what follows its last name.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Written<'a> {
    pub segments: Vec<&'a str>,
    pub line: usize,
    /// The name that a `use` brings in.
    pub alias: Option<&'a str>,
    /// The inline modules around it, the outer ones first.
    pub inside: Vec<&'a str>,
}

/// All code of a file but its unit tests: items marked `#[cfg(test)]`.
pub fn without_tests(source: &str) -> Vec<Token<'_>> {
    outside_tests(&lexer::code(source))
}

/// The tokens that do not belong to unit tests.
pub fn outside_tests<'s>(tokens: &[Token<'s>]) -> Vec<Token<'s>> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if is_test_mark(&tokens[at..]) {
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// `#[cfg(test)]` and `#[cfg(all(test, …))]`.
pub fn is_test_mark(tokens: &[Token<'_>]) -> bool {
    let begins =
        |mark: &[&str]| tokens.len() >= mark.len() && tokens.iter().zip(mark).all(|(a, b)| a.text == *b);
    begins(&["#", "[", "cfg", "(", "test", ")"]) || begins(&["#", "[", "cfg", "(", "all", "(", "test"])
}

/// How many tokens an item takes, its attributes included.
pub fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut at = 0;
    while at + 1 < tokens.len() && tokens[at].is_sign("#") && tokens[at + 1].is_sign("[") {
        at += 1 + group_length(&tokens[at + 1..]);
    }
    // fields and variants end with a comma; in items a comma may stand between generics
    let words = [
        "pub", "fn", "async", "const", "unsafe", "impl", "mod", "use", "struct", "enum", "trait", "type",
        "static",
    ];
    let item = tokens.get(at).is_some_and(|token| words.contains(&token.text));
    while at < tokens.len() {
        match tokens[at].text {
            "{" if tokens[at].is_sign("{") => return at + group_length(&tokens[at..]),
            "(" | "[" if tokens[at].kind == lexer::Kind::Sign => at += group_length(&tokens[at..]),
            ";" => return at + 1,
            "," if !item => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// How many tokens a group takes that begins with a bracket, brackets included.
pub fn group_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.kind != lexer::Kind::Sign {
            continue;
        }
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// All paths of `use` declarations, one for each name they bring in, and all paths with `::` in code.
pub fn paths<'a>(tokens: &[Token<'a>]) -> Vec<Written<'a>> {
    let mut reader = Reader { tokens, at: 0, found: Vec::new(), open: Vec::new(), depth: 0 };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'a, 't> {
    tokens: &'t [Token<'a>],
    at: usize,
    found: Vec<Written<'a>>,
    /// Inline modules that are open, each with the depth of its braces.
    open: Vec<(&'a str, usize)>,
    depth: usize,
}

impl<'a> Reader<'a, '_> {
    fn get(&self, ahead: usize) -> Option<&Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        self.get(ahead).is_some_and(|token| token.is_sign(sign))
    }

    fn name(&self, ahead: usize) -> Option<&'a str> {
        self.get(ahead).filter(|token| token.kind == lexer::Kind::Word).map(|token| token.text)
    }

    fn step(&mut self) {
        let token = self.tokens[self.at];
        if token.is_sign("{") {
            self.depth += 1;
        } else if token.is_sign("}") {
            self.depth = self.depth.saturating_sub(1);
            self.open.retain(|(_, depth)| *depth <= self.depth);
        } else if token.is_word("mod") && self.is_sign(2, "{") {
            if let Some(name) = self.name(1) {
                self.depth += 1;
                self.open.push((name, self.depth));
                self.at += 2;
            }
        } else if token.is_word("pub") && self.is_sign(1, "(") && self.name(2) == Some("in") {
            self.at += group_length(&self.tokens[self.at + 1..]);
        } else if token.is_word("use") && !self.is_sign(1, "<") {
            self.at += 1;
            self.tree(&[]);
            return;
        } else if self.name(0).is_some() && self.is_sign(1, "::") && self.begins_a_path() {
            self.inline();
            return;
        }
        self.at += 1;
    }

    /// Neither a method with its generics (`.collect::<…>()`) nor the middle of another path.
    fn begins_a_path(&self) -> bool {
        self.at == 0 || !(self.tokens[self.at - 1].is_sign(".") || self.tokens[self.at - 1].is_sign("::"))
    }

    fn inline(&mut self) {
        let line = self.tokens[self.at].line;
        let segments = self.path(Vec::new());
        self.add(segments, line, None);
    }

    /// Reads the segments of a path up to what is no name, and appends them to `segments`.
    fn path(&mut self, mut segments: Vec<&'a str>) -> Vec<&'a str> {
        while let Some(name) = self.name(0) {
            segments.push(name);
            self.at += 1;
            if !self.is_sign(0, "::") {
                break;
            }
            self.at += 1;
        }
        segments
    }

    /// One branch of a `use`: a path, then `::*`, `::{…}`, `as name`, or nothing.
    fn tree(&mut self, before: &[&'a str]) {
        let line = self.get(0).map_or(0, |token| token.line);
        if self.is_sign(0, "::") {
            self.at += 1;
        }
        let mut segments = self.path(before.to_vec());
        if self.is_sign(0, "{") {
            self.at += 1;
            while self.at < self.tokens.len() && !self.is_sign(0, "}") {
                self.tree(&segments);
                if self.is_sign(0, ",") {
                    self.at += 1;
                }
            }
            self.at += 1;
            return;
        }
        if self.is_sign(0, "*") {
            self.at += 1;
            self.add(segments, line, None);
            return;
        }
        if segments.len() > 1 && segments.last() == Some(&"self") {
            segments.pop();
        }
        // anything else here is no Rust; go on, so that reading ends
        let mut alias = segments.last().copied();
        if segments.len() == before.len() && alias.is_none() {
            self.at += 1;
        } else if self.name(0) == Some("as") {
            alias = self.name(1);
            self.at += 2;
        }
        self.add(segments, line, alias);
    }

    fn add(&mut self, segments: Vec<&'a str>, line: usize, alias: Option<&'a str>) {
        if !segments.is_empty() {
            let inside = self.open.iter().map(|(name, _)| *name).collect();
            self.found.push(Written { segments, line, alias, inside });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> Vec<String> {
        let tokens = without_tests(source);
        let show = |path: Written<'_>| match path.alias {
            Some(alias) => format!("{} as {alias}", path.segments.join("::")),
            None => path.segments.join("::"),
        };
        paths(&tokens).into_iter().map(show).collect()
    }

    #[test]
    fn a_use_is_read_through_nested_braces() {
        let source = "pub(crate) use crate::{a::{self, b::C as D, e::*}, super_f};\nuse self::g::H;\npub use super::i;";
        let expected = [
            "crate::a as a",
            "crate::a::b::C as D",
            "crate::a::e",
            "crate::super_f as super_f",
            "self::g::H as H",
            "super::i as i",
        ];
        assert_eq!(written(source), expected);
    }

    #[test]
    fn a_path_in_code_is_read_to_its_last_name() {
        let source = "fn f(x: &super::a::B<u8>) -> Vec<crate::c::D> { x.iter().collect::<E>(); <F as g::H>::i(); $crate::j!() }";
        assert_eq!(written(source), ["super::a::B", "crate::c::D", "g::H", "crate::j"]);
    }

    #[test]
    fn comments_strings_and_visibility_name_nothing() {
        let source = "// use crate::a;\n/// [crate::b]\nconst C: &str = \"use crate::d;\";\npub(in crate::e) fn f() {}";
        assert_eq!(written(source), Vec::<String>::new());
    }

    #[test]
    fn unit_tests_name_nothing() {
        let source = "#[cfg(test)]\nuse crate::a;\n#[cfg(test)]\n#[allow(x)]\nfn f<A, B>() { crate::b::c() }\nuse crate::d;\n\
                      #[cfg(test)]\nmod tests { use crate::e; mod f { use crate::g; } }\n#[cfg(test)] mod h;\nuse crate::i;";
        assert_eq!(written(source), ["crate::d as d", "crate::i as i"]);
    }

    #[test]
    fn an_inline_module_is_remembered() {
        let tokens =
            without_tests("mod a { use super::b; fn f() { mod c { use super::d; } } } use super::e;");
        let inside: Vec<_> = paths(&tokens).into_iter().map(|path| path.inside).collect();
        assert_eq!(inside, [vec!["a"], vec!["a", "c"], vec![]]);
    }
}
