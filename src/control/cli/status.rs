//! `tidegate status`: how the running gateway is.

use crate::config::AdminListen;
use crate::control::cli::client;
use crate::control::cli::client::Method;
use crate::control::cli::command_line::print;
use crate::control::exit::ExitError;
use serde_json::Value;
use std::fmt::Write;

/// Prints the status, as lines or as JSON.
pub fn show(admin: &AdminListen, json: bool) -> Result<(), ExitError> {
    let answer = client::ask(admin, Method::GET, "/api/status")?;
    if json {
        print(&[&answer[..], b"\n"].concat())
    } else {
        print(lines(&client::json(admin, &answer)?).as_bytes())
    }
}

/// The status for people.
pub(crate) fn lines(status: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list =
        |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let mut out = String::new();
    let rows = [
        ("phase", text(&status["phase"])),
        ("version", format!("{}, revision {}", text(&status["version"]), status["revision"])),
        ("driver", text(&status["driver"])),
        ("uptime", format!("{} s", status["uptime_seconds"])),
        ("listening", list(&status["listening"])),
        ("sessions", text(&status["sessions"]["active"])),
        ("answers", format!("{} stored", status["answers"]["stored"])),
    ];
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<12}{value}");
    }
    let restart = list(&status["needs_restart"]);
    if !restart.is_empty() {
        let _ = writeln!(out, "restart     needed for {restart}");
    }
    if status["reload"]["good"] == false {
        let _ = writeln!(out, "reload      refused: {}", list(&status["reload"]["problems"]));
    }
    for worker in status["workers"].as_array().into_iter().flatten() {
        let (sessions, lag) = (&worker["sessions"], &worker["loop_lag_seconds"]);
        let _ = writeln!(out, "worker {:<5}{sessions} sessions, {lag} s behind", worker["index"].to_string());
    }
    for certificate in status["certificates"].as_array().into_iter().flatten() {
        let days = &certificate["days_left"];
        let _ = writeln!(out, "certificate {}, {days} days left", list(&certificate["names"]));
    }
    out
}
