//! The status of the process: what `/api/status` tells, and the status page with each sample.

use crate::control::admin::totals;
use crate::control::process::acme_status::NameStatus;
use crate::control::process::reload_report::ReloadReport;
use crate::control::process::state::{DrainReport, ProcessState};
use crate::control::start::certs;
use crate::metrics::page::session_kinds;
use crate::metrics::{AnswerOutcome, Counter, WorkerMetrics};
use crate::proto::websocket::relay::By;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The state of the process as JSON, as `/api/status` has it for the status page and `tidegate status`.
pub(crate) fn to_json(state: &ProcessState) -> Value {
    let served = state.served();
    let sum = |of: &dyn Fn(&WorkerMetrics) -> &Counter| -> u64 {
        state.metrics.iter().map(|worker| of(worker).get()).sum()
    };
    let mut sessions = json!({ "active": state.sessions() });
    for (route, role) in session_kinds() {
        let total = sum(&|worker| &worker.sessions_total[route as usize][role as usize]);
        sessions[route.word()][role.word()] =
            json!({ "active": state.active_sessions(route, role), "total": total });
    }
    sessions["http"] = state.metrics.iter().map(|worker| worker.http_connections.get()).sum::<i64>().into();
    let mut answers = json!({ "stored": state.stored_answers.get().map_or(0, |stored| stored()) });
    for outcome in AnswerOutcome::ALL {
        answers[outcome.word()] = sum(&|worker| &worker.answers[*outcome as usize]).into();
    }
    let mut ends = json!({});
    for by in By::ALL {
        let all = state.metrics.iter().flat_map(|worker| &worker.ends[by as usize]);
        ends[by.word()] = all.map(Counter::get).sum::<u64>().into();
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": state.phase.get().word(),
        "revision": served.revision,
        "drain": state.drain.load().as_deref().map(DrainReport::to_json),
        "needs_restart": served.needs_restart,
        "reload": state.last_reload.load().as_deref().map(ReloadReport::to_json),
        "driver": state.driver(),
        "driver_reason": state.driver_reason.get(),
        "uptime_seconds": state.started.elapsed().as_secs(),
        "listening": state.listening,
        "connections": state.connections(),
        "sessions": sessions,
        "answers": answers,
        "ends": ends,
        "bytes": sum(&|worker| &worker.bytes[0]) + sum(&|worker| &worker.bytes[1]),
        "frames": sum(&|worker| &worker.frames[0]) + sum(&|worker| &worker.frames[1]),
        "panics": sum(&|worker| &worker.panics),
        "workers": state.metrics.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "certificates": certificates(&served.certificates, &state.acme.names()),
        "managers": state.managers.to_json(),
        "totals": totals::of(state),
    })
}

fn worker((index, worker): (usize, &Arc<WorkerMetrics>)) -> Value {
    json!({
        "index": index,
        "sessions": worker.sessions(),
        "connections": worker.connections.get(),
        "heartbeat": worker.heartbeat.get(),
        "loop_lag_seconds": worker.loop_lag_micros.get() as f64 / 1e6,
        "buffers_lent_bytes": worker.buffers_lent_bytes.get(),
    })
}

/// Certificates that are served, then names that have none yet. One by ACME has the state of its orders in `acme`.
fn certificates(served: &[certs::Facts], ordered: &[NameStatus]) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let status_of = |facts: &certs::Facts| {
        ordered.iter().find(|status| facts.by_acme && facts.names.contains(&status.name))
    };
    let one = |facts: &certs::Facts| {
        json!({
            "names": facts.names,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "days_left": (facts.not_after - now).div_euclid(86_400),
            "acme": status_of(facts).map(orders),
        })
    };
    let is_served =
        |status: &NameStatus| served.iter().any(|facts| facts.by_acme && facts.names.contains(&status.name));
    let missing = ordered.iter().filter(|status| !is_served(status)).map(|status| {
        json!({
            "names": [status.name],
            "not_before": null,
            "not_after": null,
            "days_left": null,
            "acme": orders(status),
        })
    });
    served.iter().map(one).chain(missing).collect()
}

fn orders(status: &NameStatus) -> Value {
    json!({
        "state": status.state.word(),
        "error": status.error,
        "error_at": status.error_at,
        "next_attempt": status.next_attempt,
        "renew_at": status.renew_at,
    })
}
