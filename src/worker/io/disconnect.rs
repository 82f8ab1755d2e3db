//! Work for a client, with an eye on whether the client leaves meanwhile.

use crate::worker::io::client::{Conn, Received};
use std::task::{Context, Poll};

/// Bytes that a client may send ahead while it waits for an answer: as much as a head. Then it is not read until its answer
/// was sent. With the rest of a record, at most twice as much is kept.
const AHEAD_MAX: usize = 16 * 1024;

/// Bytes that are received at least, when there is room for some: fewer would cost a call for each of them.
const AHEAD_RECEIVE_MIN: usize = 4 * 1024;

/// What a close_notify of the client means while work is done for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseNotify {
    /// The client has left.
    Leaves,
    /// The client sends nothing more, and still waits for its answer.
    StillWaits,
}

/// Polls `work` until it is done, and receives into the inbox what the client sends ahead. `None` when the client left
/// first; `close_notify` says whether a close_notify counts as leaving. The end of the connection without one always does.
pub(crate) async fn until_disconnect<T>(
    conn: &mut Conn,
    close_notify: CloseNotify,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let still_waits = close_notify == CloseNotify::StillWaits;
    loop {
        let watch = conn.inbox.len() < AHEAD_MAX && !(still_waits && conn.ended);
        let sock = conn.sock.clone();
        let mut readable = std::pin::pin!(sock.readable());
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
        match conn.receive_to_inbox((AHEAD_MAX - conn.inbox.len()).max(AHEAD_RECEIVE_MIN)) {
            Received::Some | Received::Nothing => {}
            Received::End if still_waits && conn.tls.peer_closed() => {}
            Received::End | Received::Broken | Received::Fault(_) => return None,
        }
    }
}
