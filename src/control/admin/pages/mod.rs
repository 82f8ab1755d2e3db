//! The admin listener: metrics for monitoring, health for load balancers, a status page for people.
//!
//! What changes something passes `admin_guard` first. It runs on the control thread, so a slow reader here never costs
//! a session anything.

use crate::control::admin::{api, guard};
use crate::control::process::process_stats::process_stats;
use crate::control::process::reload_report::ReloadReport;
use crate::control::process::state::{Phase, ProcessState};
use crate::metrics::page;
use crate::metrics::page::{Dialect, Facts};
use crate::metrics::{AnswerOutcome, Counter, Route, WorkerMetrics};
use crate::proto::websocket::relay::By;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const PAGE: &str = include_str!("page.html");

/// Everything the listener answers. With an address only requests that name it are answered; a socket file is out of
/// reach of web pages anyway.
pub(crate) fn router(shared: Arc<ProcessState>, address: Option<SocketAddr>) -> Router {
    Router::new()
        .route("/", get(people))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/api/status", get(status))
        .merge(api::routes())
        .layer(from_fn_with_state(address, guard::guard))
        .layer(from_fn(harden))
        .with_state(shared)
}

/// Fields that every answer carries.
async fn harden(request: Request, next: Next) -> Response {
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

/// The page for people. Its script and style run by a number used once.
async fn people() -> Response {
    let mut bytes = [0; 16];
    if aws_lc_rs::default_provider().secure_random.fill(&mut bytes).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE.replace("{nonce}", &nonce))).into_response()
}

async fn metrics(State(shared): State<Arc<ProcessState>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let dialect = Dialect::accepted(accept);
    let facts = Facts {
        driver: shared.driver().to_owned(),
        revision: shared.served().revision,
        process: process_stats(shared.started_at),
    };
    let page = page::write(&shared.metrics, &facts, dialect);
    ([(header::CONTENT_TYPE, dialect.content_type())], page).into_response()
}

/// Whether the process goes round; if not, only a new start helps.
async fn live(State(shared): State<Arc<ProcessState>>) -> (StatusCode, String) {
    match shared.metrics.iter().position(|worker| worker.stands_still.get() > 0) {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(worker) => (StatusCode::SERVICE_UNAVAILABLE, format!("worker {worker} stands still\n")),
    }
}

/// Whether a load balancer may send clients here.
async fn ready(State(shared): State<Arc<ProcessState>>) -> (StatusCode, String) {
    let phase = shared.phase.get();
    let code = if phase == Phase::Serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", phase.word()))
}

async fn status(State(shared): State<Arc<ProcessState>>) -> Json<Value> {
    let served = shared.served();
    let sum = |of: &dyn Fn(&WorkerMetrics) -> &Counter| -> u64 {
        shared.metrics.iter().map(|worker| of(worker).get()).sum()
    };
    let mut sessions = json!({ "active": shared.sessions() });
    for route in Route::ALL {
        let active =
            shared.metrics.iter().map(|worker| worker.sessions_active[*route as usize].get()).sum::<i64>();
        let total = sum(&|worker| &worker.sessions_total[*route as usize]);
        sessions[route.word()] = json!({ "active": active, "total": total });
    }
    let mut answers = json!({ "stored": shared.stored_answers.get().map_or(0, |stored| stored()) });
    for outcome in AnswerOutcome::ALL {
        answers[outcome.word()] = sum(&|worker| &worker.answers[*outcome as usize]).into();
    }
    let mut ends = json!({});
    for by in By::ALL {
        let all = shared.metrics.iter().flat_map(|worker| &worker.ends[by as usize]);
        ends[by.word()] = all.map(Counter::get).sum::<u64>().into();
    }
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "phase": shared.phase.get().word(),
        "revision": served.revision,
        "needs_restart": served.needs_restart,
        "reload": shared.last_reload.load().as_deref().map(ReloadReport::to_json),
        "driver": shared.driver(),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "listening": shared.listening,
        "connections": shared.connections(),
        "sessions": sessions,
        "answers": answers,
        "ends": ends,
        "bytes": sum(&|worker| &worker.bytes[0]) + sum(&|worker| &worker.bytes[1]),
        "frames": sum(&|worker| &worker.frames[0]) + sum(&|worker| &worker.frames[1]),
        "panics": sum(&|worker| &worker.panics),
        "workers": shared.metrics.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "certificates": certificates(&served.certificates),
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

fn certificates(certificates: &[crate::control::start::certs::Facts]) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let one = |facts: &crate::control::start::certs::Facts| {
        json!({
            "names": facts.names,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "days_left": (facts.not_after - now).div_euclid(86_400),
        })
    };
    certificates.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
