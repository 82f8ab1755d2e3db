//! The event API: questions to the stream manager, answered from the stored answers or from one flight.

use crate::proto::red5::route::{EventKind, Keep};
use crate::shared::questions::{CacheStatus, Outcome};
use crate::worker::http::response::{self, Answer, Shape};
use crate::worker::io::disconnect::{CloseNotify, until_disconnect};
use crate::worker::node::lookup;
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;

/// Asks the stream manager. `None` when the client left; the flight goes on for the other sessions that wait for it. A
/// client that sent a close_notify still gets its answer.
pub(crate) async fn ask(
    client: &mut Client<'_>,
    key: &str,
    kind: EventKind,
    keep: Keep,
) -> Option<(CacheStatus, Outcome)> {
    let mut question = std::pin::pin!(lookup::ask(client.session, key, kind, keep));
    until_disconnect(client.conn, CloseNotify::StillWaits, |cx| question.as_mut().poll(cx)).await
}

/// The answer to a question. A refusal is counted.
pub(crate) fn answer(session: &Session, shape: &Shape, by: CacheStatus, outcome: Outcome) -> Answer {
    match outcome {
        Ok(answer) => {
            let now = session.worker.gateway.answers.now();
            Answer::new(answer.status, response::answer(shape, &answer, by, now))
        }
        Err(refusal) => {
            session.count_refusal(refusal);
            let bytes = response::refusal(shape, refusal, "");
            Answer { status: refusal.status(), refusal: Some(refusal), bytes }
        }
    }
}
