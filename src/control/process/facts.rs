//! What `/metrics` shows beside the counters of the workers.

use crate::config::{Limits, Rate};
use crate::control::log_queue;
use crate::control::process::process_stats::process_stats;
use crate::control::process::state::{GatewayCounts, Phase, ProcessState};
use crate::control::process::worker_query::WorkerQueries;
use crate::control::start::certs;
use crate::metrics::page::Facts;
use crate::metrics::state::{Limit, ProcessFacts, Reload};

/// Collects what `/metrics` shows now.
pub fn collect(state: &ProcessState) -> Facts {
    let served = state.served();
    let counts = state.gateway_counts.get().map_or_else(GatewayCounts::default, |counts| counts());
    let phase = state.phase.get();
    let successful = state.last_reload.load().as_deref().is_none_or(|report| report.outcome.is_ok());
    let about_process = ProcessFacts {
        phases: Phase::ALL.iter().map(|one| (one.word(), *one == phase)).collect(),
        reload: Reload { successful, success_seconds: state.loaded_at() },
        limits: limits(&served.config.limits, &counts),
        certificates: served.certificates.iter().map(certificate).collect(),
    };
    Facts {
        driver: state.driver().to_owned(),
        whip_sessions: state.worker_queries.get().map(WorkerQueries::whip_sessions).unwrap_or_default(),
        revision: served.revision,
        process: process_stats(state.started_at),
        log_lines_lost: log_queue::lost_lines(),
        managers: state.managers.metrics(),
        admin_cuts: state.admin_cuts.counted(),
        state: about_process,
        spans: counts.spans,
        nodes: counts.nodes,
    }
}

fn limits(limits: &Limits, counts: &GatewayCounts) -> Vec<Limit> {
    let count = |count: Option<usize>| count.map(|count| count as f64);
    let rate = |rate: Option<Rate>| rate.map(|rate| f64::from(rate.count) / rate.per.as_secs_f64());
    let used = |used: usize| Some(used as f64);
    vec![
        Limit { key: "sessions", most: count(limits.sessions), used: used(counts.sessions) },
        Limit { key: "handshakes", most: count(limits.handshakes), used: used(counts.handshakes) },
        Limit { key: "sessions_per_ip", most: count(limits.sessions_per_ip), used: None },
        Limit { key: "new_per_ip", most: rate(limits.new_per_ip), used: None },
        Limit { key: "requests_per_ip", most: rate(limits.requests_per_ip), used: None },
    ]
}

/// The first name of a certificate, or its file where it has no name, and the end of its validity.
fn certificate(facts: &certs::Facts) -> (String, i64) {
    let file =
        || facts.chain.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    (facts.names.first().cloned().unwrap_or_else(file), facts.not_after)
}
