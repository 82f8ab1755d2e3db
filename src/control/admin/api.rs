//! What the admin listener says of sessions, and what it does at somebody's word: end one, drain, forget the answers.
//!
//! Whoever reaches the listener may do these things; what keeps pages in the operator's browser out is `admin_guard`.

use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState};
use crate::control::process::worker_query::{PAGE_MAX, WorkerQueries, WorkerTimeout};
use crate::control::signals::ControlEvent;
use crate::shared::session_id::{InvalidSessionId, SessionId};
use crate::worker::SessionSnapshot;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The routes of this file.
pub(crate) fn routes() -> Router<Arc<ProcessState>> {
    Router::new()
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{id}", delete(kick))
        .route("/api/drain", post(drain))
        .route("/api/reload", post(reload))
        .route("/api/answers", delete(forget))
}

/// Why something is not done.
struct ApiError(StatusCode, &'static str);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<WorkerTimeout> for ApiError {
    fn from(_: WorkerTimeout) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer")
    }
}

/// Asks the workers, if they are there.
fn worker_queries(shared: &ProcessState) -> Result<&WorkerQueries, ApiError> {
    shared
        .worker_queries
        .get()
        .ok_or(ApiError(StatusCode::SERVICE_UNAVAILABLE, "the workers are not started yet"))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    after: Option<String>,
    limit: Option<usize>,
}

/// Sessions by id; `next` is where the next page begins, if there is one.
async fn sessions(
    State(shared): State<Arc<ProcessState>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    let limit = wanted.limit.unwrap_or(PAGE_MAX);
    let after = wanted.after.as_deref().map(str::parse::<SessionId>).transpose();
    let (Ok(after), true) = (after, (1..=PAGE_MAX).contains(&limit)) else {
        return Err(ApiError(
            StatusCode::BAD_REQUEST,
            "after is a session's id, and limit a number from 1 to 1000",
        ));
    };
    let rows = worker_queries(&shared)?.sessions(after, limit).await?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.to_string());
    let rows = rows.iter().map(row).collect::<Vec<_>>();
    Ok(Json(json!({ "active": shared.sessions(), "sessions": rows, "next": next })).into_response())
}

fn row(row: &SessionSnapshot) -> Value {
    let sides = |of: [u64; 2]| json!({ "client": of[0], "node": of[1] });
    json!({
        "id": row.id.to_string(),
        "route": row.route.word(),
        "state": row.state.word(),
        "app": row.app,
        "stream": row.stream,
        "client": row.peer.to_string(),
        "node": row.node.map(|node| node.to_string()),
        "worker": row.worker,
        "age_seconds": row.age as f64 / 1e3,
        "idle_seconds": row.idle as f64 / 1e3,
        "frames": sides(row.frames),
        "bytes": sides(row.bytes),
    })
}

async fn kick(State(shared): State<Arc<ProcessState>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let known = match id.parse() {
        Ok(id) => worker_queries(&shared)?.kick(id).await?,
        Err(InvalidSessionId) => false,
    };
    if !known {
        return Err(ApiError(StatusCode::NOT_FOUND, "there is no such session"));
    }
    tracing::info!(session = id, "kicked at the admin listener's word");
    Ok(Json(json!({ "kicked": id })).into_response())
}

/// Begins a drain, or goes on with the one that began.
async fn drain(State(shared): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    let supervisor = shared.events.get().filter(|events| {
        // from this moment on, not from when the supervisor wakes
        shared.phase.advance(Phase::Draining);
        events.send(ControlEvent::Drain).is_ok()
    });
    if supervisor.is_none() {
        return Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, "it ends already"));
    }
    let window = shared.served().config.gateway.drain.as_secs_f64();
    let begun = json!({ "phase": shared.phase.get().word(), "sessions": shared.sessions(), "window_seconds": window });
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

/// Answers when the reload is done, or why it is not.
async fn reload(State(shared): State<Arc<ProcessState>>) -> Response {
    let (request, report) = ReloadRequest::by_admin();
    shared.request_reload(request);
    let Ok(report) = report.await else {
        let text = json!({ "error": "the gateway is not serving", "problems": [] });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(text)).into_response();
    };
    let status = match &report.outcome {
        Ok(_) => StatusCode::OK,
        Err(_) if shared.phase.get() != Phase::Serving => StatusCode::SERVICE_UNAVAILABLE,
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(report.to_json())).into_response()
}

async fn forget(State(shared): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    let forgotten = worker_queries(&shared)?.forget_answers();
    tracing::info!(forgotten, "stored answers forgotten at the admin listener's word");
    Ok(Json(json!({ "forgotten": forgotten })).into_response())
}
