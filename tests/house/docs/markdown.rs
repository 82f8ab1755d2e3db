//! Just enough Markdown: links, headings, code in backticks, all with their lines.

/// A text in a page, with its line counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub text: String,
}

/// The text with the content of fenced blocks blanked out, so that lines stay where they are.
fn without_fences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => plain.push_str(line),
            _ => {}
        }
        plain.push('\n');
    }
    plain
}

/// Code in backticks, and the rest of the text with that code blanked out. A span may go over a line end, not over a paragraph.
pub fn code_and_rest(text: &str) -> (Vec<Place>, String) {
    let text = without_fences(text);
    let mut spans = Vec::new();
    let mut rest = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(open) = text[at..].find('`').map(|found| at + found) {
        let marks = text[open..].bytes().take_while(|byte| *byte == b'`').count();
        let begin = open + marks;
        rest.push_str(&text[at..begin]);
        at = begin;
        if let Some(end) = closing(&text[begin..], marks) {
            let code = &text[begin..begin + end];
            let line = text[..begin].matches('\n').count() + 1;
            spans.push(Place { line, text: code.split_whitespace().collect::<Vec<_>>().join(" ") });
            rest.extend(code.chars().map(|character| if character == '\n' { '\n' } else { ' ' }));
            at = begin + end;
            rest.push_str(&text[at..at + marks]);
            at += marks;
        }
    }
    rest.push_str(&text[at..]);
    (spans, rest)
}

fn closing(text: &str, marks: usize) -> Option<usize> {
    let text = &text[..text.find("\n\n").unwrap_or(text.len())];
    let mut at = 0;
    loop {
        let found = at + text[at..].find('`')?;
        let run = text[found..].bytes().take_while(|byte| *byte == b'`').count();
        if run == marks {
            return Some(found);
        }
        at = found + run;
    }
}

/// Targets of links and pictures: `[…](target)`, `[…]: target`, `href="target"`, `src="target"`.
pub fn links(text: &str) -> Vec<Place> {
    let (_, text) = code_and_rest(text);
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut add = |target: &str| {
            let target = target.split_whitespace().next().unwrap_or_default();
            found.push(Place { line: number + 1, text: target.trim_matches(['<', '>']).to_owned() });
        };
        for (before, after) in [("](", ')'), ("href=\"", '"'), ("src=\"", '"')] {
            for (at, _) in line.match_indices(before) {
                let target = &line[at + before.len()..];
                add(&target[..target.find(after).unwrap_or(target.len())]);
            }
        }
        if let Some((_, target)) = line.split_once("]: ").filter(|(name, _)| name.starts_with('[')) {
            add(target);
        }
    }
    found
}

/// What `#…` may name in a page: its headings, as GitHub writes them, and explicit ids.
pub fn anchors(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in without_fences(text).lines() {
        let title = line.trim_start_matches('#');
        if line.starts_with('#') && title.starts_with(' ') {
            let slug = slug(title.trim());
            let same = found.iter().filter(|known| {
                known
                    .strip_prefix(&slug)
                    .is_some_and(|end| end.is_empty() || is_number(end.strip_prefix('-')))
            });
            let count = same.count();
            found.push(if count == 0 { slug } else { format!("{slug}-{count}") });
        }
        for mark in ["id=\"", "name=\""] {
            for (at, _) in line.match_indices(mark) {
                found.push(line[at + mark.len()..].split('"').next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

fn is_number(text: Option<&str>) -> bool {
    text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn slug(title: &str) -> String {
    let mut plain = String::new();
    let mut rest = title;
    // of a link only its text
    while let Some((before, (text, after))) =
        rest.split_once('[').and_then(|(a, b)| Some((a, b.split_once("](")?)))
    {
        plain += before;
        plain += text;
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    plain += rest;
    let kept = plain.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|character| if character == ' ' { '-' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(places: Vec<Place>) -> Vec<(usize, String)> {
        places.into_iter().map(|place| (place.line, place.text)).collect()
    }

    #[test]
    fn links_of_every_kind_are_found_and_code_is_none() {
        let text =
            "[a](b.md#c) ![d](e.svg \"t\")\n`[f](g)`\n```\n[h](i)\n```\n<img src=\"j.svg\">\n[k]: l.md\n";
        let expected = [(1, "b.md#c"), (1, "e.svg"), (6, "j.svg"), (7, "l.md")];
        assert_eq!(texts(links(text)), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn code_may_go_over_a_line_end() {
        let (code, rest) = code_and_rest("a `b\n c` ``d ` e``\n\n`open\n\n`f`");
        assert_eq!(texts(code), [(1, "b c".to_owned()), (2, "d ` e".to_owned()), (6, "f".to_owned())]);
        assert_eq!(rest.lines().count(), 6);
    }

    #[test]
    fn headings_become_anchors() {
        let text = "# The Map: a/b `c_d`, e's\n## [x](y) z\n```\n# no\n```\n## The Map: a/b `c_d`, e's\n<a id=\"here\"></a>";
        assert_eq!(anchors(text), ["the-map-ab-c_d-es", "x-z", "the-map-ab-c_d-es-1", "here"]);
    }
}
