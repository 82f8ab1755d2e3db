//! A refused request to the admin API.

use crate::control::process::worker_query::WorkerTimeout;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;
use std::borrow::Cow;

/// A refused request: its status, and the text of `error` in its JSON body.
pub(crate) struct ApiError(StatusCode, Cow<'static, str>);

impl ApiError {
    /// A refusal with this status and this text.
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
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
