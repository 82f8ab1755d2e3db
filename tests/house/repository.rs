//! The files of this repository, or an invented tree of a test, as a map from path to text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Paths are relative to the repository and written with `/`.
pub type Files = BTreeMap<String, String>;

/// What cargo puts into every folder of its output.
const OUTPUT_MARK: &str = "CACHEDIR.TAG";

/// Hidden folders are skipped, except this one.
const HIDDEN: &str = ".ci";

/// All files of the repository. Files that are not UTF-8 have an empty text.
pub fn all() -> &'static Files {
    static ALL: LazyLock<Files> = LazyLock::new(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let mut files = Files::new();
        walk(&root, &root, &ignored.lines().collect::<Vec<_>>(), &mut files);
        files
    });
    &ALL
}

/// Reads a folder, without what git ignores: lines like `/fuzz/target` (a path) or `node_modules` (a name anywhere).
fn walk(root: &Path, folder: &Path, ignored: &[&str], files: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if ignored.contains(&name.as_str()) || ignored.contains(&format!("/{relative}").as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            let hidden = name.starts_with('.') && name != HIDDEN;
            if !hidden && !path.join(OUTPUT_MARK).exists() {
                walk(root, &path, ignored, files);
            }
        } else {
            let text = String::from_utf8(fs::read(&path).unwrap()).unwrap_or_default();
            files.insert(relative, text);
        }
    }
}

/// A tree of a test.
#[cfg(test)]
pub fn invented(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}
