//! Which file imports which: paths resolved against the module tree of `src`.

use super::source::{Written, paths, without_tests};
use crate::repository::Files;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// One import: the first place in `from` that names something in `to`.
#[derive(Debug, Clone)]
pub struct Import {
    pub from: String,
    pub to: String,
    pub line: usize,
    /// The path as it is written.
    pub path: String,
}

/// All imports of files in `src` by files in `src`, unit tests excluded, one for each pair of files and in order.
pub fn imports(files: &Files) -> Vec<Import> {
    let modules: HashMap<Vec<&str>, &str> = files
        .keys()
        .filter(|file| file.starts_with("src/") && file.ends_with(".rs") && *file != "src/main.rs")
        .map(|file| (module(file), file.as_str()))
        .collect();
    let mut found: BTreeMap<(&str, &str), Import> = BTreeMap::new();
    for (file, text) in files {
        if !file.starts_with("src/") || !file.ends_with(".rs") || is_test_file(file) {
            continue;
        }
        let tokens = without_tests(text);
        let written = paths(&tokens);
        let scope = Scope::new(file, &modules, &written);
        for path in &written {
            let Some(target) = scope.resolve(path) else { continue };
            let to = home(&modules, &target);
            if to != file {
                let path = path.segments.join("::");
                found.entry((file, to)).or_insert_with(|| Import {
                    from: file.clone(),
                    to: to.to_owned(),
                    line: path_line(&written, &path),
                    path,
                });
            }
        }
    }
    found.into_values().collect()
}

fn path_line(written: &[Written<'_>], path: &str) -> usize {
    written.iter().find(|one| one.segments.join("::") == path).map_or(0, |one| one.line)
}

/// `tests.rs`, and everything in a folder `tests`.
pub fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/")
}

/// The module that a file of `src` is.
pub fn module(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut names: Vec<&str> = path.split('/').collect();
    if matches!(names.last(), Some(&"mod")) || matches!(names.as_slice(), ["lib" | "main"]) {
        names.pop();
    }
    names
}

/// The file of the innermost module that a path goes through.
fn home<'a>(modules: &HashMap<Vec<&str>, &'a str>, target: &[&str]) -> &'a str {
    let lengths = (0..=target.len()).rev();
    lengths.filter_map(|length| modules.get(&target[..length]).copied()).next().unwrap_or("src/lib.rs")
}

/// What names mean in one file.
struct Scope<'a> {
    file: &'a str,
    base: Vec<&'a str>,
    modules: &'a HashMap<Vec<&'a str>, &'a str>,
    /// What `use` brings in under which name.
    aliases: HashMap<&'a str, Vec<&'a str>>,
}

impl<'a> Scope<'a> {
    fn new(file: &'a str, modules: &'a HashMap<Vec<&'a str>, &'a str>, written: &[Written<'a>]) -> Self {
        let mut scope = Self { file, base: module(file), modules, aliases: HashMap::new() };
        // a `use` may go through a name that another one brings in: until nothing is new
        loop {
            let known = scope.aliases.len();
            for path in written {
                if let (Some(alias), Some(target)) = (path.alias, scope.resolve(path)) {
                    scope.aliases.entry(alias).or_insert(target);
                }
            }
            if scope.aliases.len() == known {
                return scope;
            }
        }
    }

    /// The path from the root of the crate; none for other crates and for local names.
    fn resolve(&self, path: &Written<'a>) -> Option<Vec<&'a str>> {
        let mut module = self.base.clone();
        module.extend(&path.inside);
        let (first, mut rest) = path.segments.split_first()?;
        let mut target = match *first {
            "crate" => Vec::new(),
            "tidegate" if self.file == "src/main.rs" => Vec::new(),
            "self" => module,
            "super" => {
                module.pop();
                module
            }
            name if self.is_module(&module, name) => joined(&module, name),
            name => self.aliases.get(name).cloned()?,
        };
        while let Some((&"super", more)) = rest.split_first() {
            target.pop();
            rest = more;
        }
        target.extend(rest);
        Some(target)
    }

    fn is_module(&self, parent: &[&'a str], name: &'a str) -> bool {
        self.modules.contains_key(&joined(parent, name))
    }
}

fn joined<'a>(parent: &[&'a str], name: &'a str) -> Vec<&'a str> {
    let mut path = parent.to_vec();
    path.push(name);
    path
}

/// Files that all reach each other.
pub struct Knot<'a> {
    /// One shortest circle through the first file; the last import leads back to it.
    pub circle: Vec<&'a Import>,
    /// How many files are in the knot.
    pub files: usize,
}

pub fn knots(imports: &[Import]) -> Vec<Knot<'_>> {
    let mut next: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        next.entry(&import.from).or_default().push(import);
    }
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for start in next.keys() {
        if done.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(&next, start) {
            let mut knot = reachable(&next, start);
            knot.retain(|file| reachable(&next, file).contains(start));
            found.push(Knot { circle, files: knot.len() });
            done.extend(knot);
        }
    }
    found
}

fn reachable<'a>(next: &BTreeMap<&'a str, Vec<&'a Import>>, start: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for import in next.get(file).into_iter().flatten() {
            if seen.insert(import.to.as_str()) {
                open.push(&import.to);
            }
        }
    }
    seen
}

fn shortest_circle<'a>(next: &BTreeMap<&'a str, Vec<&'a Import>>, start: &str) -> Option<Vec<&'a Import>> {
    let mut came: HashMap<&str, &Import> = HashMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for import in next.get(file).into_iter().flatten() {
            if came.contains_key(import.to.as_str()) {
                continue;
            }
            came.insert(&import.to, import);
            if import.to == start {
                let mut circle = vec![*import];
                while circle[0].from != start {
                    circle.insert(0, came[circle[0].from.as_str()]);
                }
                return Some(circle);
            }
            open.push_back(&import.to);
        }
    }
    None
}
