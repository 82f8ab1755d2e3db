//! The end of a WHIP or WHEP session: counted, kept in the archive, and written to the access log.

use crate::metrics::WhipEnd;
use crate::shared::clock::wall_time;
use crate::shared::record::archive::Archived;
use crate::shared::record::{Event, Record};
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::local::state::Worker;
use crate::worker::session::{access_log, request_trace};
use std::time::Instant;

/// Forgets a WHIP session that has ended, if that has not happened before.
pub(crate) fn forget(worker: &Worker, session: &WhipSession, how: WhipEnd) {
    if worker.gateway.whip_sessions.forget(session) {
        end(worker, session, how);
    }
}

/// Notes that a WHIP session has ended. It is out of the table already, so that this happens once.
pub(crate) fn end(worker: &Worker, session: &WhipSession, how: WhipEnd) {
    worker.metrics.whip_ends[how as usize].add(1);
    session.note(&Event::WhipEnded { how });
    let record = session.record().clone();
    access_log::write_session(worker, session.id, &record);
    keep(worker, Archived { id: session.id, began: session.began(), record });
}

/// Notes that the gateway deleted a WHIP session, of which its client has never heard, at its node. `record` is that of its
/// request, and counts from `epoch`.
pub(crate) fn undone(worker: &Worker, mut record: Record, epoch: Instant) {
    let how = WhipEnd::Undone;
    worker.metrics.whip_ends[how as usize].add(1);
    request_trace::begin_whip_span(worker, &mut record, epoch.elapsed());
    record.note(epoch.elapsed(), &Event::WhipEnded { how });
    let id = SessionId(worker.random());
    access_log::write_session(worker, id, &record);
    let began = wall_time(epoch);
    keep(worker, Archived { id, began, record });
}

fn keep(worker: &Worker, archived: Archived) {
    request_trace::export_whip_session(worker, &archived);
    worker.sessions.archive.borrow_mut().add(true, archived);
}
