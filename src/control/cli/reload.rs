//! `tidegate reload`: the running gateway reads its configuration and certificates again; the command prints the result.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::print;
use crate::control::cli::target::Target;
use crate::control::exit::{CONFIG, ExitError};
use hyper::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// How long a reload may take: files and the resolver may be slow.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Reloads and prints the result. Fails unless a newer revision is served: exit code 78 for a configuration with problems, 71
/// otherwise.
pub(crate) fn reload(target: &Target, json: bool) -> Result<(), ExitError> {
    let (status, body) = client::send(target, Method::POST, "/api/reload", RELOAD_TIMEOUT)?;
    if !matches!(status, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::SERVICE_UNAVAILABLE)
    {
        return Err(client::refused(status, &body));
    }
    let answer = client::json(&body)?;
    if json {
        print(&[&body[..], b"\n"].concat())?;
    }
    let lines = |key: &str| -> Vec<String> {
        answer[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let notes = if status.is_success() { lines("warnings") } else { lines("problems") };
    if !json {
        notes.iter().for_each(|line| eprintln!("{line}"));
    }
    if status.is_success() {
        return if json {
            Ok(())
        } else {
            print(format!("serves revision {}\n", answer["revision"]).as_bytes())
        };
    }
    let reason = answer["error"].as_str().unwrap_or("the gateway gave no reason");
    let text = format!("reload refused, nothing has changed: {reason}");
    if status == StatusCode::UNPROCESSABLE_ENTITY && !notes.is_empty() {
        return Err(ExitError { code: CONFIG, text });
    }
    Err(ExitError::os(text))
}
