//! What the steps of one connection share: its worker, its id, its client, the revision of its request, and its waits.

use crate::proto::refusal::Refusal;
use crate::shared::revision::Held;
use crate::shared::session_id::SessionId;
use crate::worker::io::client::Conn;
use crate::worker::io::runtime;
use crate::worker::io::socket::Sock;
use crate::worker::local::info::Activity;
use crate::worker::local::registry::ActiveGuard;
use crate::worker::local::state::Worker;
use crate::worker::local::wake::{Wake, WakeHandle};
use crate::worker::session::asked::{Asked, Hints};
use crate::worker::session::current::Current;
use crate::worker::session::refusal_line::Refused;
use crate::worker::session::trace::Trace;
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// Most bytes that are received at once before a relay: heads and bodies are small.
pub(crate) const HEAD_RECEIVE_MAX: usize = 16 * 1024;

/// Everything about one connection that its steps share.
pub(crate) struct Session {
    pub worker: Rc<Worker>,
    pub wake_handle: Rc<WakeHandle>,
    pub id: SessionId,
    /// The client's address. Behind a load balancer it is the balancer's until the PROXY header was read.
    pub peer: SocketAddr,
    pub accepted: Instant,
    /// The request that the connection deals with at present, or dealt with last.
    pub current: Cell<Option<Current>>,
    /// The WHIP session that the present request is about, once that is known.
    pub whip_session: Cell<Option<SessionId>>,
    /// The revision that the present request goes by, from its head to its end.
    pub request: RefCell<Option<Held>>,
    /// What the log may say of the reason for a refusal of the present request. Most requests have none.
    pub hints: RefCell<Option<Box<Hints>>>,
    /// The trace that the present request belongs to, if it belongs to one.
    pub trace: RefCell<Option<Box<Trace>>>,
}

/// Why a wait before the relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woke {
    /// What was waited for is there.
    Ready,
    /// The deadline has passed.
    Deadline,
    /// The session was asked to end: a drain, or an operator's kick.
    Ending,
}

impl Session {
    /// Takes the client's address from a PROXY header.
    pub(crate) fn set_peer(&mut self, client: SocketAddr) {
        self.peer = client;
        self.wake_handle.info.peer.set(client);
    }

    /// Counts this session as active for as long as the guard lives.
    pub(crate) fn count_active(&self, activity: Activity) -> ActiveGuard {
        ActiveGuard::new(Arc::clone(&self.worker.metrics), Rc::clone(&self.wake_handle), activity)
    }

    /// The id that answers and logs show: that of the WHIP session that the present request is about, else that of the
    /// connection.
    pub(crate) fn shown_id(&self) -> SessionId {
        self.whip_session.get().unwrap_or(self.id)
    }

    /// Counts a refusal in the metrics, and in the log if a line is due for it.
    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        let record = self.wake_handle.info.record.borrow();
        let hints = self.hints.borrow().as_deref().copied().unwrap_or_default();
        // a head that can't be read is no request
        let is_request = self.request.borrow().is_some();
        let asked = is_request.then(|| Asked::of(&record, hints));
        let (session, client) = (Some(self.shown_id()), Some(self.peer));
        let refused = Refused { refusal, session, client, asked: asked.as_ref() };
        refused.note(&self.worker, &self.revision());
    }

    /// Notes, for the log, which node was not admitted or did not take the request.
    pub(crate) fn note_node(&self, node: IpAddr) {
        self.hints.borrow_mut().get_or_insert_default().node = Some(node);
    }

    /// Notes, for the log, with which HTTP status the node did not take the request.
    pub(crate) fn note_node_status(&self, status: Option<u16>) {
        self.hints.borrow_mut().get_or_insert_default().node_status = status;
    }

    /// Notes, for the log, what is behind a refusal, for example the limit that was reached: the sentence after "refused: ".
    pub(crate) fn note_limit(&self, limit: &'static str) {
        self.hints.borrow_mut().get_or_insert_default().limit = Some(limit);
    }

    /// A new mask for a frame that the gateway itself sends to a node (RFC 6455, 5.3).
    pub(crate) fn mask(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.worker.random().to_be_bytes();
        [a, b, c, d]
    }

    /// Whether this connection takes no more requests: the gateway drains, or the session was asked to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.worker.draining.is_set() || self.wake_handle.end_reason().is_some()
    }

    /// Whether another connection has taken the slot of this one.
    pub(crate) fn is_evicted(&self) -> bool {
        self.wake_handle.end_reason() == Some(Wake::Evict)
    }

    /// The revision to go by: during a request the one that was the newest at its begin, else the newest.
    pub(crate) fn revision(&self) -> Held {
        self.request.borrow().clone().unwrap_or_else(|| self.worker.newest())
    }

    /// Begins a request: until its end the session goes by the revision that is the newest now.
    pub(crate) fn begin_request(&self) {
        self.request.replace(Some(self.worker.newest()));
    }

    /// Ends a request.
    pub(crate) fn end_request(&self) {
        self.request.replace(None);
        self.whip_session.set(None);
        self.hints.replace(None);
        self.trace.replace(None);
    }

    /// Waits until the socket is readable, until `deadline`, or until the session is asked to end. [`Woke::Ending`] comes
    /// once for each time the session is woken: a caller may go on waiting after it.
    pub(crate) async fn readable(&self, sock: &Sock, deadline: Instant) -> Woke {
        self.either(sock.readable(), deadline).await
    }

    /// As [`Session::readable`], until the socket may take bytes.
    pub(crate) async fn writable(&self, sock: &Sock, deadline: Instant) -> Woke {
        self.either(sock.writable(), deadline).await
    }

    /// As [`Session::readable`], for any wait that may be dropped without a loss.
    async fn either(&self, wait: impl Future<Output = ()>, deadline: Instant) -> Woke {
        let mut wait = std::pin::pin!(wait);
        let mut sleep = std::pin::pin!(runtime::sleep_until(deadline));
        std::future::poll_fn(|cx| {
            // by the clock, and first: a peer that is always ready must not keep its deadline from being seen
            if Instant::now() >= deadline {
                return Poll::Ready(Woke::Deadline);
            }
            if wait.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woke::Ready);
            }
            if self.wake_handle.listen(cx) && self.wake_handle.end_reason().is_some() {
                return Poll::Ready(Woke::Ending);
            }
            sleep.as_mut().poll(cx).map(|()| Woke::Deadline)
        })
        .await
    }

    /// Sends all records that wait for the client. False if the connection broke, or if they did not all go out before
    /// `deadline`.
    pub(crate) async fn flush(&self, conn: &mut Conn, deadline: Instant) -> bool {
        while !conn.out.is_empty() {
            if conn.out.flush(&conn.sock).is_err() {
                return false;
            }
            if !conn.out.is_empty() && self.writable(&conn.sock, deadline).await == Woke::Deadline {
                return false;
            }
        }
        true
    }
}
