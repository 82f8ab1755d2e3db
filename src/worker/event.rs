//! The event API: questions to the stream manager, answered from the memory or from one flight.

use super::answers::{By, Outcome};
use super::conn::{Conn, Received};
use super::lookup;
use super::reply::{self, Shape};
use super::session::Session;
use crate::config::AccessLog;
use crate::proto::head::Request;
use crate::proto::redact::redact_target;
use crate::proto::target::{EventKind, Keep};
use std::task::Poll;

/// Bytes that a client may send ahead while it waits for an answer.
const AHEAD_MAX: usize = 64 * 1024;

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

/// Polls `work` until it is done, receiving what the client sends ahead; `None` when the client left first. With `ended`
/// a close_notify is no leaving, but noted there.
pub(super) async fn unless_gone<T>(
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    mut ended: Option<&mut bool>,
    mut work: impl FnMut(&mut std::task::Context<'_>) -> Poll<T>,
) -> Option<T> {
    loop {
        let watch = inbox.len() < AHEAD_MAX && !ended.as_deref().is_some_and(|ended| *ended);
        let mut readable = std::pin::pin!(conn.sock.clone().until_readable());
        let done = std::future::poll_fn(|cx| {
            if let Poll::Ready(value) = work(cx) {
                return Poll::Ready(Some(value));
            }
            if watch && readable.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await;
        if done.is_some() {
            return done;
        }
        match conn.receive_into(AHEAD_MAX, inbox) {
            Received::Some | Received::Nothing => {}
            Received::End if conn.tls.peer_closed() && ended.is_some() => {
                ended.as_deref_mut().into_iter().for_each(|ended| *ended = true);
            }
            Received::End | Received::Broken | Received::Fault(_) => return None,
        }
    }
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

/// What the access log says of a request, but for its status; `None` when there is no access log.
pub(super) fn access_line(session: &Session, request: &Request<'_>) -> Option<String> {
    let log = &session.worker.gateway.config.log;
    (log.access != AccessLog::Off).then(|| {
        let target = redact_target(request.target, &log.redact);
        format!("{} {} {} {target}", session.id, session.peer, request.method)
    })
}

/// Writes the line, now that the status is known.
pub(super) fn log_access(line: Option<String>, status: u16) {
    if let Some(line) = line {
        tracing::info!(target: "access", "{line} {status}");
    }
}
