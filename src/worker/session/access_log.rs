//! The access log: one line for each request and one for each session, at its end.

use crate::config::{AccessFormat, AccessLog};
use crate::proto::millis::millis;
use crate::shared::record::{Record, Summary};
use crate::shared::revision::Revision;
use crate::shared::session_id::SessionId;
use crate::worker::local::state::Worker;
use crate::worker::session::combined;
use crate::worker::session::context::Session;
use std::time::SystemTime;

/// Status in the access log of a request whose client left before it got an answer; nginx uses the same number.
pub(crate) const STATUS_CLIENT_LEFT: u16 = 499;

/// Writes the line of the newest request of a session, unless `log.access` is off.
pub(crate) fn write_request(session: &Session) {
    let revision = session.revision();
    if is_on(&revision) {
        write("request", &revision, session.shown_id(), &session.wake_handle.info.record.borrow());
    }
}

/// Writes the line of a session that has ended, unless `log.access` is off.
pub(crate) fn write_session(worker: &Worker, id: SessionId, record: &Record) {
    let revision = worker.newest();
    if is_on(&revision) {
        write("session", &revision, id, record);
    }
}

fn is_on(revision: &Revision) -> bool {
    revision.config.log.access != AccessLog::Off
}

fn write(kind: &'static str, revision: &Revision, id: SessionId, record: &Record) {
    let summary = Summary::of(record.last_request());
    match revision.config.log.access_format {
        AccessFormat::Fields => write_fields(kind, id, record, &summary),
        AccessFormat::Combined => {
            let line = combined::line(record, &summary, status(&summary), SystemTime::now());
            tracing::info!(target: "access::line", "{line}");
        }
    }
}

/// The status of a line: that of the answer, or 499 if the client left before it.
fn status(summary: &Summary<'_>) -> Option<u16> {
    summary.status.or_else(|| summary.cause.map(|_| STATUS_CLIENT_LEFT))
}

/// Writes a line. Fields of what did not happen are left out.
fn write_fields(kind: &'static str, id: SessionId, record: &Record, summary: &Summary<'_>) {
    let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let [client_close, node_close] = summary.closes;
    let [sent_close, _] = summary.sent_closes;
    let status = status(summary);
    let relayed = summary.frames != [0; 2];
    tracing::info!(
        target: "access",
        session = &*id.text(),
        trace = summary.traced.map(|traced| tracing::field::display(traced.trace)),
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
