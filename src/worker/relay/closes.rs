//! What is noted of a relay: bytes that a side does not take, and at its end the Closes with their codes.

use crate::proto::millis::Millis;
use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, Relay};
use crate::shared::record::{Event, NO_CODE};
use crate::worker::io::fairness::{Backlog, Stall};
use crate::worker::session::access_log;
use crate::worker::session::context::Session;
use crate::worker::session::request_trace;

/// Notes and counts the Closes of both sides and of the gateway.
pub(crate) fn note(session: &Session, relay: &Relay) {
    let codes = &session.worker.metrics.close_codes;
    for side in Side::ALL {
        if let Some(code) = relay.close_code(side) {
            codes.add(side.into(), code.unwrap_or(NO_CODE));
            session.note(&Event::Closed { from: side, code });
        }
        if let Some(code) = relay.sent_code(side) {
            codes.add(By::Gateway, code);
            session.note(&Event::SentClose { to: side, code });
        }
    }
}

/// Notes the bytes that a side will never take, because its connection has ended, unless it was told that they wait.
pub(crate) fn note_untaken(session: &Session, backlog: &mut Backlog, (to, waiting): (Side, usize)) {
    if waiting > 0 && !backlog.is_told() {
        session.note(&Event::Stalled { to, bytes: waiting as u64 });
    }
    backlog.clear();
}

/// Notes what is new about the bytes that wait for a side: that they wait for long, or that it took them. Returns whether a stall
/// ended.
pub(crate) fn note_stall(
    session: &Session,
    backlog: &mut Backlog,
    (to, waiting): (Side, usize),
    now: Millis,
) -> bool {
    match backlog.note(waiting > 0, now) {
        Some(Stall::Lasts) => session.note(&Event::Stalled { to, bytes: waiting as u64 }),
        Some(Stall::Ended(millis)) => {
            session.note(&Event::Flowing { to, millis });
            return true;
        }
        None => {}
    }
    false
}

/// Notes the end of a relay, which is the last event of its session, and writes the line of the session.
pub(crate) fn end(session: &Session, ended: &Event<'_>) {
    session.note(ended);
    access_log::write_session(&session.worker, session.id, &session.wake_handle.info.record.borrow());
    request_trace::export_websocket(session);
}
