//! Accepting connections from the worker's listeners, and starting a session for each.

use crate::shared::revision::{Held, Revision};
use crate::shared::session_id::SessionId;
use crate::worker::connection;
use crate::worker::io::fairness;
use crate::worker::io::fd_budget;
use crate::worker::io::keepalive;
use crate::worker::io::runtime;
use crate::worker::io::socket::{Listener, Sock};
use crate::worker::local::state::Worker;
use crate::worker::local::task;
use crate::worker::session::refusal_line::Refused;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Most connections accepted in a row; then other tasks run, also when more connections wait.
const ACCEPT_BATCH: usize = 64;

/// How often a paused listener checks whether it may accept again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// At the limit one pause follows another. A pause is logged only when the last logged one began this long ago.
const PAUSE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Starts to accept from `listeners`, and empties the queues of `draining_listeners`. Fails if the runtime takes no listener.
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
        runtime::spawn(accept_all(worker.clone(), listener, open_listener));
    }
    for listener in draining_listeners {
        let open_listener = OpenListener::new(worker);
        runtime::spawn(accept_rest(worker.clone(), listener, open_listener));
    }
    Ok(())
}

/// A listener that is accepted from again because a drain was taken back.
#[derive(Debug)]
pub struct ReopenedListener {
    pub listener: TcpListener,
    pub address: SocketAddr,
    /// How many connections its queue holds, if it has to listen again; `None` if it never stopped.
    pub backlog: Option<i32>,
}

/// Starts to accept from `listeners` again. Fails if one of them can't listen at its address.
pub(crate) fn reopen(worker: &Rc<Worker>, listeners: Vec<ReopenedListener>) -> std::io::Result<()> {
    for ReopenedListener { listener, address, backlog } in &listeners {
        let Some(backlog) = backlog else { continue };
        // a port that the kernel chose is free again once the socket does not listen
        if listener.local_addr()? != *address {
            rustix::net::bind(listener, address)?;
        }
        rustix::net::listen(listener, *backlog)?;
    }
    open(worker, listeners.into_iter().map(|reopened| reopened.listener).collect(), Vec::new())
}

/// Counts a listener for as long as connections are accepted from it.
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

/// Accepts until the worker stops. In a drain it still accepts the connections that wait in the queue, because closing the
/// listener would reset them. When the worker only leaves, another process serves the same queue, so nothing more is
/// accepted: a session is better off in the process that stays.
async fn accept_all(worker: Rc<Worker>, listener: Listener, open_listener: OpenListener) {
    let (mut pause_logged, mut options_of) = (None, None);
    let drain_changes = worker.drain_changes.get();
    loop {
        let inherits = update_options(&worker, &listener, &mut options_of);
        let (ready, closing) = (pin!(listener.readable()), pin!(worker.closing.wait()));
        futures_util::future::select(ready, closing).await;
        // a drain that was taken back meanwhile opened another listener for the same queue
        if worker.closing.is_set() || worker.drain_changes.get() != drain_changes {
            break;
        }
        let inherits = update_options(&worker, &listener, &mut options_of) && inherits;
        match accept_batch(&worker, &listener, inherits) {
            Ok(Queue::Empty) => {}
            Ok(Queue::Waiting) => runtime::sleep(fairness::YIELD_DELAY).await,
            Err(why) => pause(&worker, &why, &mut pause_logged).await,
        }
    }
    if worker.draining.is_set() && !worker.leaves_queues.get() {
        accept_until_empty(&worker, &listener).await;
        // without a pause since the queue was empty: no connection may come in between
        if worker.draining.is_set() && worker.stops_listening.get() {
            listener.stop_listening();
        }
    }
    drop(open_listener);
}

/// Accepts until the queue is empty, and closes the listener.
async fn accept_rest(worker: Rc<Worker>, listener: Listener, _open_listener: OpenListener) {
    accept_until_empty(&worker, &listener).await;
}

async fn accept_until_empty(worker: &Rc<Worker>, listener: &Listener) {
    let mut pause_logged = None;
    loop {
        match accept_batch(worker, listener, false) {
            Ok(Queue::Empty) => return,
            Ok(Queue::Waiting) => runtime::sleep(fairness::YIELD_DELAY).await,
            Err(why) => pause(worker, &why, &mut pause_logged).await,
        }
    }
}

