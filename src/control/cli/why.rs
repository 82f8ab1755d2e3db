//! `tidegate why`: what happened in a session, and why it ended.

use crate::control::cli::client::{self, Method};
use crate::control::cli::output::{is_terminal, print, size};
use crate::control::cli::table::{self, span, wrapped};
use crate::control::cli::target::Target;
use crate::control::exit::ExitError;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Prints what is known of a session: in words, or as JSON.
pub(crate) fn why(target: &Target, id: &str, json: bool) -> Result<(), ExitError> {
    let answer = client::request(target, Method::GET, &format!("/api/sessions/{id}"))?;
    if json {
        return print(&[&answer[..], b"\n"].concat());
    }
    let width = if is_terminal() { size().0 } else { table::WIDTH };
    let told = client::json(&answer)?;
    print((told_in_words(&told, width).join("\n") + "\n").as_bytes())
}

/// The verdict, then the summary, then the events with their times since the connection was accepted.
fn told_in_words(told: &Value, width: usize) -> Vec<String> {
    let mut lines = wrapped(told["verdict"].as_str().unwrap_or("-"), width);
    lines.push(String::new());
    lines.extend(summary(told).iter().flat_map(|(name, value)| named(name, value, width)));
    lines.push(String::new());
    for event in told["events"].as_array().into_iter().flatten() {
        let at = event["at_seconds"].as_f64().unwrap_or_default();
        let text = wrapped(event["text"].as_str().unwrap_or("-"), width.saturating_sub(EVENT_INDENT).max(20));
        lines.extend(text.iter().enumerate().map(|(index, line)| match index {
            0 => format!("{at:>10.3} s  {line}"),
            _ => format!("{:EVENT_INDENT$}{line}", ""),
        }));
    }
    if let Some(missing @ 1..) = told["missing_events"].as_u64() {
        lines.push(format!("{missing} events or earlier requests were not kept"));
    }
    lines
}

/// Columns before the text of an event.
const EVENT_INDENT: usize = 14;

/// Columns before the value of a named line.
const NAME_INDENT: usize = 12;

fn named(name: &str, value: &str, width: usize) -> Vec<String> {
    let value = wrapped(value, width.saturating_sub(NAME_INDENT).max(20));
    let with_name = |(index, line): (usize, &String)| {
        let name = if index == 0 { name } else { "" };
        format!("{name:<NAME_INDENT$}{line}")
    };
    value.iter().enumerate().map(with_name).collect()
}

/// The summary, as names with values; what is not known is left out.
fn summary(told: &Value) -> Vec<(&'static str, String)> {
    let session = &told["session"];
    let text = |name: &str| session[name].as_str().map(str::to_owned);
    let began = told["began"].as_f64().unwrap_or_default();
    let ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() - began;
    let began = UNIX_EPOCH + Duration::try_from_secs_f64(began).unwrap_or_default();
    let stream = text("stream").map(|stream| format!("{}/{stream}", text("app").unwrap_or_default()));
    let status = session["status"].as_u64().map(|status| match text("code") {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    });
    let answer = session["answer_ms"]
        .as_f64()
        .map(|millis| format!("{} after {millis:.1} ms", status.clone().unwrap_or_default()));
    let state = if told["open"] == true { told["now"]["state"].as_str().unwrap_or("open") } else { "ended" };
    let kind = [text("route"), text("role")].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let rows = [
        ("session", text_of(&told["id"]).map(|id| format!("{id} ({state})"))),
        ("began", Some(format!("{} ({} ago)", httpdate::fmt_http_date(began), span(ago.max(0.0))))),
        ("kind", Some(kind).filter(|kind| !kind.is_empty())),
        ("stream", stream),
        ("client", text("client")),
        ("agent", text("agent")),
        ("origin", text("origin")),
        ("node", text("node")),
        ("answer", answer.or(status)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_verdict_comes_first_and_every_event_has_its_time() {
        let told = json!({
            "id": "00000000000000ff", "open": false, "began": 0.0, "now": null, "missing_events": 2,
            "verdict": "The node 10.0.0.5:5080 ended its connection without a Close.",
            "session": { "route": "two_step", "role": "publisher", "app": "live", "stream": "s", "status": 101,
                "answer_ms": 12.34, "code": null, "client": "10.0.0.9:1", "node": "10.0.0.5:5080", "agent": null },
            "events": [{ "at_seconds": 0.0, "text": "connection of 10.0.0.9:1" }, { "at_seconds": 1.5, "text": "x ".repeat(80) }],
        });
        let lines = told_in_words(&told, 59);
        assert_eq!(lines[..2], ["The node 10.0.0.5:5080 ended its connection without a", "Close."]);
        for line in [
            "session     00000000000000ff (ended)",
            "kind        two_step, publisher",
            "stream      live/s",
            "answer      101 after 12.3 ms",
            "     0.000 s  connection of 10.0.0.9:1",
            "2 events or earlier requests were not kept",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
        }
        assert!(lines.iter().all(|line| line.chars().count() <= 59), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.starts_with("agent")), "what is not known is left out");
    }
}
