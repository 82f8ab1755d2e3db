//! Fenced blocks of the documents, and what stands in place of their paths and addresses here.

use super::Cluster;
use crate::harness::certs::ECDSA;
use crate::harness::gateway::{Config, write_pair};
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A fenced block: where it begins, its language and its text.
#[derive(Debug)]
pub struct Block {
    pub place: String,
    pub language: String,
    pub text: String,
}

/// All blocks of this language in a page, in order. The path is relative to the repository.
pub fn blocks(page: &str, language: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).expect("a page");
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(mark) = line.trim_start().strip_prefix("```") {
            open = !open;
            if open {
                let place = format!("{page}:{}", number + 1);
                found.push(Block { place, language: mark.to_owned(), text: String::new() });
            }
        } else if let Some(block) = found.last_mut().filter(|_| open) {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    assert!(!open, "{page}: a block without an end");
    found.retain(|block| block.language == language);
    found
}

/// The only block of this language in a page.
#[track_caller]
pub fn only_block(page: &str, language: &str) -> String {
    let mut found = blocks(page, language);
    assert_eq!(found.len(), 1, "{page}: one block of {language}, found {found:?}");
    found.remove(0).text
}

/// All pages for operators: paths relative to the repository.
pub fn pages() -> Vec<String> {
    let mut found = vec!["README.md".to_owned(), "systemd/README.md".to_owned()];
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Replaces each left side by its right side; fails if a page no longer has the left side.
#[track_caller]
pub fn filled(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the page has no {from:?}");
        text.replace(from, to)
    })
}

/// The complete configuration in this page.
#[track_caller]
pub fn complete(page: &str) -> Table {
    let mut tables: Vec<Table> = blocks(page, "toml").iter().filter_map(Block::table).collect();
    tables.retain(is_complete);
    assert_eq!(tables.len(), 1, "{page}: complete configurations");
    tables.remove(0)
}

/// Whether this is all that a start needs.
pub fn is_complete(table: &Table) -> bool {
    let has = |name: &str, keys: &[&str]| {
        table.get(name).and_then(Value::as_table).is_some_and(|t| keys.iter().any(|key| t.contains_key(*key)))
    };
    has("stream_manager", &["url", "urls"]) && has("tls", &["certificates", "acme"])
}

impl Block {
    pub fn table(&self) -> Option<Table> {
        self.text.parse().ok()
    }
}

impl Cluster {
    /// The configuration with this cluster's addresses and files. Every other value stays as the page has it.
    pub fn fitted(&self, mut table: Table) -> Config {
        let folder = |name: &str| self.workspace.file(name).to_str().unwrap().to_owned();
        // a configuration that orders its certificates gets its own instead: no CA is here
        if let Some(tls) = table.get_mut("tls").and_then(Value::as_table_mut) {
            tls.remove("acme");
        }
        if let Some(manager) = table.get_mut("stream_manager").and_then(Value::as_table_mut) {
            manager.remove("urls");
        }
        let writes_log = table.get("log").and_then(|log| log.get("access")).and_then(Value::as_str);
        let writes_log = writes_log.is_some_and(|path| path.starts_with('/'));
        let networks: Vec<String> = [1, 2].map(|n| self.workspace.node(n).ip().to_string()).to_vec();
        let mut config = Config::from(table);
        config.set("gateway.listen", vec![self.workspace.gateway().to_string()]);
        config.set("tls.certificates", vec![Value::Table(write_pair(&self.workspace, "page", &ECDSA))]);
        config.set("stream_manager.url", format!("http://{}", self.workspace.manager()));
        // loopback is dialled only as a single address; so these nodes are admitted without having been named
        config.set("origins.networks", networks);
        config.set("monitoring.listen", self.workspace.monitoring().to_string());
        config.set("admin.listen", format!("unix:{}", self.workspace.admin_socket().display()));
        if writes_log {
            config.set("log.access", folder("access.log"));
        }
        // many tests share these cores
        config.set("gateway.workers", 2);
        config.set("gateway.pin", false);
        if let Ok(driver) = std::env::var("TIDEGATE_TEST_DRIVER") {
            config.set("gateway.driver", driver);
        }
        config
    }
}
