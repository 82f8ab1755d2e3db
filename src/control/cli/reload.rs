//! `tidegate reload`: asks the running gateway to read everything anew, and says what came of it.

use crate::config::AdminListen;
use crate::control::cli::client;
use crate::control::cli::client::Method;
use crate::control::cli::output::print;
use crate::control::exit::{CONFIG, ExitError};
use hyper::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// Files and the resolver may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reloads; the end is an error unless a newer revision is served.
pub(crate) fn reload(admin: &AdminListen, json: bool) -> Result<(), ExitError> {
    let (status, body) = client::try_ask(admin, Method::POST, "/api/reload", PATIENCE)?;
    let answer = client::json(admin, &body)?;
    if json {
        print(&[&body[..], b"\n"].concat())?;
    }
    let lines = |key: &str| -> Vec<String> {
        answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let told = if status.is_success() { lines("warnings") } else { lines("problems") };
    if !json {
        told.iter().for_each(|line| eprintln!("{line}"));
    }
    if status.is_success() {
        return if json {
            Ok(())
        } else {
            print(format!("serves revision {}\n", answer["revision"]).as_bytes())
        };
    }
    let reason = answer["error"].as_str().unwrap_or("it does not say why");
    let text = format!("reload refused, nothing has changed: {reason}");
    if status == StatusCode::UNPROCESSABLE_ENTITY && !told.is_empty() {
        return Err(ExitError { code: CONFIG, text });
    }
    Err(ExitError::os(text))
}
