//! The end of a WHIP or WHEP session: counted, kept in the archive, and written to the access log.

use crate::metrics::WhipEnd;
use crate::shared::record::archive::Archived;
use crate::shared::record::{Event, Record};
use crate::shared::session_id::SessionId;
use crate::shared::whip_sessions::WhipSession;
use crate::worker::local::state::Worker;
use crate::worker::session::access_log;
use std::time::{Instant, SystemTime};

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
    worker
        .sessions
        .archive
        .borrow_mut()
        .add(true, Archived { id: session.id, began: session.began(), record });
}

/// Notes that the gateway deleted a WHIP session, of which its client has never heard, at its node. `record` is that of its
/// request, and counts from `epoch`.
pub(crate) fn undone(worker: &Worker, mut record: Record, epoch: Instant) {
    let how = WhipEnd::Undone;
    worker.metrics.whip_ends[how as usize].add(1);
    record.note(epoch.elapsed(), &Event::WhipEnded { how });
    let id = SessionId(worker.random());
    access_log::write_session(worker, id, &record);
    let began = SystemTime::now().checked_sub(epoch.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    worker.sessions.archive.borrow_mut().add(true, Archived { id, began, record });
}
