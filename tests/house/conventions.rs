//! Conventions of files in `src`: where a module stands, how a file begins, how long things are, and words of code that only
//! some files may say.

use crate::Finding;
use crate::imports::floors::{CONFINED, FILE_MAX, FUNCTION_MAX};
use crate::imports::graph::is_test_file;
use crate::imports::source::{group_length, is_test_mark, item_length, without_tests};
use crate::lexer::{self, Token};
use crate::repository::Files;

fn findings(files: &Files) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| file.starts_with("src/") && file.ends_with(".rs")) {
        let mut add = |line, what: String| found.push(Finding::new(file, line, what));
        if let Some(folder) = own_folder(files, file) {
            add(1, format!("stands beside its folder: it becomes {folder}mod.rs"));
        }
        if !text.starts_with("//!") {
            add(1, "a file begins with `//!`: what it is for".to_owned());
        }
        let lines = text.lines().count();
        if lines > FILE_MAX {
            add(1, format!("{lines} lines, a file has at most {FILE_MAX}"));
        }
        if file.ends_with("_tests.rs") || file.ends_with("/test.rs") {
            add(
                1,
                "unit tests stand at the end of their file or in `tests.rs` in the folder of their module"
                    .to_owned(),
            );
        }
        let code = lexer::code(text);
        for (line, what) in attributes(&code).into_iter().chain(test_modules(&code)) {
            add(line, what);
        }
        if !is_test_file(file) {
            let code = without_tests(text);
            for (line, what) in long_functions(&code).into_iter().chain(confined(file, &code)) {
                add(line, what);
            }
        }
    }
    found
}

/// The folder of the module's children, if the file stands beside it.
fn own_folder(files: &Files, file: &str) -> Option<String> {
    let folder = format!("{}/", file.strip_suffix(".rs")?);
    files.keys().any(|other| other.starts_with(&folder)).then_some(folder)
}

