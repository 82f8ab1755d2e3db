//! The sessions in the admin API: lists of those that are open and of those that have ended, what happened in one, and its end
//! by the operator.

use crate::control::admin::api_error::ApiError;
use crate::control::admin::why;
use crate::control::process::state::ProcessState;
use crate::control::process::worker_query::{Kicked, PAGE_MAX, WorkerQueries};
use crate::proto::red5::role::Role;
use crate::shared::session_id::{InvalidSessionId, SessionId};
use crate::worker::{PageQuery, SessionFilter, SessionSnapshot};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// What asks the workers; fails before they are started.
pub(crate) fn worker_queries(state: &ProcessState) -> Result<&WorkerQueries, ApiError> {
    let not_started = || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the workers are not started yet");
    state.worker_queries.get().ok_or_else(not_started)
}

/// The query of the lists of sessions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// The id that stands before the first one of the page; for open sessions only.
    after: Option<String>,
    /// Most sessions on the page.
    limit: Option<usize>,
    app: Option<String>,
    stream: Option<String>,
    node: Option<String>,
    client: Option<String>,
    role: Option<String>,
    route: Option<String>,
}

/// The words for `route`.
const ROUTES: [&str; 5] = ["two_step", "one_step", "whip", "whep", "http"];

impl ListQuery {
    fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or(PAGE_MAX) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            limit => {
                Err(invalid(format!("limit: expected a whole number from 1 to {PAGE_MAX}, found {limit}")))
            }
        }
    }

    fn filter(&self) -> Result<SessionFilter, ApiError> {
        let address = |name: &str, text: &Option<String>| -> Result<Option<IpAddr>, ApiError> {
            let read = text.as_deref().map(str::parse::<IpAddr>).transpose();
            read.map_err(|_| invalid(format!("{name}: expected an IP address without a port")))
        };
        let role = match self.role.as_deref() {
            None => None,
            Some(word) => Some(
                Role::from_word(word)
                    .ok_or_else(|| invalid("role: expected publisher or subscriber".to_owned()))?,
            ),
        };
        if self.route.as_deref().is_some_and(|route| !ROUTES.contains(&route)) {
            return Err(invalid(format!("route: expected one of {}", ROUTES.join(", "))));
        }
        Ok(SessionFilter {
            app: self.app.clone(),
            stream: self.stream.clone(),
            node: address("node", &self.node)?,
            client: address("client", &self.client)?,
            role,
            route: self.route.clone(),
        })
    }
}

fn invalid(text: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, text)
}

/// A page of open sessions in the order of their ids. `next` is the `after` of the next page, and null on the last one. A page
/// may have fewer sessions than asked for, or none, and still a next one.
pub(crate) async fn open(
    State(state): State<Arc<ProcessState>>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let after = query.after.as_deref().map(str::parse::<SessionId>).transpose();
    let after = after.map_err(|InvalidSessionId| {
        invalid("after: expected a session id, sixteen hexadecimal digits".to_owned())
    })?;
    let query = PageQuery { after, limit: query.limit()?, filter: query.filter()? };
    let page = worker_queries(&state)?.sessions(query).await?;
    let sessions = page.rows.iter().map(row).collect::<Vec<_>>();
    let next = page.seen_to.map(|id| id.to_string());
    Ok(Json(json!({ "active": state.sessions(), "sessions": sessions, "next": next })).into_response())
}

/// Sessions that have ended, the last ones first.
pub(crate) async fn ended(
    State(state): State<Arc<ProcessState>>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let all = worker_queries(&state)?.ended(query.filter()?, query.limit()?).await?;
    Ok(Json(json!({ "sessions": all.iter().map(why::ended).collect::<Vec<_>>() })).into_response())
}

/// What happened in a session that is open, or is one of the last tens of thousands that have ended.
pub(crate) async fn explained(
    State(state): State<Arc<ProcessState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let unknown = || {
        let text = "no such session; it is none of this process, or too many have ended since";
        ApiError::new(StatusCode::NOT_FOUND, text)
    };
    let id = id.parse().map_err(|InvalidSessionId| unknown())?;
    let found = worker_queries(&state)?.find(id).await?.ok_or_else(unknown)?;
    let mut told = why::explain(&found);
    told["now"] = found.open.as_ref().map(row).into();
    Ok(Json(told).into_response())
}

/// One session as the list shows it. Frames and bytes are counted by the side that sent them.
fn row(session: &SessionSnapshot) -> Value {
    let sides = |of: [u64; 2]| json!({ "client": of[0], "node": of[1] });
    json!({
        "id": session.id.to_string(),
        "route": session.activity.word(),
        "role": session.activity.role().map(Role::word),
        "state": session.state.word(),
        "app": session.app,
        "stream": session.stream,
        "client": why::address(session.peer),
        "node": session.node.map(why::address),
        "worker": session.worker,
        "age_seconds": session.age as f64 / 1e3,
        "idle_seconds": session.idle as f64 / 1e3,
        "answer_ms": session.answer,
        "requests": session.requests,
        "frames": sides(session.frames),
        "bytes": sides(session.bytes),
    })
}

/// Ends one session.
pub(crate) async fn kick(
    State(state): State<Arc<ProcessState>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let kicked = match id.parse() {
        Ok(id) => worker_queries(&state)?.kick(id).await?,
        Err(InvalidSessionId) => Kicked::Unknown,
    };
    let node_status = match kicked {
        Kicked::Unknown => {
            let text = "no such session; `tidegate sessions` lists those that are open";
            return Err(ApiError::new(StatusCode::NOT_FOUND, text));
        }
        Kicked::Closed => None,
        Kicked::Deleted(status) => Some(status),
    };
    tracing::info!(session = id, "session kicked through the admin API");
    // of a WHIP session: the status of the node's answer to the DELETE, null without an answer
    let answer = match node_status {
        Some(status) => json!({ "kicked": id, "node_status": status }),
        None => json!({ "kicked": id }),
    };
    Ok(Json(answer).into_response())
}
