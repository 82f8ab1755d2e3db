//! What the admin API tells of the nodes.

use crate::harness::{Reply, Request, TestBed};
use serde_json::Value;

/// The nodes, as the monitoring listener shows them.
fn nodes(bed: &TestBed) -> Vec<Value> {
    let answer = bed.gateway.monitoring_get("/api/nodes");
    assert_eq!(answer.status(), 200);
    answer.json()["nodes"].as_array().expect("a list").clone()
}

/// The row of the n-th node.
#[track_caller]
fn row(bed: &TestBed, n: u8) -> Value {
    let (name, all) = (bed.ip(n).to_string(), nodes(bed));
    let row = all.iter().find(|row| row["node"] == name.as_str()).cloned();
    row.unwrap_or_else(|| panic!("no row for {name} in {all:?}"))
}

#[test]
fn a_list_of_nodes_tells_which_serve_which_fail_and_which_are_only_known() {
    let bed = TestBed::with(|config, _| config.set("origins.quarantine", "60s"));
    assert_eq!(nodes(&bed), [Value::Null; 0]);
    let listener = bed.node(1);
    let relay = bed.relay(&listener);
    bed.exchange(&Request::upgrade(&bed.websocket_target(2))).assert_refusal(502, "origin_refused");
    bed.manager.answer("/named?", Reply::node(bed.ip(3)));
    assert_eq!(bed.get("/streammanager/api/4.0/event/live/named?action=broadcast").status(), 200);

    let serving = row(&bed, 1);
    assert_eq!(
        (&serving["sessions"], &serving["dials"], &serving["failed"]),
        (&1.into(), &1.into(), &0.into())
    );
    assert!(serving["dial_ms"]["p50"].as_f64().is_some_and(|ms| ms > 0.0), "{serving}");
    assert_eq!((&serving["quarantined_seconds"], &serving["last_fault"]), (&Value::Null, &Value::Null));

    let failing = row(&bed, 2);
    assert_eq!((&failing["sessions"], &failing["failures"]["refused"]), (&0.into(), &1.into()));
    let left = failing["quarantined_seconds"].as_f64().expect("it is in quarantine");
    assert!((1.0..=60.0).contains(&left), "{failing}");
    let fault = &failing["last_fault"];
    assert!(
        fault["failing"] == true && fault["seconds_ago"].as_f64().is_some_and(|ago| ago < 30.0),
        "{failing}"
    );
    assert!(fault["text"].as_str().is_some_and(|text| text.contains("refused")), "{failing}");

    let named = row(&bed, 3);
    assert_eq!((&named["dials"], &named["dial_ms"]["p95"]), (&0.into(), &Value::Null));
    assert!(named["learned_seconds"].as_f64().is_some_and(|left| left > 1.0), "{named}");
    drop(relay);
}
