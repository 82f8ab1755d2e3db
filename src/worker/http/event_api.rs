//! The event API: questions to the stream manager, answered from the memory or from one flight.

use crate::proto::red5::route::{EventKind, Keep};
use crate::shared::questions::{CacheStatus, Outcome};
use crate::worker::http::response;
use crate::worker::http::response::Shape;
use crate::worker::io::client::Conn;
use crate::worker::io::disconnect::until_disconnect;
use crate::worker::node::lookup;
use crate::worker::session::context::Session;

/// Asks, and watches the client meanwhile; `None` when it left. The flight goes on for others. A client that only said
/// that it will send nothing more still waits for its answer.
pub(crate) async fn ask(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    ended: &mut bool,
    key: &str,
    kind: EventKind,
    keep: Keep,
) -> Option<(CacheStatus, Outcome)> {
    let mut question = std::pin::pin!(lookup::ask(&session.worker, key, kind, keep));
    until_disconnect(conn, inbox, Some(ended), |cx| question.as_mut().poll(cx)).await
}

/// The reply to a question, with its status.
pub(crate) fn answer(session: &Session, shape: &Shape, by: CacheStatus, outcome: Outcome) -> (u16, Vec<u8>) {
    match outcome {
        Ok(answer) => {
            let now = session.worker.gateway.answers.now();
            (answer.status, response::answer(shape, &answer, by, now))
        }
        Err(refusal) => {
            session.worker.metrics.refusals.of(refusal).add(1);
            (refusal.status(), response::refusal(shape, refusal, ""))
        }
    }
}
