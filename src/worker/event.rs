//! The event API: questions to the stream manager, answered from the memory or from one flight.

use super::answers::{By, Outcome};
use super::conn::Conn;
use super::lookup;
use super::reply::{self, Shape};
use super::session::Session;
use super::watch::unless_gone;
use crate::proto::target::{EventKind, Keep};

/// Asks, and watches the client meanwhile; `None` when it left. The flight goes on for others. A client that only said
/// that it will send nothing more still waits for its answer.
pub(super) async fn ask(
    session: &Session,
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    ended: &mut bool,
    key: &str,
    kind: EventKind,
    keep: Keep,
) -> Option<(By, Outcome)> {
    let mut question = std::pin::pin!(lookup::ask(&session.worker, key, kind, keep));
    unless_gone(conn, inbox, Some(ended), |cx| question.as_mut().poll(cx)).await
}

/// The reply to a question, with its status.
pub(super) fn answer(session: &Session, shape: &Shape, by: By, outcome: Outcome) -> (u16, Vec<u8>) {
    match outcome {
        Ok(answer) => {
            let now = session.worker.gateway.answers.now();
            (answer.status, reply::answer(shape, &answer, by, now))
        }
        Err(refusal) => {
            session.worker.metrics.refusals.of(refusal).add(1);
            (refusal.status(), reply::refusal(shape, refusal, ""))
        }
    }
}
