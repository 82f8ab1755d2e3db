//! What is noted of a relay when it is over: the Closes with their codes, and what could not be sent any more.

use crate::proto::websocket::frame::Side;
use crate::proto::websocket::relay::{By, Relay};
use crate::shared::record::{Event, NO_CODE};
use crate::worker::session::access_log;
use crate::worker::session::context::Session;
use crate::worker::session::request_trace;

/// Notes and counts the Closes of both sides and of the gateway. `waiting` are the bytes that the client and the node did not
/// take.
pub(crate) fn note(session: &Session, relay: &Relay, waiting: [usize; 2]) {
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
        let bytes = waiting[side as usize] as u64;
        if bytes > 0 {
            session.note(&Event::Stalled { to: side, bytes });
        }
    }
}

/// Notes the end of a relay, which is the last event of its session, and writes the line of the session.
pub(crate) fn end(session: &Session, ended: &Event<'_>) {
    session.note(ended);
    access_log::write_session(&session.worker, session.id, &session.wake_handle.info.record.borrow());
    request_trace::export_websocket(session);
}
