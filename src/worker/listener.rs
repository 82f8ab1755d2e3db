//! Accepting: sockets in, sessions out.

use super::Worker;
use super::ceiling::Ceiling;
use super::descriptors;
use super::liveness;
use super::net::{Listener, Sock};
use super::revision::{Held, Revision};
use super::session;
use crate::metrics::WorkerMetrics;
use futures_util::FutureExt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections taken in one wake before other tasks have their turn.
const ACCEPT_BATCH: usize = 64;

/// How often somebody looks whether clients can be taken again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where clients come and go at the limit there is one pause after the other: not all of them are worth a line.
const SAY_PAUSE: Duration = Duration::from_secs(10);

/// Begins to accept from these, and takes what waits in the queues of the leftovers.
pub(super) fn open(
    worker: &Rc<Worker>,
    listeners: Vec<TcpListener>,
    leftovers: Vec<TcpListener>,
) -> std::io::Result<()> {
    let listeners = listeners.into_iter().map(Listener::new).collect::<Result<Vec<_>, _>>()?;
    let leftovers = leftovers.into_iter().map(Listener::new).collect::<Result<Vec<_>, _>>()?;
    for listener in listeners {
        let door = Door::new(worker);
        monoio::spawn(accept_all(worker.clone(), listener, door));
    }
    for listener in leftovers {
        let door = Door::new(worker);
        monoio::spawn(accept_rest(worker.clone(), listener, door));
    }
    Ok(())
}

/// Counts a listener for as long as connections may be taken from it.
struct Door(Rc<Worker>);

impl Door {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.doors.fetch_add(1, Ordering::AcqRel);
        Self(worker.clone())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.doors.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts until the worker stops. In a drain what already waits in the queue is still taken, since closing a listener
/// resets it. If the worker only leaves, the queue is somebody else's already: not one more is taken from it, because a
/// process that leaves is no good place to begin.
async fn accept_all(worker: Rc<Worker>, listener: Listener, door: Door) {
    let (mut said, mut told) = (None, None);
    loop {
        let inherits = tell(&worker, &listener, &mut told);
        let (ready, closing) = (pin!(listener.readable()), pin!(worker.closing.wait()));
        futures_util::future::select(ready, closing).await;
        if worker.closing.has_rung() {
            break;
        }
        let inherits = tell(&worker, &listener, &mut told) && inherits;
        if let Err(why) = accept_batch(&worker, &listener, inherits) {
            pause(&worker, &why, &mut said).await;
        }
    }
    if worker.draining.has_rung() {
        accept_rest(worker, listener, door).await;
    }
}

/// Accepts until nobody waits any more.
async fn accept_rest(worker: Rc<Worker>, listener: Listener, _door: Door) {
    let mut said = None;
    loop {
        match accept_batch(&worker, &listener, false) {
            Ok(Queue::Empty) => return,
            Ok(Queue::Waiting) => {}
            Err(why) => pause(&worker, &why, &mut said).await,
        }
    }
}

/// What a look at the queue left there.
enum Queue {
    Empty,
    /// Perhaps somebody.
    Waiting,
}

/// Sets the options that connections inherit, as the newest revision has them. False if they were others before: who waits
/// already has those.
fn tell(worker: &Worker, listener: &Listener, told: &mut Option<Held>) -> bool {
    let newest = worker.newest();
    let is_told = told.as_ref().is_some_and(|told| Rc::ptr_eq(told, &newest));
    if !is_told {
        set_options(listener.descriptor(), &newest);
        *told = Some(newest);
    }
    is_told
}

/// What every connection of a client has.
fn set_options(socket: BorrowedFd<'_>, revision: &Revision) {
    // without it small frames are late, but they arrive
    let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    liveness::watch(socket, &revision.config.websocket);
}

/// Takes who waits, a batch at the most, and sets their options if they do not inherit them. The reason, if nobody more can
/// be taken for now.
fn accept_batch(worker: &Rc<Worker>, listener: &Listener, inherits: bool) -> Result<Queue, String> {
    // in a drain nothing is kept for nodes: closing the listener would reset who waits
    let draining = worker.draining.has_rung();
    let room = if draining { usize::MAX } else { descriptors::room(&worker.gateway.metrics) };
    if room == 0 {
        return Err("few descriptors are left, and they are kept for nodes".to_owned());
    }
    for _ in 0..ACCEPT_BATCH.min(room) {
        match listener.accept() {
            Ok((stream, peer)) => {
                if !inherits {
                    set_options(stream.as_fd(), &worker.newest());
                }
                begin(worker, stream, peer);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Queue::Empty),
            Err(e) if is_of_the_peer(&e) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(Queue::Waiting)
}

/// Waits until there is room for clients again; they wait in the kernel's queue meanwhile. `said`: when somebody last heard
/// of it.
async fn pause(worker: &Worker, why: &str, said: &mut Option<Instant>) {
    worker.metrics.accept_pauses.add(1);
    let since = Instant::now();
    let say = said.is_none_or(|said| since.duration_since(said) >= SAY_PAUSE);
    if say {
        *said = Some(since);
        tracing::warn!(why, "no new clients are taken for now");
    }
    loop {
        monoio::time::sleep(ACCEPT_PAUSE).await;
        if worker.closing.has_rung() || descriptors::room(&worker.gateway.metrics) > 0 {
            break;
        }
    }
    if say {
        tracing::info!(after = ?since.elapsed(), "new clients are taken again");
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
    let Ok(sock) = Sock::new(stream) else { return };
    let metrics = worker.metrics.clone();
    monoio::spawn(guarded(metrics, session::serve(worker.clone(), sock, peer, permit)));
}

/// Runs a session, or what may outlive one: counted while it lives, so that a drain waits for it, and a panic in it ends it
/// alone. The runtime would not catch one: it would take the whole core with all its sessions.
pub(super) fn guarded(
    metrics: Arc<WorkerMetrics>,
    session: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    // at once, not when it is first polled: the next look at what is open comes before that
    metrics.connections.add(1);
    // no async block: it would hold the session twice, as what it was given and as what it waits for
    AssertUnwindSafe(session).catch_unwind().map(move |ended| {
        if ended.is_err() {
            metrics.panics.add(1);
        }
        metrics.connections.add(-1);
    })
}

#[cfg(test)]
mod tests {
    use super::super::bell::Bell;
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_panic_ends_one_session_and_is_counted() {
        let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
            .enable_timer()
            .build()
            .expect("a ring or epoll");
        let metrics = Arc::new(WorkerMetrics::default());
        let went_on = Rc::new(Cell::new(false));
        runtime.block_on(async {
            let (neighbour, asked) = (went_on.clone(), Rc::new(Bell::default()));
            let when_asked = asked.clone();
            let sessions = [
                monoio::spawn(guarded(metrics.clone(), async {
                    monoio::time::sleep(Duration::from_millis(1)).await;
                    panic!("a bug of ours");
                })),
                monoio::spawn(guarded(metrics.clone(), async {})),
            ];
            let other = monoio::spawn(guarded(metrics.clone(), async move {
                when_asked.wait().await;
                neighbour.set(true);
            }));
            for session in sessions {
                session.await;
            }
            assert_eq!(metrics.connections.get(), 1, "the neighbour is still there");
            asked.ring();
            other.await;
        });
        assert!(went_on.get(), "the worker went on");
        assert_eq!((metrics.panics.get(), metrics.connections.get()), (1, 0));
    }
}
