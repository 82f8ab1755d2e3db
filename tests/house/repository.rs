//! The files of this repository, or an invented tree of a test, as a map from path to text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Paths are relative to the repository and written with `/`.
pub type Files = BTreeMap<String, String>;

/// Folders without anything that is written here by hand: build output, packages of npm, inputs of the fuzzers.
const SKIPPED: &[&str] = &["target", "node_modules", "corpus", "artifacts", "coverage"];

/// Hidden folders are skipped, except this one.
const HIDDEN: &str = ".ci";

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All text files below a folder of the repository (`""`: all of it). Files that are not UTF-8 are left out.
pub fn below(folder: &str) -> Files {
    let mut files = Files::new();
    let root = root();
    walk(&root, &root.join(folder), &mut files);
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            let hidden = name.starts_with('.') && name != HIDDEN;
            if !hidden && !SKIPPED.contains(&name.as_str()) {
                walk(root, &path, files);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text);
        }
    }
}

/// A tree of a test.
#[cfg(test)]
pub fn invented(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}
