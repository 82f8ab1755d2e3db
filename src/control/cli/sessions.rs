//! `tidegate sessions` and `kick`: the sessions of the running gateway.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::print;
use crate::control::cli::target::Target;
use crate::control::exit::ExitError;
use crate::shared::session_id::{InvalidSessionId, SessionId};
use serde_json::{Value, json};
use std::fmt::Write;

/// Prints every session, as a table or as JSON. Reads the list page by page.
pub(crate) fn sessions(target: &Target, json: bool) -> Result<(), ExitError> {
    let mut all = Vec::new();
    let mut path = "/api/sessions".to_owned();
    loop {
        let mut page = client::json(&client::request(target, Method::GET, &path)?)?;
        if let Value::Array(sessions) = page["sessions"].take() {
            all.extend(sessions);
        }
        match page["next"].as_str() {
            Some(next) => path = format!("/api/sessions?after={next}"),
            None => break,
        }
    }
    if json {
        print(format!("{}\n", json!({ "sessions": all })).as_bytes())
    } else {
        print(table(&all).as_bytes())
    }
}

/// Ends one session: a WebSocket by a Close on both legs, another connection after its answer.
pub(crate) fn kick(target: &Target, id: &str, json: bool) -> Result<(), ExitError> {
    let answer = client::request(target, Method::DELETE, &format!("/api/sessions/{id}"))?;
    if json { print(&[&answer[..], b"\n"].concat()) } else { print(format!("kicked {id}\n").as_bytes()) }
}

/// Checks the argument of `tidegate kick`.
pub(crate) fn session_id(text: &str) -> Result<String, String> {
    match text.parse::<SessionId>() {
        Ok(_) => Ok(text.to_owned()),
        Err(InvalidSessionId) => {
            Err("expected the sixteen hexadecimal digits that `tidegate sessions` shows".to_owned())
        }
    }
}

const HEAD: [&str; 10] =
    ["SESSION", "ROUTE", "STATE", "APP/STREAM", "CLIENT", "NODE", "AGE", "IDLE", "FRAMES", "BYTES"];

/// A table with one line for each session.
fn table(sessions: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let seconds = |value: &Value| format!("{:.0}s", value.as_f64().unwrap_or_default());
    let sides = |value: &Value| format!("{}/{}", value["client"], value["node"]);
    let cells = |session: &Value| {
        let stream = match session["app"].as_str() {
            Some(app) => format!("{app}/{}", text(&session["stream"])),
            None => "-".to_owned(),
        };
        [
            text(&session["id"]),
            text(&session["route"]),
            text(&session["state"]),
            stream,
            text(&session["client"]),
            text(&session["node"]),
            seconds(&session["age_seconds"]),
            seconds(&session["idle_seconds"]),
            sides(&session["frames"]),
            sides(&session["bytes"]),
        ]
    };
    let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned)).chain(sessions.iter().map(cells)).collect();
    let widths: Vec<_> =
        (0..HEAD.len()).map(|at| rows.iter().map(|row| row[at].len()).max().unwrap_or_default()).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_session() {
        let open = json!({ "id": "00000000000000ff", "route": "two_step", "state": "open", "app": "live", "stream": "s1",
            "client": "127.0.0.1:5", "node": "10.0.0.1:5080", "age_seconds": 61.4, "idle_seconds": 0.2,
            "frames": { "client": 3, "node": 4 }, "bytes": { "client": 30, "node": 40 } });
        let young = json!({ "id": "0000000000000100", "route": "http", "state": "open", "app": null, "stream": null,
            "client": "127.0.0.1:6", "node": null, "age_seconds": 1.0, "idle_seconds": 1.0,
            "frames": { "client": 0, "node": 0 }, "bytes": { "client": 0, "node": 0 } });
        let table = table(&[open, young]);
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], HEAD);
        assert_eq!(
            lines[1],
            [
                "00000000000000ff",
                "two_step",
                "open",
                "live/s1",
                "127.0.0.1:5",
                "10.0.0.1:5080",
                "61s",
                "0s",
                "3/4",
                "30/40"
            ]
        );
        assert_eq!(lines[2][3..6], ["-", "127.0.0.1:6", "-"]);
    }
}
