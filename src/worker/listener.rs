//! Accepting: sockets in, sessions out.

use crate::shared::revision::{Held, Revision};
use crate::worker::connection;
use crate::worker::io::fd_budget;
use crate::worker::io::keepalive;
use crate::worker::io::socket::{Listener, Sock};
use crate::worker::local::state::Worker;
use crate::worker::local::task;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections taken in one wake before other tasks have their turn.
const ACCEPT_BATCH: usize = 64;

/// How often somebody looks whether clients can be taken again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where clients come and go at the limit there is one pause after the other: not all of them are worth a line.
const SAY_PAUSE: Duration = Duration::from_secs(10);

/// Begins to accept from these, and takes what waits in the queues of the draining_listeners.
pub(crate) fn open(
    worker: &Rc<Worker>,
    listeners: Vec<TcpListener>,
    draining_listeners: Vec<TcpListener>,
) -> std::io::Result<()> {
    let listeners = listeners.into_iter().map(Listener::new).collect::<Result<Vec<_>, _>>()?;
    let draining_listeners =
        draining_listeners.into_iter().map(Listener::new).collect::<Result<Vec<_>, _>>()?;
    for listener in listeners {
        let open_listener = OpenListener::new(worker);
        monoio::spawn(accept_all(worker.clone(), listener, open_listener));
    }
    for listener in draining_listeners {
        let open_listener = OpenListener::new(worker);
        monoio::spawn(accept_rest(worker.clone(), listener, open_listener));
    }
    Ok(())
}

/// Counts a listener for as long as connections may be taken from it.
struct OpenListener(Rc<Worker>);

impl OpenListener {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.open_listeners.fetch_add(1, Ordering::AcqRel);
        Self(worker.clone())
    }
}

impl Drop for OpenListener {
    fn drop(&mut self) {
        self.0.open_listeners.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts until the worker stops. In a drain what already waits in the queue is still taken, since closing a listener
/// resets it. If the worker only leaves, the queue is somebody else's already: not one more is taken from it, because a
/// process that leaves is no good place to begin.
async fn accept_all(worker: Rc<Worker>, listener: Listener, open_listener: OpenListener) {
    let (mut said, mut told) = (None, None);
    loop {
        let inherits = tell(&worker, &listener, &mut told);
        let (ready, closing) = (pin!(listener.readable()), pin!(worker.closing.wait()));
        futures_util::future::select(ready, closing).await;
        if worker.closing.is_set() {
            break;
        }
        let inherits = tell(&worker, &listener, &mut told) && inherits;
        if let Err(why) = accept_batch(&worker, &listener, inherits) {
            pause(&worker, &why, &mut said).await;
        }
    }
    if worker.draining.is_set() {
        accept_rest(worker, listener, open_listener).await;
    }
}

/// Accepts until nobody waits any more.
async fn accept_rest(worker: Rc<Worker>, listener: Listener, _door: OpenListener) {
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
    keepalive::configure(socket, &revision.config.websocket);
}

/// Takes who waits, a batch at the most, and sets their options if they do not inherit them. The reason, if nobody more can
/// be taken for now.
fn accept_batch(worker: &Rc<Worker>, listener: &Listener, inherits: bool) -> Result<Queue, String> {
    // in a drain nothing is kept for nodes: closing the listener would reset who waits
    let draining = worker.draining.is_set();
    let room = if draining { usize::MAX } else { fd_budget::room(&worker.gateway.metrics) };
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
        if worker.closing.is_set() || fd_budget::room(&worker.gateway.metrics) > 0 {
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
    let Some(permit) = worker.gateway.limiter.handshake() else {
        // no TLS for those over the limit: an answer would cost what the limit protects
        worker.metrics.refusals.of(crate::proto::refusal::Refusal::Overloaded).add(1);
        return;
    };
    let Ok(sock) = Sock::new(stream) else { return };
    let metrics = worker.metrics.clone();
    monoio::spawn(task::guarded(metrics, connection::serve(worker.clone(), sock, peer, permit)));
}
