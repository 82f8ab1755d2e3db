//! The TLS handshake of a connection.

use crate::metrics::{TlsFailure, Version};
use crate::shared::record::Event;
use crate::worker::connection::linger;
use crate::worker::io::client::{Conn, Received};
use crate::worker::io::socket::Sock;
use crate::worker::io::tls::Tls;
use crate::worker::session::context::{HEAD_RECEIVE_MAX, Session, Woke};
use rustls::ProtocolVersion;
use std::time::Instant;

/// Performs the TLS handshake until `deadline`. `received` are its first bytes, as far as they came already. `None` when
/// it failed; the failure is counted, and the client got the alert if there is one. Plaintext that came together with the
/// end of the handshake is in the inbox of the result. `None` also after a handshake of a CA, which looks at the answer to its
/// challenge and sends no request.
pub(crate) async fn perform(
    session: &Session,
    sock: Sock,
    received: &[u8],
    deadline: Instant,
) -> Option<Conn> {
    let metrics = &session.worker.metrics;
    let mut conn = Conn::new(sock, Tls::new(session.worker.newest().tls.clone()).ok()?, metrics.clone());
    let fail = |failure: TlsFailure| metrics.handshake_failures[failure as usize].add(1);
    let mut received = conn.begin(received);
    loop {
        match received {
            Received::Some | Received::Nothing => {}
            // a request and a close_notify may have come together with the end of the handshake
            Received::End if conn.tls.is_open() => {}
            Received::Fault(fault) => {
                fail(TlsFailure::Protocol);
                let id = session.id.text();
                tracing::debug!(session = &*id, peer = %session.peer, %fault, "TLS handshake failed");
                linger::linger(session, &mut conn).await;
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
        if session.is_evicted() {
            return None;
        }
        received = conn.receive_to_inbox(HEAD_RECEIVE_MAX);
    }
    let (version, resumed) = conn.tls.agreed();
    let version = if version == Some(ProtocolVersion::TLSv1_2) { Version::Tls12 } else { Version::Tls13 };
    metrics.handshakes[version as usize][usize::from(resumed)].add(1);
    metrics.tls.observe(session.accepted.elapsed());
    session.note(&Event::Secured { tls: version, resumed });
    if !conn.tls.is_http() {
        tracing::debug!(peer = %session.peer, "a CA has seen the answer to its challenge");
        linger::linger(session, &mut conn).await;
        return None;
    }
    Some(conn)
}
