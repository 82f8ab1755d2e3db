//! The files of this repository, or an invented tree of a test, as a map from path to text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Paths are relative to the repository and written with `/`.
pub type Files = BTreeMap<String, String>;

/// Folders that are made here and not written: packages of npm, findings of the fuzzers.
const SKIPPED: &[&str] = &["node_modules", "artifacts", "coverage"];

/// What cargo puts into every folder of its output.
const OUTPUT_MARK: &str = "CACHEDIR.TAG";

/// Hidden folders are skipped, except this one.
const HIDDEN: &str = ".ci";

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the repository (`""`: all of it). Files that are not UTF-8 have an empty text.
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
            if !hidden && !SKIPPED.contains(&name.as_str()) && !path.join(OUTPUT_MARK).exists() {
                walk(root, &path, files);
            }
        } else {
            let text = String::from_utf8(fs::read(&path).unwrap()).unwrap_or_default();
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text);
        }
    }
}

/// A tree of a test.
#[cfg(test)]
pub fn invented(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}
