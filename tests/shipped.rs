//! Checks that the shipped files agree with the program: the example configuration loads and has every key, and the pages
//! in `docs` mention every key and every metric.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tidegate::config;
use tidegate::config::KEYS;
use tidegate::metrics::page;
use tidegate::metrics::page::{Dialect, Facts};

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a shipped file")
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let example = shipped("examples/tidegate.toml");
    let written: BTreeSet<_> = config::written(&example).expect("TOML").into_iter().collect();
    let known: BTreeSet<_> = KEYS.iter().map(|key| format!("{}.{}", key.table, key.name)).collect();
    assert_eq!(written, known, "keys in the example and keys of the program");
    let required = KEYS.iter().filter(|key| key.required);
    let minimal: String =
        required.map(|key| format!("{}.{} = {}\n", key.table, key.name, key.default)).collect();
    assert_eq!(
        config::read(&example),
        config::read(&minimal),
        "a value in the example differs from the default"
    );
    assert!(config::read(&example).is_ok());
}

#[test]
fn every_line_of_the_example_that_sets_a_key_has_a_sentence_above() {
    let example = shipped("examples/tidegate.toml");
    let lines: Vec<_> = example.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "expected a line beginning with \"# \" above: {}", pair[1]);
    }
}

#[test]
fn the_page_on_configuration_has_a_row_for_every_key_with_its_default() {
    let page = shipped("docs/configuration.md");
    let mut table = "";
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## `[").and_then(|rest| rest.split_once(']')) {
            table = name.0;
        } else if let Some((name, rest)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` | ")) {
            rows.insert((table, name, rest.split(" | ").next().unwrap_or_default()));
        }
    }
    for key in KEYS {
        let default = if key.required { "required".to_owned() } else { format!("`{}`", key.default) };
        let row = (key.table, key.name, default.as_str());
        assert!(rows.contains(&row), "docs/configuration.md has no row {row:?}");
    }
}

#[test]
fn the_page_on_operations_mentions_every_metric() {
    let metrics = page::write(&[], &Facts::default(), Dialect::Prometheus);
    let names: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    let operations = shipped("docs/operations.md");
    for name in names {
        assert!(operations.contains(&format!("`{name}`")), "docs/operations.md does not mention {name}");
    }
}
