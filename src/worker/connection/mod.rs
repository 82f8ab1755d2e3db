//! One client connection from accept to end. [`serve`] and [`before_relay`] are its plot:
//!
//! 1. [`proxy_header`] reads which client the connection is from, where a load balancer is configured.
//! 2. [`handshake`] performs the TLS handshake.
//! 3. [`Requests`] reads HTTP requests and answers them, one after the other.
//! 4. [`pump::relay`] forwards frames in both directions after a WebSocket request that a node took, until both sides closed.
//! 5. [`linger`] ends a connection without a relay after its last answer, so that the client can read the answer.

mod handshake;
mod linger;
mod proxy_header;

use crate::shared::limits::{HandshakePermit, SessionPermit};
use crate::shared::record::Event;
use crate::worker::http::exchange::{Next, Requests};
use crate::worker::io::client::Conn;
use crate::worker::io::socket::Sock;
use crate::worker::local::info::SessionInfo;
use crate::worker::local::state::Worker;
use crate::worker::relay::pump::{self, RelayStart};
use crate::worker::session::client::Client;
use crate::worker::session::context::Session;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// Serves an accepted connection from `peer` until it ends.
///
/// The steps before the relay are boxed: the future of a session that relays or idles is no larger than its relay.
pub(crate) async fn serve(worker: Rc<Worker>, sock: Sock, peer: SocketAddr, permit: Box<HandshakePermit>) {
    let held = worker.clone();
    // the number that the permit knows the session by is its id, unless the worker has such a session already
    let ids = std::iter::once(permit.id().0).chain(std::iter::repeat_with(|| held.random()));
    let accepted = Instant::now();
    let registration = held.sessions.register(SessionInfo::new(peer, accepted, worker.now()), ids);
    let mut session = Session {
        id: registration.id,
        wake_handle: registration.wake_handle.clone(),
        accepted,
        current: Cell::default(),
        whip_session: Cell::default(),
        request: RefCell::default(),
        hints: RefCell::default(),
        worker,
        peer,
    };
    let Some((mut conn, permit, start)) = Box::pin(before_relay(&mut session, sock, permit)).await else {
        return;
    };
    pump::relay(&session, &mut conn, start).await;
    drop(permit);
}

/// Everything before a relay. The result is what the relay needs and the session permit to hold; `None` when the
/// connection ended without a relay.
async fn before_relay(
    session: &mut Session,
    sock: Sock,
    mut permit: Box<HandshakePermit>,
) -> Option<(Conn, Option<Rc<SessionPermit>>, Box<RelayStart>)> {
    let deadline = session.accepted + session.worker.newest().config.tls.handshake_timeout;
    let announced = proxy_header::read(session, &sock, deadline).await?;
    let through = (announced.client != session.peer).then_some(session.peer);
    session.set_peer(announced.client);
    session.note(&Event::Accepted { client: session.peer, through });
    if let Err(refusal) = permit.charge_to(announced.client.ip()) {
        // no TLS: an answer would cost what the limit protects
        session.count_refusal(refusal);
        return None;
    }
    let session = &*session;
    let mut conn = handshake::perform(session, sock, &announced.rest, deadline).await?;
    let mut requests = Requests::new(Client { session, conn: &mut conn }, permit);
    loop {
        let next = requests.exchange().await;
        session.end_request();
        match next {
            Next::Request => {}
            Next::Relay(start) => {
                let permit = requests.into_permit();
                return Some((conn, permit, start));
            }
            Next::Linger => {
                linger::linger(session, &mut conn).await;
                return None;
            }
            Next::Drop => {
                // a close_notify tells the client that nothing was cut off (RFC 8446, 6.1); it need not arrive
                let _ = conn.close();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size in bytes of the future that a function of four arguments returns.
    fn future_size<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_steps_before_a_relay_add_nothing_to_the_future_of_a_session() {
        let relay = future_size(|session: &'static Session, conn: &'static mut Conn, start, ()| {
            pump::relay(session, conn, start)
        });
        let session = future_size(serve);
        assert!(
            session <= relay + size_of::<Session>() + size_of::<Conn>() + 256,
            "{session} for a relay of {relay}"
        );
    }
}
