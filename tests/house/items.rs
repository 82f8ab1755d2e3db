//! What Rust files declare: modules, functions, types, constants, methods, variants, and names that modules pass on.

use crate::imports::source::{group_length, paths};
use crate::lexer::{self, Kind, Token};
use crate::repository::Files;
use std::collections::BTreeSet;

/// Paths of everything that is declared, such as `worker::io::tls::Tls::new` for a file of `src` and
/// `gateway::limits::tests_name` for a file of `tests/gateway`.
pub struct Items {
    paths: BTreeSet<String>,
    /// Every path and all its ends: `a::b::c`, `b::c`, `c`.
    ends: BTreeSet<String>,
}

impl Items {
    pub fn new(files: &Files) -> Self {
        let mut paths = BTreeSet::new();
        for (file, text) in files.iter().filter(|(file, _)| file.ends_with(".rs")) {
            let module = module(file);
            paths.extend((1..=module.len()).map(|length| module[..length].join("::")));
            paths.extend(declared(text).into_iter().map(|path| [module.clone(), path].concat().join("::")));
        }
        let ends = paths.iter().flat_map(|path| {
            let begins = path.match_indices("::").map(|(at, _)| at + 2);
            [0].into_iter().chain(begins).map(|at| path[at..].to_owned())
        });
        Self { ends: ends.collect(), paths }
    }

    /// Whether this is declared under exactly this path, counted from the root of its crate.
    pub fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Where else something has the last name of a path.
    pub fn elsewhere(&self, path: &str) -> Option<&str> {
        let name = format!("::{}", path.rsplit("::").next()?);
        self.paths.iter().find(|known| known.ends_with(&name)).map(String::as_str)
    }

    /// Whether some path ends like this.
    pub fn has_end(&self, path: &str) -> bool {
        self.ends.contains(path)
    }
}

/// Folders of `tests`, `benches` and the like are crates of their own; `src` is the crate.
fn module(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs");
    let mut names: Vec<&str> = path.split('/').skip(1).collect();
    while matches!(names.last(), Some(&("mod" | "main" | "lib"))) {
        names.pop();
    }
    names
}

/// All paths that a text declares, from its own module on.
fn declared(text: &str) -> Vec<Vec<&str>> {
    let code = lexer::code(text);
    let mut reader = Reader { code: &code, at: 0, open: Vec::new(), next: None, found: Vec::new() };
    while reader.at < code.len() {
        reader.step();
    }
    let mut found = reader.found;
    for path in paths(&code) {
        if let Some(alias) = path.alias {
            found.push([path.inside, vec![alias]].concat());
        }
    }
    found
}

struct Reader<'a, 't> {
    code: &'t [Token<'a>],
    at: usize,
    /// Braces that are open, with the name of what they belong to.
    open: Vec<Option<&'a str>>,
    /// What the next brace belongs to.
    next: Option<&'a str>,
    found: Vec<Vec<&'a str>>,
}

