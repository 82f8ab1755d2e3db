//! One client connection from accept to end: handshake, head, answer; again, or a relay.
//!
//! The phases before a relay are boxed: while a session relays or idles, its future is no larger than the relay's.

use super::Worker;
use super::card::Card;
use super::ceiling::{HandshakePermit, SessionPermit};
use super::conn::{Conn, Received};
use super::forward;
use super::http::{Http, Next};
use super::net::Sock;
use super::proxied;
use super::revision::Held;
use super::sessions::Pager;
use super::tls::Tls;
use crate::metrics::{TlsFailure, Version};
use rustls::ProtocolVersion;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes taken at once while a head is read.
pub(super) const HEAD_RECEIVE: usize = 16 * 1024;

/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// After our last word: how long we read on, so that unread bytes do not reset the connection under the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Everything about one connection that its phases share.
pub(super) struct Session {
    pub worker: Rc<Worker>,
    pub pager: Rc<Pager>,
    pub id: String,
    /// The client; behind a balancer only once that has said who it is.
    pub peer: SocketAddr,
    pub accepted: Instant,
    /// What the present request goes by, from its head to its end.
    pub request: RefCell<Option<Held>>,
}

/// Why a wait before the relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woke {
    Ready,
    Deadline,
    Told,
}

/// Serves one accepted connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, sock: Sock, peer: SocketAddr, permit: HandshakePermit) {
    let held = worker.clone();
    let place = held.sessions.enter(Card::new(peer, worker.now()), || held.random());
    let mut session = Session {
        id: format!("{:016x}", place.id),
        pager: place.pager.clone(),
        accepted: Instant::now(),
        request: RefCell::default(),
        worker,
        peer,
    };
    let Some((mut conn, permit, ready)) = Box::pin(before_relay(&mut session, sock, permit)).await else {
        return;
    };
    forward::relay(&session, &mut conn, ready).await;
    drop(permit);
}

/// All that comes before a relay; `None` when the connection ended without one.
async fn before_relay(
    session: &mut Session,
    sock: Sock,
    mut handshake: HandshakePermit,
) -> Option<(Conn, Option<Rc<SessionPermit>>, Box<forward::Ready>)> {
    let deadline = session.accepted + session.worker.newest().config.tls.handshake_timeout;
    let client = proxied::client(session, &sock, deadline).await?;
    session.peer = client.address;
    session.pager.card.peer.set(client.address);
    if let Err(refusal) = handshake.belongs_to(client.address.ip(), session.accepted) {
        // no TLS for them either
        session.worker.metrics.refusals.of(refusal).add(1);
        return None;
    }
    let session = &*session;
    let mut conn = shake(session, sock, deadline, &client.behind).await?;
    let mut http = Http::new(session, handshake);
    loop {
        let next = http.exchange(&mut conn).await;
        session.end_request();
        match next {
            Next::Again => {}
            Next::Relay(ready) => return Some((conn, http.into_place(), ready)),
            Next::Close => {
                linger(session, &mut conn).await;
                return None;
            }
            Next::Drop => {
                // if it goes, the client sees an end and no cut (RFC 8446, 6.1); nobody waits for it
                let _ = conn.close();
                return None;
            }
        }
    }
}

