//! The pages of the listeners for operators: metrics for monitoring, health for load balancers and systemd, a status page for people.
//!
//! Every request passes `guard` first. The pages are served on the control thread, so a client that reads slowly here never
//! delays a session.

use crate::control::admin::api;
use crate::control::admin::guard::{self, Guard};
use crate::control::process::acme_status::NameStatus;
use crate::control::process::facts;
use crate::control::process::reload_report::ReloadReport;
use crate::control::process::state::{DrainReport, Phase, ProcessState};
use crate::control::start::certs;
use crate::metrics::page::{self, Dialect, Page, session_kinds};
use crate::metrics::{AnswerOutcome, Counter, WorkerMetrics};
use crate::proto::websocket::relay::By;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The status page; `{nonce}` stands where each answer has its own random number.
const STATUS_PAGE: &str = include_str!("page.html");

/// All routes of a listener. `guard` knows which of the two it is, and refuses what is not for it.
pub(crate) fn router(guard: Guard) -> Router {
    let state = Arc::clone(&guard.state);
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .merge(api::routes(&guard))
        .layer(from_fn_with_state(guard, guard::guard))
        .layer(from_fn(add_security_fields))
        .with_state(state)
}

/// Adds to every answer the fields that keep browsers from storing, framing or reinterpreting it.
async fn add_security_fields(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fields = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
        .headers_mut()
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

/// The status page for people. Its own script and style are allowed by a random number that each answer has anew (CSP nonce);
/// no other script runs.
async fn status_page() -> Response {
    let mut bytes = [0; 16];
    if aws_lc_rs::default_provider().secure_random.fill(&mut bytes).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(STATUS_PAGE.replace("{nonce}", &nonce)))
        .into_response()
}

/// `/metrics`: the counters of all workers, in the format that the client accepts.
async fn metrics(State(state): State<Arc<ProcessState>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let dialect = Dialect::accepted(accept);
    let facts = facts::collect(&state);
    let page = page::write(&state.metrics, &facts, dialect);
    ([(header::CONTENT_TYPE, dialect.content_type())], page).into_response()
}

/// `/livez`: 200 while all workers respond, 503 while one is unresponsive. Then only a restart helps.
async fn livez(State(state): State<Arc<ProcessState>>) -> (StatusCode, String) {
    match state.metrics.iter().position(|worker| worker.unresponsive.get() > 0) {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(worker) => (StatusCode::SERVICE_UNAVAILABLE, format!("worker {worker} is unresponsive\n")),
    }
}

/// `/readyz`: 200 while a load balancer may send clients here, 503 otherwise; the body is the phase, or that no stream manager
/// answers for longer than `monitoring.ready_without_manager`.
async fn readyz(State(state): State<Arc<ProcessState>>) -> (StatusCode, String) {
    let phase = state.phase.get();
    let limit = state.served().config.monitoring.ready_without_manager;
    let is_over = limit.is_some_and(|limit| state.managers.gone_for().is_some_and(|gone| gone >= limit));
    if phase == Phase::Serving && is_over {
        return (StatusCode::SERVICE_UNAVAILABLE, "no stream manager\n".to_owned());
    }
    let code = if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", phase.word()))
}

/// `/api/status`: the state of the process as JSON, as the status page and `tidegate status` read it.
async fn status(State(state): State<Arc<ProcessState>>) -> Json<Value> {
    let served = state.served();
    let sum = |of: &dyn Fn(&WorkerMetrics) -> &Counter| -> u64 {
        state.metrics.iter().map(|worker| of(worker).get()).sum()
    };
    let mut sessions = json!({ "active": state.sessions() });
    let page = Page { workers: state.metrics.clone(), facts: facts::collect(&state) };
    for (route, role) in session_kinds() {
        let total = sum(&|worker| &worker.sessions_total[route as usize][role as usize]);
        sessions[route.word()][role.word()] =
            json!({ "active": page.active_sessions(route, role), "total": total });
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
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": state.phase.get().word(),
        "revision": served.revision,
        "drain": state.drain.load().as_deref().map(DrainReport::to_json),
        "needs_restart": served.needs_restart,
        "reload": state.last_reload.load().as_deref().map(ReloadReport::to_json),
        "driver": state.driver(),
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
    }))
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

#[cfg(test)]
mod tests;
