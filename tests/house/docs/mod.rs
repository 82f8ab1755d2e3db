//! Pages lead somewhere: links and anchors, files, modules and tests that they name, and the lexicon.

mod citations;
mod links;
mod markdown;

use crate::Finding;
use crate::repository::Files;

/// The page that has the vocabulary, and the fewest words it may have.
const LEXICON: &str = "docs/architecture.md";
const LEXICON_MIN: usize = 15;

/// The lexicon is a table below a heading of its own, and says each word once.
fn lexicon_findings(files: &Files) -> Vec<Finding> {
    let fail = |line, what: String| vec![Finding::new(LEXICON, line, what)];
    let Some(text) = files.get(LEXICON) else {
        return fail(0, "is not there, and it has the lexicon".to_owned());
    };
    let Some(heading) = text.lines().position(|line| line.trim() == "## Lexicon") else {
        return fail(0, "has no heading `## Lexicon`".to_owned());
    };
    let section = text.lines().skip(heading + 1).take_while(|line| !line.starts_with("## "));
    let rows = section.filter(|line| line.starts_with('|')).skip(2);
    let mut words: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split(','))
        .map(str::trim)
        .collect();
    let count = words.len();
    words.sort_unstable();
    if let Some(twice) = words.windows(2).find(|two| two[0] == two[1]) {
        return fail(heading + 1, format!("the lexicon has `{}` twice", twice[0]));
    }
    if count < LEXICON_MIN {
        return fail(heading + 1, format!("the lexicon has {count} words, expected at least {LEXICON_MIN}"));
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{all, invented};
    use crate::{expect_none, expect_one};

    #[test]
    fn the_lexicon_is_there() {
        expect_none(lexicon_findings(all()));
    }

    #[test]
    fn a_lexicon_without_its_table_is_noticed() {
        let row = |n: usize| format!("| word{n} | what it is |\n");
        let page = |rows: String| {
            invented(&[(LEXICON, &format!("# A\n\n## Lexicon\n\n| word | is |\n|---|---|\n{rows}\n## B\n"))])
        };
        assert_eq!(lexicon_findings(&page((0..LEXICON_MIN).map(row).collect())), []);
        expect_one(&lexicon_findings(&page((1..LEXICON_MIN).map(row).collect())), "expected at least");
        expect_one(&lexicon_findings(&page((0..LEXICON_MIN).chain([3]).map(row).collect())), "`word3` twice");
        expect_one(&lexicon_findings(&invented(&[(LEXICON, "# A\n")])), "no heading");
        expect_one(&lexicon_findings(&invented(&[])), "is not there");
    }
}
