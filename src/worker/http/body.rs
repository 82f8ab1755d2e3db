//! Reading the body of a request.

use crate::proto::http::body::{Body, BodyFault};
use crate::proto::http::head::BodyLength;
use crate::proto::refusal::Refusal;
use crate::worker::io::client::Received;
use crate::worker::session::client::Client;
use crate::worker::session::context::{HEAD_RECEIVE_MAX, Woke};
use std::time::Instant;

/// The interim answer after which a client sends the body (RFC 9110, 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a body is read.
pub(crate) struct BodyReading {
    pub length: BodyLength,
    /// The body is used; else it is read and dropped.
    pub wanted: bool,
    /// The client waits for `100 Continue`.
    pub send_continue: bool,
}

/// Reads a body to its end, which has to come within `limits.body_timeout` and `limits.body_max`. The result is empty if
/// the body is not wanted. `Err(None)`: the client has left.
pub(crate) async fn read(
    client: &mut Client<'_>,
    BodyReading { length, wanted, send_continue }: BodyReading,
) -> Result<Vec<u8>, Option<Refusal>> {
    let revision = client.session.revision();
    let limits = &revision.config.limits;
    let deadline = Instant::now() + limits.body_timeout;
    let refuse = |fault: BodyFault| Some(fault.refusal());
    let mut body = Body::new(length, limits.body_max as u64).map_err(refuse)?;
    if send_continue && !client.send_answer(CONTINUE).await {
        return Err(None);
    }
    let mut kept = Vec::new();
    loop {
        let inbox = &client.conn.inbox;
        let mut used = 0;
        while !body.is_done() && used < inbox.len() {
            let piece = body.next(&inbox[used..]).map_err(refuse)?;
            kept.extend_from_slice(if wanted { piece.payload } else { &[] });
            used += piece.used;
        }
        client.conn.consume(used);
        if body.is_done() {
            return Ok(kept);
        }
        if client.conn.ended {
            return Err(None);
        }
        if client.readable(deadline).await == Woke::Deadline {
            return Err(Some(Refusal::BodyTimeout));
        }
        match client.conn.receive_into(HEAD_RECEIVE_MAX) {
            Received::Some | Received::Nothing | Received::End => {}
            Received::Broken | Received::Fault(_) => return Err(None),
        }
    }
}
