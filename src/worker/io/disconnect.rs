//! Doing something for a client, and noticing when it leaves meanwhile.

use crate::worker::io::client::{Conn, Received};
use std::task::{Context, Poll};

/// Bytes that a client may send ahead while it waits for an answer.
const AHEAD_MAX: usize = 64 * 1024;

/// Polls `work` until it is done, receiving what the client sends ahead; `None` when the client left first. With `ended`
/// a close_notify is no leaving, but noted there.
pub(crate) async fn until_disconnect<T>(
    conn: &mut Conn,
    inbox: &mut Vec<u8>,
    mut ended: Option<&mut bool>,
    mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
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
