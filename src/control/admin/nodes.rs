//! The nodes in the admin API: what is known of each.

use crate::control::admin::api_error::ApiError;
use crate::control::admin::sessions::worker_queries;
use crate::control::process::state::ProcessState;
use crate::metrics::nodes::{NodeMetrics, OTHER_NODES};
use crate::shared::node_list::NodeFacts;
use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `/api/nodes`: the nodes in the order of their addresses; last a row `other` for those that are counted together, if there
/// are any. `left_out` counts those beyond the longest list.
pub(crate) async fn list(State(state): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    let list = worker_queries(&state)?.nodes();
    let now = Instant::now();
    let mut rows: Vec<_> =
        list.nodes.iter().map(|(node, facts)| row(&node.to_string(), facts, now)).collect();
    if let Some(other) = list.other.filter(|other| other.dials() > 0 || other.sessions() != 0) {
        rows.push(row(OTHER_NODES, &NodeFacts { metrics: Some(other), ..NodeFacts::default() }, now));
    }
    Ok(Json(json!({ "nodes": rows, "left_out": list.left_out })).into_response())
}

/// One node. Its dials are counted since the process began, or since the node became one of the busiest.
fn row(node: &str, facts: &NodeFacts, now: Instant) -> Value {
    let seconds = |left: Option<Duration>| left.map(|left| left.as_secs_f64());
    let metrics = facts.metrics.as_deref();
    let milliseconds =
        |part: f64| metrics.and_then(|metrics| metrics.dial_quantile_micros(part)).map(|micros| micros / 1e3);
    let failures: Map<String, Value> = metrics.map_or_else(Map::new, failures);
    let fault = facts.fault.map(|fault| {
        json!({
            "text": fault.text,
            "address": fault.node.to_string(),
            "seconds_ago": now.saturating_duration_since(fault.at).as_secs_f64(),
            "failing": fault.is_failing,
        })
    });
    json!({
        "node": node,
        "sessions": metrics.map_or(0, NodeMetrics::sessions),
        "dials": metrics.map_or(0, NodeMetrics::dials),
        "failed": metrics.map_or(0, NodeMetrics::failures),
        "failures": failures,
        "dial_ms": { "p50": milliseconds(0.5), "p95": milliseconds(0.95) },
        "quarantined_seconds": seconds(facts.quarantined),
        "learned_seconds": seconds(facts.learned),
        "last_fault": fault,
    })
}

/// The failures by outcome, without outcomes that have not happened.
fn failures(metrics: &NodeMetrics) -> Map<String, Value> {
    let happened = metrics.failures_by_outcome().filter(|(_, count)| *count > 0);
    happened.map(|(outcome, count)| (outcome.word().to_owned(), count.into())).collect()
}
