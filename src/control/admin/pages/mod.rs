//! The pages of the listeners for operators: metrics for monitoring, health for load balancers and systemd, a status page for people.
//!
//! Every request passes `guard` first. The pages are served on the control thread, so a client that reads slowly here never
//! delays a session.

use crate::control::admin::events::{self, Ending};
use crate::control::admin::guard::{self, Guard};
use crate::control::admin::recorder::Recorder;
use crate::control::admin::{api, status};
use crate::control::process::facts;
use crate::control::process::state::{Phase, ProcessState};
use crate::metrics::page::{self, Dialect};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use rustls::crypto::aws_lc_rs;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

/// The status page; `{nonce}` stands where each answer has its own random number, `{access}` for what the page may do.
static STATUS_PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = [
        include_str!("words.js"),
        include_str!("charts.js"),
        include_str!("tables.js"),
        include_str!("sessions.js"),
        include_str!("live.js"),
    ];
    include_str!("page.html")
        .replace("/*{style}*/", include_str!("style.css"))
        .replace("/*{script}*/", &script.concat())
});

/// All routes of a listener. `guard` knows which of the two it is, and refuses what is not for it. Streams of what `recorder` has
/// end with `ending`.
pub(crate) fn router(guard: Guard, recorder: Arc<Recorder>, ending: Ending) -> Router {
    let state = Arc::clone(&guard.state);
    Router::new()
        .route("/", get(status_page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/events", get(events::stream))
        .merge(api::routes(&guard))
        .layer(Extension(guard.clone()))
        .layer(from_fn_with_state(guard, guard::guard))
        .layer(from_fn(add_security_fields))
        .layer(Extension(recorder))
        .layer(Extension(ending))
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
async fn status_page(Extension(guard): Extension<Guard>) -> Response {
    let mut bytes = [0; 16];
    if aws_lc_rs::default_provider().secure_random.fill(&mut bytes).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let page = STATUS_PAGE.replace("{nonce}", &nonce).replace("{access}", guard.access());
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
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

/// `/api/status`: the state of the process as JSON.
async fn status(State(state): State<Arc<ProcessState>>) -> Json<Value> {
    Json(status::to_json(&state))
}

#[cfg(test)]
mod tests;
