//! What happened in a session, as the API tells it: in fields for programs, and in words for people.

mod verdict;
mod words;

pub(crate) use words::address;

use crate::metrics::RequestRoute;
use crate::proto::red5::role::Role;
use crate::shared::record::archive::Archived;
use crate::shared::record::{Record, Summary};
use crate::worker::Found;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything that is known of a session: its summary, its events with their times, and why it ended.
pub(crate) fn explain(found: &Found) -> Value {
    let Archived { id, began, record } = &found.archived;
    let summary = Summary::of(record.last_request());
    let events = record
        .events()
        .map(|(at, event)| json!({ "at_seconds": at.as_secs_f64(), "text": words::of(&event) }));
    json!({
        "id": id.to_string(),
        "open": found.open.is_some(),
        "began": seconds(*began),
        "session": fields(record, &summary),
        "events": events.collect::<Vec<_>>(),
        "missing_events": record.skipped(),
        "verdict": verdict::of(&summary, found.open.as_ref()),
    })
}

/// One session that has ended, as a row of a list.
pub(crate) fn ended(archived: &Archived) -> Value {
    let Archived { id, began, record } = archived;
    let summary = Summary::of(record.last_request());
    let mut row = fields(record, &summary);
    row["id"] = id.to_string().into();
    row["began"] = seconds(*began).into();
    row["ended"] = seconds(archived.ended()).into();
    row["seconds"] = summary.last.as_secs_f64().into();
    row["verdict"] = verdict::of(&summary, None).into();
    row
}

/// The fields of a summary; what is not known is null.
fn fields(record: &Record, summary: &Summary<'_>) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let since_request = |at: Option<Duration>| at.map(|at| millis(at.saturating_sub(summary.requested)));
    let sides = |of: [u64; 2]| json!({ "client": of[0], "node": of[1] });
    let [client_close, node_close] = summary.closes;
    json!({
        "route": summary.route.map(RequestRoute::word),
        "role": summary.role.map(Role::word),
        "app": text(summary.app),
        "stream": text(summary.stream),
        "client": summary.client.map(address),
        "node": summary.node.map(address),
        "tries": summary.tries,
        "method": text(summary.method),
        "target": text(summary.target),
        "agent": record.agent.as_deref(),
        "origin": record.origin.as_deref(),
        "tls": summary.tls.map(|(version, resumed)| json!({ "version": version.word(), "resumed": resumed })),
        "cache": summary.cache.map(|cache| cache.word()),
        "status": summary.status,
        "code": summary.refusal.map(|refusal| refusal.code()),
        "ask_ms": millis(summary.asking),
        "answer_ms": since_request(summary.answered),
        "first_frame_ms": since_request(summary.first_frame),
        "client_close": client_close,
        "node_close": node_close,
        "gateway_close": summary.sent_closes[0],
        "by": summary.cause.map(|cause| cause.words().0),
        "how": summary.cause.map(|cause| cause.words().1),
        "frames": sides(summary.frames),
        "bytes": sides(summary.bytes),
    })
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