/// What a batch left in the queue.
enum Queue {
    Empty,
    /// Perhaps more connections.
    Waiting,
}

/// Sets the options that connections inherit from their listener, as the newest revision has them; `options_of` is the
/// revision that they were set by. False if they changed just now: connections that wait already have inherited the old ones.
fn update_options(worker: &Worker, listener: &Listener, options_of: &mut Option<Held>) -> bool {
    let newest = worker.newest();
    let is_current = options_of.as_ref().is_some_and(|revision| Rc::ptr_eq(revision, &newest));
    if !is_current {
        set_options(listener.descriptor(), &newest);
        *options_of = Some(newest);
    }
    is_current
}

/// Sets the options of every client connection.
fn set_options(socket: BorrowedFd<'_>, revision: &Revision) {
    // a failure only makes small frames late
    let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    keepalive::configure(socket, &revision.config.websocket);
}

/// Accepts the connections that wait, at most one batch, and sets their options unless they inherit them (`inherits`). The
/// error is the reason why no more can be accepted for now.
fn accept_batch(worker: &Rc<Worker>, listener: &Listener, inherits: bool) -> Result<Queue, String> {
    // a drain keeps no descriptors for nodes: closing the listener would reset the connections that wait
    let draining = worker.draining.is_set();
    let room = if draining { usize::MAX } else { fd_budget::room(&worker.gateway.metrics) };
    if room == 0 {
        return Err("nearly all descriptors are in use, and the rest is kept for nodes".to_owned());
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
            // another worker of the same queue found it empty, and it does not listen any more
            Err(e) if worker.closing.is_set() && e.kind() == ErrorKind::InvalidInput => {
                return Ok(Queue::Empty);
            }
            Err(e) if is_of_the_peer(&e) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(Queue::Waiting)
}

/// Waits until connections can be accepted again; they wait in the kernel's queue meanwhile. `logged` is when a pause was
/// logged last.
async fn pause(worker: &Worker, why: &str, logged: &mut Option<Instant>) {
    worker.metrics.accept_pauses.add(1);
    let since = Instant::now();
    let log = logged.is_none_or(|logged| since.duration_since(logged) >= PAUSE_LOG_INTERVAL);
    if log {
        *logged = Some(since);
        tracing::warn!(why, "accepting paused");
    }
    loop {
        // idle connections have descriptors too
        let _ = (0..ACCEPT_BATCH).all(|_| worker.gateway.limiter.evict_idle());
        runtime::sleep(ACCEPT_PAUSE).await;
        if worker.closing.is_set() || fd_budget::room(&worker.gateway.metrics) > 0 {
            break;
        }
    }
    if log {
        tracing::info!(after = ?since.elapsed(), "accepting resumed");
    }
}

/// Whether an error of `accept` is about one connection that ended before it was accepted.
fn is_of_the_peer(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
        || matches!(
            e.raw_os_error(),
            Some(libc::EPROTO | libc::ENETDOWN | libc::EHOSTUNREACH | libc::ENETUNREACH)
        )
}

/// Starts a session for an accepted connection, or closes it if its client has its share of `limits.handshakes`, or if these
/// are reached and none makes room.
fn begin(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // through a load balancer the client is not known yet
    let client = worker.newest.borrow().config.gateway.proxy_protocol.is_none().then_some(peer.ip());
    let id = SessionId(worker.random());
    let permit = match worker.gateway.limiter.handshake(id, &worker.evictions, client) {
        Ok(permit) => permit,
        Err(refusal) => {
            // closed without TLS: an answer would cost the handshake that the limit saves
            let refused = Refused { refusal, session: None, client: Some(peer), asked: None };
            refused.note(worker, &worker.newest());
            return;
        }
    };
    let Ok(sock) = Sock::new(stream) else { return };
    let metrics = worker.metrics.clone();
    runtime::spawn(task::guarded(metrics, connection::serve(worker.clone(), sock, peer, permit)));
}
