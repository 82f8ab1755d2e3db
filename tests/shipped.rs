//! Checks that the shipped files agree with the program: the example configuration loads and has every key, and the pages
//! in `docs` have every key, metric, refusal and command. Dashboard and alert rules use metrics that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tidegate::config;
use tidegate::config::KEYS;
use tidegate::metrics::page;
use tidegate::metrics::page::{Dialect, Facts};
use tidegate::proto::refusal::Refusal;

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

/// The names of all families on the page of `/metrics`.
fn families() -> BTreeSet<String> {
    let page = page::write(&[], &Facts::default(), Dialect::Prometheus);
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn the_page_on_metrics_has_a_row_for_every_metric() {
    let page = shipped("docs/reference/metrics.md");
    for name in families() {
        assert!(page.contains(&format!("| `{name}` |")), "docs/reference/metrics.md has no row for {name}");
    }
}

/// All pages below `docs`, as paths relative to the repository.
fn documents() -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec!["docs".to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = format!("{folder}/{}", entry.file_name().to_str().expect("a name"));
            match entry.file_type().expect("a type").is_dir() {
                true => folders.push(path),
                false if path.ends_with(".md") => found.push(path),
                false => {}
            }
        }
    }
    found
}

#[test]
fn pages_name_only_metrics_that_there_are() {
    let known: BTreeSet<_> = families();
    for page in documents() {
        for name in series(&shipped(&page)).filter(|name| name.starts_with("tidegate_")) {
            // `tidegate_worker_*` and alike stand for several; files of packages begin with a version
            let is_family = known.iter().any(|known| known.starts_with(name));
            let is_package = name.starts_with("tidegate_0") || name.starts_with("tidegate_VERSION");
            assert!(is_family || is_package, "{page}: no metric has the name {name}");
        }
    }
}

#[test]
fn the_page_on_refusals_has_a_row_for_every_code() {
    let page = shipped("docs/reference/refusals.md");
    for refusal in Refusal::ALL {
        let row = format!("| `{}` | {} | ", refusal.code(), refusal.status());
        assert!(page.contains(&row), "docs/reference/refusals.md has no row {row:?}");
    }
    assert_eq!(page.matches("\n| `").count(), Refusal::ALL.len(), "rows in docs/reference/refusals.md");
}

/// All of `src`, in one text.
fn sources() -> String {
    let (mut all, mut folders) = (String::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => all.push_str(&fs::read_to_string(path).unwrap_or_default()),
            }
        }
    }
    all
}

#[test]
fn lines_that_the_page_on_incidents_quotes_are_written() {
    let (page, sources) = (shipped("docs/incidents.md"), sources());
    let code = page.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_line = |code: &&str| code.contains(' ') && !code.starts_with("tidegate ") && !code.contains('{');
    let lines: Vec<_> = code.filter(is_line).collect();
    assert!(lines.len() >= 10, "{lines:?}");
    for line in lines {
        // words in capitals stand for a value; what is written before a refusal's reason is the same for all
        let pieces = line.strip_prefix("refused: ").unwrap_or(line).split(' ').collect::<Vec<_>>();
        let pieces = pieces.split(|word| word.chars().all(|letter| letter.is_ascii_uppercase()));
        let longest = pieces.map(|words| words.join(" ")).max_by_key(String::len).expect("a piece");
        assert!(sources.contains(&longest), "docs/incidents.md: nothing writes {longest:?} of {line:?}");
    }
}

#[test]
fn the_page_on_commands_has_a_row_for_every_command() {
    let page = shipped("docs/reference/commands.md");
    let help =
        Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--help").output().expect("the program starts");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    // a description may go on in lines that stand farther to the right
    let rows = list.lines().filter_map(|line| line.strip_prefix("  ")).filter(|row| !row.starts_with(' '));
    let names: Vec<_> = rows.filter_map(|row| row.split_whitespace().next()).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        assert!(
            page.contains(&format!("| `tidegate {name}")),
            "docs/reference/commands.md has no row for {name}"
        );
    }
}

const RULES: &str = "packaging/prometheus/tidegate.rules.yml";
const DASHBOARD: &str = "packaging/grafana/tidegate.json";

/// The names of series in the text of a query, recorded ones included.
fn series(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.contains("tidegate_") || word.starts_with("process_"))
}

/// The text behind this key in each line that has it.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key)).collect()
}

#[test]
fn dashboard_and_rules_use_metrics_that_there_are() {
    let rules = shipped(RULES);
    let rules = &rules[rules.find("groups:").expect("groups")..];
    let recorded: BTreeSet<_> = values(rules, "record: ").into_iter().map(str::to_owned).collect();
    let known: BTreeSet<_> = families().into_iter().chain(recorded).collect();
    let without_suffix = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).map(str::to_owned)
    };
    let is_known =
        |name: &str| known.contains(name) || without_suffix(name).is_some_and(|n| known.contains(&n));
    let dashboard: serde_json::Value = serde_json::from_str(&shipped(DASHBOARD)).expect("JSON");
    let mut queries: Vec<String> = vec![rules.to_owned()];
    queries_of(&dashboard, &mut queries);
    assert!(queries.len() > 50, "{} queries", queries.len());
    for query in &queries {
        for name in series(query) {
            assert!(is_known(name), "no metric has the name {name}, in {query}");
        }
    }
}

/// Collects every query of a dashboard.
fn queries_of(value: &serde_json::Value, queries: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(values) => values.iter().for_each(|value| queries_of(value, queries)),
        serde_json::Value::Object(fields) => {
            queries.extend(fields.get("expr").and_then(|expr| expr.as_str()).map(str::to_owned));
            fields.values().for_each(|value| queries_of(value, queries));
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_fits_any_grafana_and_places_its_panels_side_by_side() {
    let dashboard: serde_json::Value = serde_json::from_str(&shipped(DASHBOARD)).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert!(dashboard["id"].is_null() && dashboard["uid"].is_null(), "Grafana gives it its own");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(
        variables.iter().any(|variable| variable["type"] == "datasource" && variable["name"] == "datasource")
    );
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the id {}", panel["id"]);
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(
                place("x") + x < 24 && cells.insert((place("x") + x, place("y") + y)),
                "{}",
                panel["title"]
            );
        }
        let targets = panel["targets"].as_array().into_iter().flatten();
        for sources in targets
            .map(|target| &target["datasource"])
            .chain((panel["type"] != "row").then_some(&panel["datasource"]))
        {
            assert_eq!(sources["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
}

#[test]
fn each_alert_has_what_an_operator_needs_and_a_paragraph_on_it() {
    let (rules, operations) = (shipped(RULES), shipped("docs/operations.md"));
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 20, "{} alerts", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for key in ["expr:", "summary:", "description:"] {
            assert_eq!(values(alert, key).len(), 1, "{name} has one {key}");
        }
        let severity = values(alert, "labels: { severity: ");
        assert!(severity == ["warning }"] || severity == ["critical }"], "{name}: {severity:?}");
        let runbook = values(alert, "runbook_url: ");
        assert_eq!(runbook, [format!("docs/operations.md#{}", name.to_lowercase())], "{name}");
        let paragraph = operations.split(&format!("\n### {name}\n")).nth(1).unwrap_or_default();
        let paragraph = paragraph.split("\n#").next().unwrap_or_default();
        assert!(paragraph.len() > 200, "docs/operations.md has no paragraph on {name}");
    }
    for heading in operations.lines().filter_map(|line| line.strip_prefix("### Tidegate")) {
        assert!(rules.contains(&format!("- alert: Tidegate{heading}\n")), "no alert Tidegate{heading}");
    }
}
