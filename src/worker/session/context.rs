//! What the phases of one connection share: its worker, its id, the client, the revision of its request, and its waits.

use crate::metrics::Route;
use crate::proto::refusal::Refusal;
use crate::shared::revision::Held;
use crate::shared::session_id::SessionId;
use crate::worker::io::client::Conn;
use crate::worker::io::socket::Sock;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::local::state::Worker;
use crate::worker::local::wake::WakeHandle;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Bytes taken at once while a head is read.
pub(crate) const HEAD_RECEIVE_MAX: usize = 16 * 1024;

/// Everything about one connection that its phases share.
pub(crate) struct Session {
    pub worker: Rc<Worker>,
    pub wake_handle: Rc<WakeHandle>,
    pub id: SessionId,
    /// The client; behind a balancer only once that has said who it is.
    pub peer: SocketAddr,
    pub accepted: Instant,
    /// What the present request goes by, from its head to its end.
    pub request: RefCell<Option<Held>>,
}

/// Why a wait before the relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woke {
    Ready,
    Deadline,
    Ending,
}

impl Session {
    /// Counts this session as active on `route` for as long as the guard lives.
    pub(crate) fn count_active(&self, route: Route) -> ActiveGuard {
        ActiveGuard::new(Arc::clone(&self.worker.metrics), Rc::clone(&self.wake_handle), route)
    }

    /// Counts a refusal in the metrics.
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.worker.metrics.refusals.of(refusal).add(1);
    }

    /// A mask for a frame of our own.
    pub(crate) fn mask(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.worker.random().to_be_bytes();
        [a, b, c, d]
    }

    /// Whether this connection takes no more requests: the gateway goes down, or the session was told to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker.draining.is_set() || self.wake_handle.end_reason().is_some()
    }

    /// What to go by: during a request the revision that it began with, else the newest.
    pub(crate) fn revision(&self) -> Held {
        self.request.borrow().clone().unwrap_or_else(|| self.worker.newest())
    }

    /// A request begins: it goes by the revision that is the newest now.
    pub(crate) fn begin_request(&self) {
        self.request.replace(Some(self.worker.newest()));
    }

    /// It is over.
    pub(crate) fn end_request(&self) {
        self.request.replace(None);
    }

    /// Waits until the socket is readable, the deadline has come, or the session is told to end (once for each look: a
    /// caller that goes on waiting after that does so on purpose).
    pub(crate) async fn readable(&self, sock: &Sock, deadline: Instant) -> Woke {
        self.either(sock.readable(), deadline).await
    }

    /// As [`Session::readable`], for any wait that may be dropped.
    pub(crate) async fn either(&self, wait: impl Future<Output = ()>, deadline: Instant) -> Woke {
        let mut wait = std::pin::pin!(wait);
        let mut sleep = std::pin::pin!(monoio::time::sleep_until(deadline.into()));
        std::future::poll_fn(|cx| {
            if wait.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(Woke::Ready);
            }
            if self.wake_handle.listen(cx) && self.wake_handle.end_reason().is_some() {
                return std::task::Poll::Ready(Woke::Ending);
            }
            sleep.as_mut().poll(cx).map(|()| Woke::Deadline)
        })
        .await
    }

    /// Sends all that waits for the client; false if it does not go out before the deadline.
    pub(crate) async fn flush(&self, conn: &mut Conn, deadline: Instant) -> bool {
        while !conn.out.is_empty() {
            if conn.out.flush(&conn.sock).is_err() {
                return false;
            }
            if !conn.out.is_empty() && self.either(conn.sock.writable(), deadline).await == Woke::Deadline {
                return false;
            }
        }
        true
    }
}
