//! `tidegate nodes`: the nodes as the running gateway sees them.

use crate::control::cli::client::{self, Method};
use crate::control::cli::table::{self, Column, Cut, span};
use crate::control::cli::target::Target;
use crate::control::cli::watch::{self, Show};
use crate::control::exit::ExitError;
use serde_json::Value;

const NODES: [Column; 8] = [
    Column("NODE", Cut::Never),
    Column("STATE", Cut::Never),
    Column("SESSIONS", Cut::Never),
    Column("DIALS", Cut::Never),
    Column("FAILED", Cut::Never),
    Column("P50", Cut::Never),
    Column("P95", Cut::Never),
    Column("LAST FAULT", Cut::End),
];

/// Prints the nodes, as a table or as JSON.
pub(crate) fn nodes(target: &Target, json: bool, watch: bool) -> Result<(), ExitError> {
    watch::show(Show { json, watch }, || ask(target), lines)
}

/// What the gateway knows of the nodes.
pub(crate) fn ask(target: &Target) -> Result<Value, ExitError> {
    client::json(&client::request(target, Method::GET, "/api/nodes")?)
}

fn lines(answer: &Value, width: usize) -> Vec<String> {
    let rows: Vec<_> = answer["nodes"].as_array().into_iter().flatten().map(cells).collect();
    let mut lines = table::lines(&NODES, &rows, width);
    if let Some(left_out @ 1..) = answer["left_out"].as_u64() {
        lines.push(format!("{left_out} nodes more"));
    }
    lines
}

fn cells(node: &Value) -> [String; 8] {
    let millis =
        |value: &Value| value.as_f64().map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1}ms"));
    [
        node["node"].as_str().unwrap_or("-").to_owned(),
        state(node),
        node["sessions"].to_string(),
        node["dials"].to_string(),
        node["failed"].to_string(),
        millis(&node["dial_ms"]["p50"]),
        millis(&node["dial_ms"]["p95"]),
        last_fault(node).unwrap_or_else(|| "-".to_owned()),
    ]
}

/// Whether a node is avoided, fails, is named by the stream manager, or only by the configuration.
fn state(node: &Value) -> String {
    match (node["quarantined_seconds"].as_f64(), is_failing(node), node["learned_seconds"].is_number()) {
        (Some(left), ..) => format!("avoided {}", span(left)),
        (None, true, _) => "failing".to_owned(),
        (None, false, true) => "learned".to_owned(),
        (None, false, false) => "-".to_owned(),
    }
}

/// Whether the last dials of a node failed.
pub(crate) fn is_failing(node: &Value) -> bool {
    node["quarantined_seconds"].is_number() || node["last_fault"]["failing"] == true
}

/// What went wrong at a node last, and when; `None` if nothing did.
pub(crate) fn last_fault(node: &Value) -> Option<String> {
    let fault = &node["last_fault"];
    let ago = span(fault["seconds_ago"].as_f64()?);
    Some(format!("{}, {ago} ago", fault["text"].as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_node_has_a_line_with_its_state_and_its_last_fault() {
        let fault = json!({ "text": "connection refused", "seconds_ago": 4.2, "failing": true });
        let answer = json!({ "left_out": 3, "nodes": [
            { "node": "10.0.0.1", "sessions": 7, "dials": 9, "failed": 0, "dial_ms": { "p50": 1.25, "p95": 3.0 },
              "quarantined_seconds": null, "learned_seconds": 60.0, "last_fault": null },
            { "node": "10.0.0.2", "sessions": 0, "dials": 4, "failed": 4, "dial_ms": { "p50": null, "p95": null },
              "quarantined_seconds": 3.9, "learned_seconds": 60.0, "last_fault": fault },
        ] });
        let lines = lines(&answer, table::WIDTH);
        let cells: Vec<Vec<_>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["10.0.0.1", "learned", "7", "9", "0", "1.2ms", "3.0ms", "-"]);
        assert_eq!(cells[2][..3], ["10.0.0.2", "avoided", "4s"]);
        assert!(lines[2].ends_with("connection refused, 4s ago") && lines[3] == "3 nodes more", "{lines:#?}");
    }
}