/// The TLS handshake, with its deadline; `begun` was received already.
async fn shake(session: &Session, sock: Sock, deadline: Instant, begun: &[u8]) -> Option<Conn> {
    let metrics = &session.worker.metrics;
    let mut conn = Conn::new(sock, Tls::new(session.worker.newest().tls.clone()).ok()?);
    let mut early = Vec::new();
    let fail = |failure: TlsFailure| metrics.handshake_failures[failure as usize].add(1);
    let mut received = conn.begin(begun, &mut early);
    loop {
        match received {
            Received::Some | Received::Nothing => {}
            // a request and a close_notify may have come together with the end of the handshake
            Received::End if conn.tls.is_open() => {}
            Received::Fault(fault) => {
                fail(TlsFailure::Protocol);
                tracing::debug!(session = session.id, peer = %session.peer, %fault, "TLS handshake failed");
                linger(session, &mut conn).await;
                return None;
            }
            Received::End | Received::Broken => {
                fail(TlsFailure::Lost);
                return None;
            }
        }
        if conn.tls.is_open() {
            break;
        }
        if !conn.out.is_empty() && !session.flush(&mut conn, deadline).await {
            fail(TlsFailure::Lost);
            return None;
        }
        if session.readable(&conn.sock, deadline).await == Woke::Deadline {
            fail(TlsFailure::Timeout);
            return None;
        }
        received = conn.receive_into(HEAD_RECEIVE, &mut early);
    }
    let (version, resumed) = conn.tls.agreed();
    let version = if version == Some(ProtocolVersion::TLSv1_2) { Version::Tls12 } else { Version::Tls13 };
    metrics.handshakes[version as usize][usize::from(resumed)].add(1);
    metrics.tls.observe(session.accepted.elapsed());
    conn.early = early;
    Some(conn)
}

impl Session {
    /// Whether this connection takes no more requests: the gateway goes down, or the session was told to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.worker.draining.has_rung() || self.pager.told().is_some()
    }

    /// What to go by: during a request the revision that it began with, else the newest.
    pub(super) fn revision(&self) -> Held {
        self.request.borrow().clone().unwrap_or_else(|| self.worker.newest())
    }

    /// A request begins: it goes by the revision that is the newest now.
    pub(super) fn begin_request(&self) {
        self.request.replace(Some(self.worker.newest()));
    }

    /// It is over.
    pub(super) fn end_request(&self) {
        self.request.replace(None);
    }

    /// Waits until the socket is readable, the deadline has come, or the session is told to end (once for each look: a
    /// caller that goes on waiting after that does so on purpose).
    pub(super) async fn readable(&self, sock: &Sock, deadline: Instant) -> Woke {
        self.either(sock.readable(), deadline).await
    }

    /// As [`Session::readable`], for any wait that may be dropped.
    pub(super) async fn either(&self, wait: impl Future<Output = ()>, deadline: Instant) -> Woke {
        let mut wait = std::pin::pin!(wait);
        let mut sleep = std::pin::pin!(monoio::time::sleep_until(deadline.into()));
        std::future::poll_fn(|cx| {
            if wait.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(Woke::Ready);
            }
            if self.pager.listen(cx) && self.pager.told().is_some() {
                return std::task::Poll::Ready(Woke::Told);
            }
            sleep.as_mut().poll(cx).map(|()| Woke::Deadline)
        })
        .await
    }

    /// Sends all that waits for the client; false if it does not go out before the deadline.
    pub(super) async fn flush(&self, conn: &mut Conn, deadline: Instant) -> bool {
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

    /// Sends an answer; false if the client does not take it.
    pub(super) async fn say(&self, conn: &mut Conn, bytes: &[u8]) -> bool {
        conn.send(bytes).is_ok() && self.flush(conn, Instant::now() + WRITE_TIMEOUT).await
    }
}

/// Ends a connection after our last word: close_notify, FIN, and a short while of reading what the client still sent,
/// since a socket closed with unread bytes resets the connection and may take our word with it.
async fn linger(session: &Session, conn: &mut Conn) {
    let deadline = Instant::now() + LINGER;
    // before the handshake is done there is no close_notify to say, only perhaps an alert to flush
    let _ = conn.tls.is_open() && conn.close().is_ok();
    if !session.flush(conn, deadline).await {
        return;
    }
    conn.sock.finish();
    let mut left: usize = 1 << 20;
    while left > 0 && session.readable(&conn.sock, deadline).await != Woke::Deadline {
        let taken = super::scratch::with(|scratch| conn.sock.recv(&mut scratch.input[..HEAD_RECEIVE]));
        match taken {
            Ok(0) => return,
            Ok(taken) => left = left.saturating_sub(taken),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
