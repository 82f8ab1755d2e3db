//! Accepting: sockets in, sessions out.

use super::Worker;
use super::ceiling::Ceiling;
use super::net::{Listener, Sock};
use super::session;
use futures_util::FutureExt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Connections taken in one wake before other tasks have their turn.
const ACCEPT_BATCH: usize = 64;

/// Pause after an error that will not go away at once, such as no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the worker drains; then what already waits in the queue is still taken, since closing a listener resets
/// it, and the listener is closed.
pub(super) async fn accept_all(worker: Rc<Worker>, listener: Listener) {
    loop {
        let (ready, drained) = (pin!(listener.readable()), pin!(worker.draining.wait()));
        let waited = futures_util::future::select(ready, drained).await;
        drop(waited);
        let mut taken = 0;
        let failed = loop {
            match listener.accept() {
                Ok((stream, peer)) => begin(&worker, stream, peer),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break None,
                Err(e) if is_of_the_peer(&e) => {}
                Err(e) => break Some(e),
            }
            taken += 1;
            if taken == ACCEPT_BATCH && !worker.draining.has_rung() {
                break None;
            }
        };
        if let Some(e) = failed {
            tracing::warn!(error = %e, "accepting failed; trying again");
            monoio::time::sleep(ACCEPT_PAUSE).await;
        }
        if worker.draining.has_rung() {
            return;
        }
    }
}

/// Errors of one connection that was already gone again.
fn is_of_the_peer(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
        || matches!(
            e.raw_os_error(),
            Some(libc::EPROTO | libc::ENETDOWN | libc::EHOSTUNREACH | libc::ENETUNREACH)
        )
}

fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Some(permit) = Ceiling::handshake(&worker.gateway) else {
        // no TLS for those over the limit: an answer would cost what the limit protects
        worker.metrics.refusals.of(crate::proto::refusal::Refusal::Overloaded).add(1);
        return;
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(sock) = Sock::new(stream) else { return };
    let worker = worker.clone();
    monoio::spawn(async move {
        let metrics = worker.metrics.clone();
        metrics.connections.add(1);
        let session = AssertUnwindSafe(session::serve(worker, sock, peer, permit)).catch_unwind();
        if session.await.is_err() {
            metrics.panics.add(1);
        }
        metrics.connections.add(-1);
    });
}
