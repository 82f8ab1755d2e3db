//! One client connection from accept to end: handshake, head, answer; again, or a relay.
//!
//! The phases before a relay are boxed: while a session relays or idles, its future is no larger than the relay's.

use crate::shared::limits::{HandshakePermit, SessionPermit};
use crate::worker::http::exchange::{Http, Next};
use crate::worker::io::client::{Conn, Received};
use crate::worker::io::socket::Sock;
use crate::worker::local::info::SessionInfo;
use crate::worker::local::state::Worker;
use crate::worker::relay::pump;
mod proxy_header;

use crate::metrics::{TlsFailure, Version};
use crate::worker::io::tls::Tls;
use crate::worker::session::context::{HEAD_RECEIVE, Session, Woke};
use rustls::ProtocolVersion;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// After our last word: how long we read on, so that unread bytes do not reset the connection under the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one accepted connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, sock: Sock, peer: SocketAddr, permit: HandshakePermit) {
    let held = worker.clone();
    let place = held.sessions.register(SessionInfo::new(peer, worker.now()), || held.random());
    let mut session = Session {
        id: format!("{:016x}", place.id),
        wake_handle: place.wake_handle.clone(),
        accepted: Instant::now(),
        request: RefCell::default(),
        worker,
        peer,
    };
    let Some((mut conn, permit, ready)) = Box::pin(before_relay(&mut session, sock, permit)).await else {
        return;
    };
    pump::relay(&session, &mut conn, ready).await;
    drop(permit);
}

/// All that comes before a relay; `None` when the connection ended without one.
async fn before_relay(
    session: &mut Session,
    sock: Sock,
    mut handshake: HandshakePermit,
) -> Option<(Conn, Option<Rc<SessionPermit>>, Box<pump::RelayStart>)> {
    let deadline = session.accepted + session.worker.newest().config.tls.handshake_timeout;
    let client = proxy_header::client(session, &sock, deadline).await?;
    session.peer = client.address;
    session.wake_handle.info.peer.set(client.address);
    if let Err(refusal) = handshake.charge_to(client.address.ip(), session.accepted) {
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
        let taken =
            crate::worker::io::buffers::with(|scratch| conn.sock.recv(&mut scratch.input[..HEAD_RECEIVE]));
        match taken {
            Ok(0) => return,
            Ok(taken) => left = left.saturating_sub(taken),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
