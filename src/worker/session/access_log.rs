//! The access log: one line for each request and one for each session, at its end.

use crate::config::AccessLog;
use crate::proto::millis::millis;
use crate::shared::record::{Record, Summary};
use crate::shared::revision::Revision;
use crate::shared::session_id::SessionId;
use crate::worker::local::state::Worker;
use crate::worker::session::context::Session;

/// Status in the access log of a request whose client left before it got an answer; nginx uses the same number.
pub(crate) const STATUS_CLIENT_LEFT: u16 = 499;

/// Writes the line of the newest request of a session, unless `log.access` is off.
pub(crate) fn write_request(session: &Session) {
    if is_on(&session.revision()) {
        let record = session.wake_handle.info.record.borrow();
        write("request", session.shown_id(), &record, &Summary::of(record.last_request()));
    }
}

/// Writes the line of a session that has ended, unless `log.access` is off.
pub(crate) fn write_session(worker: &Worker, id: SessionId, record: &Record) {
    if is_on(&worker.newest()) {
        write("session", id, record, &Summary::of(record.last_request()));
    }
}

fn is_on(revision: &Revision) -> bool {
    revision.config.log.access != AccessLog::Off
}

/// Writes a line. Fields of what did not happen are left out.
fn write(kind: &'static str, id: SessionId, record: &Record, summary: &Summary<'_>) {
    let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let [client_close, node_close] = summary.closes;
    let [sent_close, _] = summary.sent_closes;
    let status = summary.status.or_else(|| summary.cause.map(|_| STATUS_CLIENT_LEFT));
    let relayed = summary.frames != [0; 2];
    tracing::info!(
        target: "access",
        session = &*id.text(),
        client = summary.client.map(tracing::field::display),
        route = summary.route.map(|route| route.word()),
        role = summary.role.map(|role| role.word()),
        app = some(summary.app),
        stream = some(summary.stream),
        method = summary.method,
        uri = summary.target,
        status,
        code = summary.refusal.map(|refusal| refusal.code()),
        cache = summary.cache.map(|cache| cache.word()),
        node = summary.node.map(tracing::field::display),
        tries = (summary.tries > 1).then_some(summary.tries),
        by = summary.cause.map(|cause| cause.words().0),
        how = summary.cause.map(|cause| cause.words().1),
        client_close,
        node_close,
        sent_close,
        ask_ms = summary.cache.map(|_| millis(summary.asking)),
        answer_ms = summary.answered.map(|at| millis(at.saturating_sub(summary.requested))),
        first_frame_ms = summary.first_frame.map(|at| millis(at.saturating_sub(summary.requested))),
        seconds = summary.last.as_micros() as f64 / 1e6,
        bytes = (!relayed).then_some(summary.answer_bytes),
        client_frames = relayed.then_some(summary.frames[0]),
        client_bytes = relayed.then_some(summary.bytes[0]),
        node_frames = relayed.then_some(summary.frames[1]),
        node_bytes = relayed.then_some(summary.bytes[1]),
        agent = record.agent.as_deref(),
        origin = record.origin.as_deref(),
        "{kind}"
    );
}
