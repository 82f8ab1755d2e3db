//! Each rule on an invented file that breaks it, and all rules on this repository.

use super::lists::BANNED;
use super::*;
use crate::repository::{all, invented};
use crate::{expect_none, expect_one};

#[test]
fn no_text_here_has_a_banned_word() {
    expect_none(findings(all()));
}

#[test]
fn every_allowed_phrase_is_needed() {
    expect_none(stale(all()));
}

#[test]
fn every_allowed_phrase_has_a_reason() {
    let without = ALLOWED.iter().filter(|allowed| allowed.reason.split(' ').count() < 3);
    assert_eq!(without.map(|allowed| allowed.phrase).collect::<Vec<_>>(), Vec::<&str>::new());
}

fn of(file: &str, text: &str) -> Vec<Finding> {
    findings(&invented(&[(file, text)]))
}

#[test]
fn every_banned_word_is_found() {
    for rule in BANNED {
        for word in rule.words {
            let found = of("docs/a.md", &format!("# A\n\nBefore {word}, after."));
            expect_one(&found, &format!("docs/a.md:3: \"{word}\"; write instead: {}", rule.instead));
        }
    }
}

#[test]
fn a_word_is_found_wherever_rust_has_language() {
    let places = [
        "// it is nobody\n",
        "/// It is nobody's.\nfn f() {}",
        "/* a\n/* Nobody */ */",
        "const C: &str = \"a\\nnobody\";",
        "const C: &str = r#\"a \"nobody\"\"#;",
        "fn asks_nobody() {}",
        "struct AskNobody;",
        "const ASK_NOBODY: u8 = 0;",
    ];
    for text in places {
        expect_one(&of("src/a.rs", text), "\"nobody\"");
    }
}

#[test]
fn the_line_of_a_word_in_a_long_string_is_right() {
    expect_one(&of("src/a.rs", "const C: &str = \"a \\\n  b \\\n  who\";"), "src/a.rs:3");
    expect_one(&of("src/a.rs", "/*\n\nwho */"), "src/a.rs:3");
}

#[test]
fn code_is_no_language() {
    assert_eq!(of("src/a.rs", "let who = crew.her(); 'w'; use who::he;"), []);
    assert_eq!(of("src/a.rs", "f(\"{who} {who:?} {{}}\")"), []);
    expect_one(&of("src/a.rs", "f(\"{{\\\"a\\\": who}}\")"), "\"who\"");
    // a name may keep a private word until it is renamed; sentences may not
    assert_eq!(of("src/a.rs", "fn crew() {}"), []);
    expect_one(&of("src/a.rs", "// the crew"), "the workers");
}

#[test]
fn other_files_are_read_whole() {
    for file in ["a.md", "a.sh", "a.py", "a.mjs", "a.js", "a.toml", "systemd/a.service", "a.html", ".ci/run"]
    {
        expect_one(&of(file, "x = 1  # for everyone"), "\"everyone\"");
    }
    for file in [
        "tests/data/a.md",
        "fuzz/corpus/a/b.md",
        "LICENSE",
        "Cargo.lock",
        "tests/browser/package-lock.json",
        "a.bin",
    ] {
        assert_eq!(of(file, "everyone"), []);
    }
}

#[test]
fn a_phrase_is_found_in_one_line_and_in_order() {
    expect_one(&of("a.md", "no  one, one no, it is a no: one, no one-step session"), "\"no one\"");
    expect_one(&of("a.rs", "fn no_one_asks() {}"), "\"no one\"");
    expect_one(&of("a.md", "questions in the\nair, in the air"), "a.md:2: \"in the air\"");
}

#[test]
fn words_of_the_field_pass() {
    let text = "The origin server and the user agent, RFC 9110. Whose turn? Whole hero, there, then, ushers, whom-like? No: this.";
    assert_eq!(of("a.md", &text.replace("whom-like? ", "")), []);
    assert_eq!(of("a.md", "Sec-WebSocket-Key: dGhlIHNhbXBsZS+who+ub25jZQ1=="), []);
    assert_eq!(of("a.md", "dGhlIHNhbXBsZSBub25jWHO9= WHOLE-herd9"), []);
}

#[test]
fn an_allowed_phrase_passes_where_it_is_allowed() {
    assert_eq!(of("a.md", "a thundering herd"), []);
    expect_one(&of("a.md", "a thundering herd, a herd"), "\"herd\"");
    assert_eq!(of("tests/house/words/lists.rs", "// somebody"), []);
}
