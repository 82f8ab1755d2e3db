//! The access log: one line for each request, and one for the end of each relay.

use crate::config::AccessLog;
use crate::proto::http::head::Request;
use crate::proto::http::redact::redact_target;
use crate::proto::websocket::relay::{By, How};
use crate::shared::session_id::SessionId;
use crate::worker::session::context::Session;
use std::net::SocketAddr;

/// Status in the access log of a request whose client left before it got an answer; nginx uses the same number.
pub(crate) const STATUS_CLIENT_LEFT: u16 = 499;

/// What is known of a request before its answer; its target is masked already.
pub(crate) struct RequestLine {
    session: SessionId,
    client: SocketAddr,
    method: String,
    uri: String,
}

impl RequestLine {
    /// The line of a request; `None` when there is no access log.
    pub(crate) fn of(session: &Session, request: &Request<'_>) -> Option<Self> {
        let revision = session.revision();
        let log = &revision.config.log;
        (log.access != AccessLog::Off).then(|| Self {
            session: session.id,
            client: session.peer,
            method: request.method.to_owned(),
            uri: redact_target(request.target, &log.redact).into_owned(),
        })
    }

    /// Writes it, now that the status is known.
    pub(crate) fn write(self, status: u16) {
        let Self { session, client, method, uri } = self;
        tracing::info!(target: "access", session = &*session.text(), %client, method, uri, status, "request");
    }
}

/// What a relay carried.
pub(crate) struct Carried {
    /// Of the client, of the node.
    pub frames: [u64; 2],
    pub bytes: [u64; 2],
}

/// Writes the end of a relay, unless there is no access log.
pub(crate) fn write_end(session: &Session, by: By, how: How, carried: &Carried) {
    if session.revision().config.log.access == AccessLog::Off {
        return;
    }
    let (by, how) = (by.word(), how.word());
    let [client_frames, node_frames] = carried.frames;
    let [client_bytes, node_bytes] = carried.bytes;
    let seconds = session.accepted.elapsed().as_secs_f64();
    tracing::info!(
        target: "access",
        session = &*session.id.text(), client = %session.peer, by, how, seconds,
        client_frames, client_bytes, node_frames, node_bytes,
        "end"
    );
}