impl<'a> Reader<'a, '_> {
    fn step(&mut self) {
        let token = self.code[self.at];
        let name = self.code.get(self.at + 1).filter(|next| next.kind == Kind::Word).map(|next| next.text);
        match (token.kind, token.text) {
            (Kind::Sign, "{") => self.open.push(self.next.take()),
            (Kind::Sign, "}") => drop(self.open.pop()),
            (Kind::Sign, ";") => self.next = None,
            (Kind::Word, "impl") if self.begins_an_item() => self.next = self.implementor(),
            (
                Kind::Word,
                "mod" | "trait" | "struct" | "union" | "enum" | "fn" | "const" | "static" | "type",
            ) => {
                if let Some(name) = name.filter(|name| !matches!(*name, "fn" | "mut" | "unsafe")) {
                    self.add(name);
                    let has_paths_inside = matches!(token.text, "mod" | "trait" | "enum");
                    self.next = has_paths_inside.then_some(name);
                    self.at += 1;
                }
                if token.text == "enum" {
                    self.variants();
                }
            }
            _ => {}
        }
        self.at += 1;
    }

    /// Not the type of a parameter or result.
    fn begins_an_item(&self) -> bool {
        let before = self.at.checked_sub(1).map(|before| self.code[before].text);
        before.is_none_or(|before| matches!(before, ";" | "{" | "}" | "]" | "unsafe"))
    }

    fn add(&mut self, name: &'a str) {
        let inside: Vec<&str> = self.open.iter().flatten().copied().collect();
        self.found.push([inside, vec![name]].concat());
    }

    /// The type that an `impl` is for: the last name before its generics, or before the brace.
    fn implementor(&self) -> Option<&'a str> {
        let (mut name, mut depth) = (None, 0_usize);
        for token in &self.code[self.at + 1..] {
            match (token.kind, token.text) {
                (Kind::Sign, "<") => depth += 1,
                (Kind::Sign, ">") => depth = depth.saturating_sub(1),
                (Kind::Sign, "{" | ";" | ")" | ",") => break,
                (Kind::Word, "where") => break,
                (Kind::Word, word) if depth == 0 && !matches!(word, "for" | "dyn" | "mut" | "const") => {
                    name = Some(word)
                }
                _ => {}
            }
        }
        name
    }

    /// The variants of the enum whose brace comes next, unless it has none.
    fn variants(&mut self) {
        let rest = &self.code[self.at..];
        let Some(open) = rest.iter().position(|token| token.is_sign("{")) else { return };
        let body = &rest[open..open + group_length(&rest[open..])];
        let enum_name = self.next.take();
        let (mut at, mut begins) = (1, true);
        while at < body.len() {
            let token = body[at];
            match (token.kind, token.text) {
                (Kind::Sign, "(" | "[" | "{") => at += group_length(&body[at..]) - 1,
                (Kind::Sign, ",") => begins = true,
                (Kind::Word, name) if begins => {
                    let inside: Vec<&str> = self.open.iter().flatten().copied().chain(enum_name).collect();
                    self.found.push([inside, vec![name]].concat());
                    begins = false;
                }
                _ => {}
            }
            at += 1;
        }
        self.at += open + body.len() - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::invented;

    #[test]
    fn everything_that_is_declared_has_its_path() {
        let text = "pub use self::inner::Passed;\nenum E<T> where T: X { #[a(b)] One, Two(u8), Three { x: u8 } = 3, }\n\
                    impl<T> X for E<T> where T: Y { const C: u8 = 0; fn method() { fn inner() {} } }\n\
                    impl E<u8> { const fn other() {} }\ntrait X { fn asked(&self); }\n\
                    fn f(x: impl Fn(u8) -> u8) -> impl X {}\nmod m { struct S { y: u8 } #[test] fn t() {} }\nstatic N: u8 = 0;";
        let items = Items::new(&invented(&[("src/a/mod.rs", text)]));
        let expected = [
            "a",
            "a::E",
            "a::E::C",
            "a::E::inner",
            "a::E::method",
            "a::E::One",
            "a::E::other",
            "a::E::Three",
            "a::E::Two",
            "a::f",
            "a::m",
            "a::m::S",
            "a::m::t",
            "a::N",
            "a::Passed",
            "a::X",
            "a::X::asked",
        ];
        let mut found: Vec<_> = items.paths.iter().map(String::as_str).collect();
        found.sort_by_key(|path| path.to_lowercase());
        assert_eq!(found, expected);
    }

    #[test]
    fn a_path_is_found_by_its_end() {
        let files = [
            ("tests/gateway/limits/flood.rs", "#[test] fn t() {}"),
            ("tests/cli.rs", "fn c() {}"),
            ("src/main.rs", ""),
        ];
        let items = Items::new(&invented(&files));
        assert!(items.has("gateway::limits::flood::t") && items.has("cli::c"));
        assert!(items.has_end("flood::t") && items.has_end("limits::flood") && items.has_end("gateway"));
        assert_eq!(items.elsewhere("limits::t"), Some("gateway::limits::flood::t"));
        assert!(!items.has_end("limits::t") && !items.has("flood::t") && !items.has_end("lood::t"));
    }
}
