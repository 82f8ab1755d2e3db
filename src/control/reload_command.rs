//! `tidegate reload`: asks the running gateway to read everything anew, and says what came of it.

use super::ask::ask;
use super::cli::print;
use super::report::{CONFIG, Stop};
use super::status::unanswered;
use crate::config::AdminListen;
use hyper::{Method, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Files and the resolver may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reloads; the end is an error unless a newer revision is served.
pub(super) fn reload(admin: &AdminListen, json: bool) -> Result<(), Stop> {
    let answer = ask(admin, Method::POST, "/api/reload", PATIENCE);
    let (status, body) = answer.map_err(|error| unanswered(admin, &error.to_string()))?;
    let answer: Value = serde_json::from_slice(&body).map_err(|_| {
        unanswered(admin, &format!("it answers {status}, and is no tidegate that can reload"))
    })?;
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
        return Err(Stop { code: CONFIG, text });
    }
    Err(Stop::os(text))
}
