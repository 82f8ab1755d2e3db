//! The admin API: lists sessions, ends one, begins a drain, reloads, drops the stored answers.
//!
//! `guard` lets only those requests through that may do so: the monitoring listener passes on those that read, and only where it
//! shows clients those for sessions.

use crate::control::admin::guard::{self, Guard};
use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState};
use crate::control::process::worker_query::{PAGE_MAX, WorkerQueries, WorkerTimeout};
use crate::control::signals::ControlEvent;
use crate::proto::red5::role::Role;
use crate::shared::session_id::{InvalidSessionId, SessionId};
use crate::worker::SessionSnapshot;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The routes of the API, below `/api/`; the status and the pages are in `pages`.
pub(crate) fn routes(guard: &Guard) -> Router<Arc<ProcessState>> {
    // what shows sessions or addresses of clients
    let of_clients = Router::new()
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{id}", delete(kick))
        .route_layer(from_fn_with_state(guard.clone(), guard::guard_clients));
    Router::new()
        .merge(of_clients)
        .route("/api/drain", post(drain))
        .route("/api/reload", post(reload))
        .route("/api/answers", delete(forget_answers))
}

/// A refused request: its status, and the text of `error` in its JSON body.
struct ApiError(StatusCode, Cow<'static, str>);

impl ApiError {
    fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self(status, text.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<WorkerTimeout> for ApiError {
    fn from(_: WorkerTimeout) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "a worker is unresponsive; see /livez and the log")
    }
}

/// What asks the workers; fails before they are started.
fn worker_queries(state: &ProcessState) -> Result<&WorkerQueries, ApiError> {
    let not_started = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the workers are not started yet");
    state.worker_queries.get().ok_or_else(not_started)
}

/// The query of `GET /api/sessions`.
#[derive(Debug, Deserialize)]
struct PageQuery {
    /// The id that stands before the first one of the page.
    after: Option<String>,
    /// Most sessions on the page.
    limit: Option<usize>,
}

/// A page of sessions in the order of their ids. `next` is the `after` of the next page, and null on the last one.
async fn sessions(
    State(state): State<Arc<ProcessState>>,
    Query(query): Query<PageQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        let text = format!("limit: expected a whole number from 1 to {PAGE_MAX}, found {limit}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, text));
    }
    let after = query.after.as_deref().map(str::parse::<SessionId>).transpose();
    let after = after.map_err(|InvalidSessionId| {
        let text = "after: expected a session id, sixteen hexadecimal digits";
        ApiError::new(StatusCode::BAD_REQUEST, text)
    })?;
    let page = worker_queries(&state)?.sessions(after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|session| session.id.to_string());
    let sessions = page.iter().map(to_json).collect::<Vec<_>>();
    Ok(Json(json!({ "active": state.sessions(), "sessions": sessions, "next": next })).into_response())
}

/// One session as the list shows it. Frames and bytes are counted by the side that sent them.
fn to_json(session: &SessionSnapshot) -> Value {
    let sides = |of: [u64; 2]| json!({ "client": of[0], "node": of[1] });
    json!({
        "id": session.id.to_string(),
        "route": session.activity.word(),
        "role": session.activity.role().map(Role::word),
        "state": session.state.word(),
        "app": session.app,
        "stream": session.stream,
        "client": session.peer.to_string(),
        "node": session.node.map(|node| node.to_string()),
        "worker": session.worker,
        "age_seconds": session.age as f64 / 1e3,
        "idle_seconds": session.idle as f64 / 1e3,
        "frames": sides(session.frames),
        "bytes": sides(session.bytes),
    })
}

/// Ends one session.
async fn kick(State(state): State<Arc<ProcessState>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let is_known = match id.parse() {
        Ok(id) => worker_queries(&state)?.kick(id).await?,
        Err(InvalidSessionId) => false,
    };
    if !is_known {
        let text = "no such session; `tidegate sessions` lists those that are open";
        return Err(ApiError::new(StatusCode::NOT_FOUND, text));
    }
    tracing::info!(session = id, "session kicked through the admin API");
    Ok(Json(json!({ "kicked": id })).into_response())
}

/// Begins a drain. If the process drains already, nothing changes.
async fn drain(State(state): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    if let Some(pid) = state.successor.get().filter(|_| state.phase.get() == Phase::Serving) {
        // a connection from before the hand-over: its client means the process that serves
        let text = format!("process {pid} serves since now; ask again");
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    let supervisor = state.events.get().filter(|events| {
        // now, and not when the supervisor wakes: the answer already has the new phase
        state.phase.advance(Phase::Draining);
        events.send(ControlEvent::Drain).is_ok()
    });
    if supervisor.is_none() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "shutdown already in progress"));
    }
    let window = state.served().config.gateway.drain.as_secs_f64();
    let answer =
        json!({ "phase": state.phase.get().word(), "sessions": state.sessions(), "window_seconds": window });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Reloads, and answers with the report once every worker uses the new revision or the reload was refused.
async fn reload(State(state): State<Arc<ProcessState>>) -> Response {
    let (request, report) = ReloadRequest::by_admin();
    state.request_reload(request);
    let Ok(report) = report.await else {
        let text = json!({ "error": "the gateway is not serving", "problems": [] });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(text)).into_response();
    };
    let status = match &report.outcome {
        Ok(_) => StatusCode::OK,
        Err(_) if state.phase.get() != Phase::Serving || state.successor.get().is_some() => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Json(report.to_json())).into_response()
}

/// Drops all stored answers; the next question for each is asked again.
async fn forget_answers(State(state): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    let forgotten = worker_queries(&state)?.forget_answers();
    tracing::info!(forgotten, "stored answers dropped through the admin API");
    Ok(Json(json!({ "forgotten": forgotten })).into_response())
}
