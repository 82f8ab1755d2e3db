//! The admin API: what an operator can do with the gateway. Sessions are in `sessions`.
//!
//! `guard` lets only those requests through that may do so: the monitoring listener passes on those that read, and only where it
//! shows clients those for sessions.

use crate::control::admin::api_error::ApiError;
use crate::control::admin::guard::{self, Guard};
use crate::control::admin::nodes;
use crate::control::admin::sessions::{self, worker_queries};
use crate::control::process::reload_report::ReloadRequest;
use crate::control::process::state::{Phase, ProcessState};
use crate::control::signals::{ControlEvent, Reply};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use futures_channel::oneshot;
use serde_json::json;
use std::sync::Arc;

/// The routes of the API, below `/api/`; the status and the pages are in `pages`.
pub(crate) fn routes(guard: &Guard) -> Router<Arc<ProcessState>> {
    // what shows sessions or addresses of clients
    let of_clients = Router::new()
        .route("/api/sessions", get(sessions::open))
        .route("/api/sessions/{id}", get(sessions::explained).delete(sessions::kick))
        .route("/api/ends", get(sessions::ended))
        .route_layer(from_fn_with_state(guard.clone(), guard::guard_clients));
    Router::new()
        .merge(of_clients)
        .route("/api/nodes", get(nodes::list))
        .route("/api/drain", post(drain).delete(undo_drain))
        .route("/api/upgrade", post(upgrade))
        .route("/api/reload", post(reload))
        .route("/api/answers", delete(forget_answers))
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
    let answer = json!({
        "phase": state.phase.get().word(),
        "pid": std::process::id(),
        "sessions": state.sessions(),
        "window_seconds": window,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Sends the supervisor a request and waits for its outcome. Fails with the supervisor's reason (409), or if the process ends.
async fn ask_supervisor<T>(
    state: &ProcessState,
    event: impl FnOnce(Reply<T>) -> ControlEvent,
) -> Result<T, ApiError> {
    let ends = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "shutdown already in progress");
    let (reply, outcome) = oneshot::channel();
    let events = state.events.get().ok_or_else(ends)?;
    events.send(event(reply)).map_err(|_| ends())?;
    outcome.await.map_err(|_| ends())?.map_err(|why| ApiError::new(StatusCode::CONFLICT, why))
}

/// Takes back a drain that was begun here, and answers once the workers accept again.
async fn undo_drain(State(state): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    ask_supervisor(&state, ControlEvent::UndoDrain).await?;
    let answer = json!({ "phase": state.phase.get().word(), "sessions": state.sessions() });
    Ok(Json(answer).into_response())
}

/// Hands the listeners to a new process, and answers once that one is in charge or has failed.
async fn upgrade(State(state): State<Arc<ProcessState>>) -> Result<Response, ApiError> {
    let pid = ask_supervisor(&state, |reply| ControlEvent::HandOver(Some(reply))).await?;
    let keeps = state.served().config.gateway.upgrade_drain.as_secs_f64();
    let answer = json!({
        "pid": pid,
        "former_pid": std::process::id(),
        "sessions": state.sessions(),
        "window_seconds": keeps,
    });
    Ok(Json(answer).into_response())
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