fn attributes(code: &[Token<'_>]) -> Vec<(usize, String)> {
    let paths = code
        .windows(3)
        .filter(|three| three[0].is_sign("[") && three[1].is_word("path") && three[2].is_sign("="));
    paths.map(|three| (three[0].line, "`#[path]`: a module stands where its name says".to_owned())).collect()
}

/// An inline module of tests is the last thing of its file and has the name `tests`, and so has one in a file of its own.
fn test_modules(code: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in 0..code.len() {
        if !is_test_mark(&code[at..]) {
            continue;
        }
        let item = &code[at..at + item_length(&code[at..])];
        let name = item.windows(2).find(|two| two[0].is_word("mod")).map(|two| two[1]);
        let is_inline = item.last().is_some_and(|token| token.is_sign("}"));
        let Some(name) =
            name.filter(|name| !is_inline || item.iter().position(|token| token == name) < first_brace(item))
        else {
            continue;
        };
        if name.text != "tests" {
            found.push((
                name.line,
                format!("a module of unit tests is called `tests`, found `{}`", name.text),
            ));
        }
        if is_inline && at + item.len() < code.len() {
            found.push((name.line, "inline unit tests stand at the end of their file".to_owned()));
        }
    }
    found
}

fn first_brace(item: &[Token<'_>]) -> Option<usize> {
    item.iter().position(|token| token.is_sign("{"))
}

fn long_functions(code: &[Token<'_>]) -> Vec<(usize, String)> {
    functions(code)
        .into_iter()
        .filter(|(.., lines)| *lines > FUNCTION_MAX)
        .map(|(line, name, lines)| {
            (line, format!("`{name}` has {lines} lines, a function at most {FUNCTION_MAX}"))
        })
        .collect()
}

/// Line, name and number of lines of each function with a body, closures and inner functions included in the outer one.
fn functions<'a>(code: &[Token<'a>]) -> Vec<(usize, &'a str, usize)> {
    let mut found = Vec::new();
    for at in 0..code.len() {
        let named =
            code[at].is_word("fn") && code.get(at + 1).is_some_and(|next| next.kind == lexer::Kind::Word);
        if !named {
            continue;
        }
        let end = body_end(&code[at..]);
        if let Some(last) = end.map(|end| code[at + end]) {
            found.push((code[at].line, code[at + 1].text, last.line - code[at].line + 1));
        }
    }
    found
}

/// Where the body of a function ends that begins here; none for a declaration without one.
fn body_end(code: &[Token<'_>]) -> Option<usize> {
    let mut at = 0;
    while at < code.len() {
        if code[at].is_sign("{") {
            return Some(at + group_length(&code[at..]) - 1);
        } else if code[at].is_sign(";") {
            return None;
        } else if code[at].is_sign("(") || code[at].is_sign("[") {
            at += group_length(&code[at..]);
        } else {
            at += 1;
        }
    }
    None
}

fn confined(file: &str, code: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (word, places) in CONFINED {
        if places.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place))) {
            continue;
        }
        let said = code.iter().filter(|token| token.is_word(word));
        found
            .extend(said.map(|token| (token.line, format!("`{word}` stands only in {}", places.join(", ")))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{all, invented};
    use crate::{expect_none, expect_one};

    #[test]
    fn files_of_src_keep_the_conventions() {
        expect_none(findings(all()));
    }

    fn of(files: &[(&str, &str)]) -> Vec<Finding> {
        findings(&invented(files))
    }

    const CLEAN: &str = "//! A.\n#[cfg(test)]\nfn f<A, B>() {}\nfn g() { let mod_path = 1; }\n#[cfg(test)]\nmod tests { mod x {} }\n";

    #[test]
    fn a_clean_file_passes() {
        assert_eq!(
            of(&[("src/a/mod.rs", CLEAN), ("src/a/tests.rs", "//! Tests.\n"), ("tests/a.rs", "unsafe {}")]),
            []
        );
        assert_eq!(of(&[("src/a/mod.rs", "//! A.\nmod b;\n#[cfg(test)]\nmod tests;\n\nfn f() {}\n")]), []);
    }

    #[test]
    fn a_module_does_not_stand_beside_its_folder() {
        expect_one(&of(&[("src/a.rs", "//! A."), ("src/a/b.rs", "//! B.")]), "it becomes src/a/mod.rs");
    }

    #[test]
    fn a_module_stands_where_its_name_says() {
        expect_one(&of(&[("src/a.rs", "//! A.\n#[path = \"c.rs\"]\nmod b;")]), "src/a.rs:2: `#[path]`");
    }

    #[test]
    fn a_file_says_what_it_is_for() {
        expect_one(&of(&[("src/a.rs", "// A.\n")]), "begins with `//!`");
    }

    #[test]
    fn a_file_is_no_longer_than_it_may_be() {
        expect_one(&of(&[("src/a.rs", &format!("//! A.\n{}", "\n".repeat(FILE_MAX)))]), "451 lines");
    }

    #[test]
    fn a_function_fits_a_screen() {
        let long = format!("//! A.\nfn f(a: [u8; 2]) -> u8 {{{}}}", "\n".repeat(FUNCTION_MAX));
        expect_one(&of(&[("src/a.rs", &long)]), "`f` has 61 lines");
        // tests may be longer
        assert_eq!(of(&[("src/a.rs", &long.replace("fn f", "#[cfg(test)]\nfn f"))]), []);
    }

    #[test]
    fn unit_tests_have_one_place() {
        expect_one(&of(&[("src/a_tests.rs", "//! A.")]), "unit tests stand at the end");
        expect_one(
            &of(&[("src/a.rs", "//! A.\n#[cfg(test)]\nmod tests {}\nfn f() {}")]),
            "at the end of their file",
        );
        expect_one(
            &of(&[("src/a.rs", "//! A.\n#[cfg(test)]\nmod checks;")]),
            "is called `tests`, found `checks`",
        );
    }

    #[test]
    fn a_confined_word_stands_only_where_it_may() {
        let text =
            "//! A.\n// monoio\nfn f() { monoio::spawn() }\n#[allow(unsafe_code)]\nfn g() { \"unsafe\" }";
        expect_one(&of(&[("src/worker/http/a.rs", text)]), "src/worker/http/a.rs:3: `monoio` stands only in");
        assert_eq!(of(&[("src/worker/io/runtime.rs", text), ("src/worker/io/socket.rs", text)]), []);
        expect_one(&of(&[("src/a.rs", "//! A.\nfn f() { unsafe {} }")]), "`unsafe` stands only in");
    }
}
