//! Every relative link leads to a file or folder, and its anchor to a heading.

use super::markdown::{anchors, links};
use crate::Finding;
use crate::repository::Files;

fn findings(files: &Files) -> Vec<Finding> {
    let mut found = Vec::new();
    for (page, text) in files.iter().filter(|(file, _)| file.ends_with(".md")) {
        for link in links(text) {
            if let Some(what) = broken(files, page, &link.text) {
                found.push(Finding::new(page, link.line, format!("({}): {what}", link.text)));
            }
        }
    }
    found
}

fn broken(files: &Files, page: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let Some(target) = (if path.is_empty() { Some(page.to_owned()) } else { resolved(page, path) }) else {
        return Some("leads out of the repository".to_owned());
    };
    if !exists(files, &target) {
        return Some(format!("there is no {target}"));
    }
    let text = files.get(&target).filter(|_| target.ends_with(".md") && !anchor.is_empty())?;
    let known = anchors(text).iter().any(|known| known == anchor);
    (!known).then(|| format!("{target} has no heading #{anchor}"))
}

/// A path relative to a page's folder as one relative to the repository.
fn resolved(page: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether a file or folder is there; the repository itself is.
pub fn exists(files: &Files, path: &str) -> bool {
    let folder = format!("{path}/");
    path.is_empty()
        || files.contains_key(path)
        || files.range(folder.clone()..).next().is_some_and(|(file, _)| file.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{all, invented};
    use crate::{expect_none, expect_one};

    #[test]
    fn every_link_leads_somewhere() {
        expect_none(findings(all()));
    }

    fn of(link: &str) -> Vec<Finding> {
        findings(&invented(&[
            ("README.md", "# One\n"),
            ("docs/a.md", &format!("# Two\n\n[x]({link})")),
            ("docs/b.md", "# Three four"),
            ("docs/c.svg", ""),
        ]))
    }

    #[test]
    fn a_link_that_leads_somewhere_passes() {
        for link in [
            "b.md",
            "b.md#three-four",
            "#two",
            "../README.md#one",
            "../docs",
            "c.svg",
            "https://example.com/x#y",
            "../docs/",
        ] {
            assert_eq!(of(link), [], "{link}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_noticed() {
        expect_one(&of("d.md"), "docs/a.md:3: (d.md): there is no docs/d.md");
        expect_one(&of("b.md#three"), "docs/b.md has no heading #three");
        expect_one(&of("#three"), "docs/a.md has no heading #three");
        expect_one(&of("../../x.md"), "leads out of the repository");
        expect_one(&of("../doc"), "there is no doc");
    }
}
